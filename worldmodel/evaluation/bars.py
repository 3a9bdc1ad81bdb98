"""The bars that a shipped world must pass, and how far an evaluation is from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from worldmodel.evaluation.against_scores import PLACED_STAYS_BAR
from worldmodel.evaluation.comparison import camera_off, drift_ratio, mean_psnr
from worldmodel.evaluation.tally import MODEL, REAL, REPEAT


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


BARS = (
    Bar("tokenizer PSNR, dB", lambda s: s["tokenizer"]["psnr"], 27.0),
    Bar("hotbar slot read from the reconstruction", lambda s: s["tokenizer"]["slots_read"], 0.98, "{:.1%}"),
    Bar("15-frame rollouts, PSNR, dB", lambda s: mean_psnr(s, MODEL), 18.0),
    Bar("... over repeating the last frame, dB", lambda s: mean_psnr(s, MODEL) - mean_psnr(s, REPEAT), 2.0),
    Bar("macro F1, of its ceiling", lambda s: s["following"][MODEL]["f1"] / s["following"][REAL]["f1"], 0.9, "{:.1%}"),
    Bar("... of the worst group", worst_group, 0.75, "{:.1%}"),
    Bar(
        "camera error in degrees, times the ceiling's",
        camera_ratio,
        1.5,
        at_most=True,
    ),
    Bar("F1 of frames 501-600, of that of 1-100", drift_ratio, 0.85, "{:.0%}"),
    Bar("frames a second, two cores", lambda s: s["speed"].get("fps"), 10.0, "{:.1f}"),
)


def cell(bar: Bar, value: float | None) -> str:
    if value is None:
        return "-"
    return bar.show.format(value) + ("" if bar.met(value) else " (missed)")


def bar_rows(evaluations: list[dict[str, Any]], game: dict[str, Any] | None, megabytes: float) -> list[list[str]]:
    """Rows of bar, bound, and a value for each evaluation. game: scores of scripts/evaluate_against_game.py."""
    rows = [
        [bar.name, ("at most " if bar.at_most else "at least ") + bar.show.format(bar.bound)]
        + [cell(bar, bar.value(scores)) for scores in evaluations]
        for bar in BARS
    ]
    size = Bar("weights, MB", lambda _: megabytes, 48.0, "{:.1f}", at_most=True)
    alike = [size.name, f"at most {size.bound:.0f}", *[cell(size, megabytes)] * len(evaluations)]
    stays = ["placed block there after looking away and back", f"at least {PLACED_STAYS_BAR:.0%}"]
    if game is not None:
        for found in game["bars"]:
            text = f"{found['share']:.0%} ({found['hits']} of {found['n']})" + ("" if found["met"] else " (missed)")
            stays += [text, *["-"] * (len(evaluations) - 1)]
    else:
        stays += ["not yet measured"] * len(evaluations)
    return [*rows, alike, stays]
