"""The bars that a shipped world must pass, and how far an evaluation is from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from worldmodel.evaluation.following.comparison import camera_off, drift_ratio, mean_psnr
from worldmodel.evaluation.following.tally import MODEL, REAL, RECONSTRUCTED, REPEAT


@dataclass(frozen=True, slots=True)
class Bar:
    """value: of a scores.json, None if it cannot tell; bound: the least value that passes, or (at_most) the most."""

    name: str
    value: Callable[[dict[str, Any]], float | None]
    bound: float
    show: str = "{:.2f}"
    at_most: bool = False

    def met(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound


def worst_group(scores: dict[str, Any]) -> float:
    """The least share of its own ceiling that the macro F1 of a group has; of the groups that the clips use."""
    model, real = (scores["following"][name]["groups"] for name in (MODEL, REAL))
    return min(
        model[group]["macro"]["f1"] / real[group]["macro"]["f1"] for group in real if real[group]["macro"]["support"]
    )


def camera_ratio(scores: dict[str, Any]) -> float | None:
    """Degrees that the camera is off, over those of its ceiling; None if nothing is off there."""
    model, real = (camera_off(scores["following"][name], "degrees") for name in (MODEL, REAL))
    return model / real if real else None


def following_kept(scores: dict[str, Any]) -> float:
    """Macro F1 that is read from the tokenizer's reconstructions, over that of the recorded frames."""
    return scores["following"][RECONSTRUCTED]["f1"] / scores["following"][REAL]["f1"]


def edges_at_last(scores: dict[str, Any]) -> float | None:
    """Sharpness of the last stretch of the long rollouts, over that of the recorded frames."""
    rows = scores["drift"]
    return rows[-1]["sharpness"] / scores["tokenizer"]["sharpness"] if rows else None


def entropy_kept(scores: dict[str, Any]) -> float | None:
    """A world that fades into one land has less and less."""
    return drift_ratio(scores, "token_entropy")


def opposites_kept(scores: dict[str, Any]) -> float | None:
    """The share of opposite keys that part the pictures, at the moment when the fewest do; an evaluation of earlier
    versions cannot tell."""
    rows = scores.get("opposites", [])
    return min((sum(row["parted"].values()) / (row["rollouts"] * len(row["parted"])) for row in rows), default=None)


BARS = (
    Bar("macro F1 read from the tokenizer's pictures, of its ceiling", following_kept, 0.95, "{:.1%}"),
    Bar("edges that the tokenizer keeps", lambda s: s["tokenizer"]["edges_kept"], 0.8, "{:.0%}"),
    Bar("tokenizer PSNR, dB", lambda s: s["tokenizer"]["psnr"], 29.0),
    Bar("hotbar slot read from the tokenizer's pictures", lambda s: s["tokenizer"]["slots_read"], 0.995, "{:.1%}"),
    Bar("15-frame rollouts, PSNR, dB", lambda s: mean_psnr(s, MODEL), 22.0),
    Bar("... over repeating the last frame, dB", lambda s: mean_psnr(s, MODEL) - mean_psnr(s, REPEAT), 4.0),
    Bar("macro F1, of its ceiling", lambda s: s["following"][MODEL]["f1"] / s["following"][REAL]["f1"], 0.95, "{:.1%}"),
    Bar("... of the worst group", worst_group, 0.85, "{:.1%}"),
    Bar("camera error in degrees, times the ceiling's", camera_ratio, 1.2, at_most=True),
    Bar("F1 of the last 100 of 1,800 frames, of that of the first", drift_ratio, 0.9, "{:.0%}"),
    Bar("edges in the last 100 of 1,800 frames, of the recorded", edges_at_last, 0.8, "{:.0%}"),
    Bar("opposite keys part the pictures after 5, 30 and 60 s", opposites_kept, 0.95, "{:.0%}"),
    Bar("token entropy in the last 100 of 1,800 frames, of that in the first", entropy_kept, 0.98, "{:.1%}"),
)
SPEED_BARS = (
    Bar("frames a second, two cores", lambda report: report["fps"], 15.0, "{:.1f}"),
    Bar("... input to picture, p95, ms", lambda report: report["latency_ms"]["p95"], 80.0, "{:.0f}", at_most=True),
)
"""Of a report of `worldmodel play`: an evaluation's own speed is that of a machine which may do other things."""
MEGABYTES = 45.0


def cell(bar: Bar, value: float | None) -> str:
    if value is None:
        return "-"
    return bar.show.format(value) + ("" if bar.met(value) else " (missed)")


def bound(bar: Bar) -> str:
    return ("at most " if bar.at_most else "at least ") + bar.show.format(bar.bound)


def bar_rows(
    evaluations: list[dict[str, Any]], play: dict[str, Any], games: list[dict[str, Any]], megabytes: float
) -> list[list[str]]:
    """Rows of bar, bound, and a value for each evaluation. play: a report of `worldmodel play`, as fast as it goes;
    games: scores of scripts/evaluate_against_game.py."""
    rows = [[bar.name, bound(bar), *(cell(bar, bar.value(scores)) for scores in evaluations)] for bar in BARS]
    size = Bar("weights, MB", lambda _: megabytes, MEGABYTES, "{:.1f}", at_most=True)
    for bar in (*SPEED_BARS, size):
        rows.append([bar.name, bound(bar), *[cell(bar, bar.value(play))] * len(evaluations)])
    for found in (found for game in games for found in game["bars"]):
        name = f"{found['kind']}: {found['question']} for {found['away_seconds']:g} s"
        text = f"{found['share']:.0%} ({found['hits']} of {found['n']})" + ("" if found["met"] else " (missed)")
        rows.append([name, f"at least {found['bar']:.0%}", text, *["-"] * (len(evaluations) - 1)])
    return rows
