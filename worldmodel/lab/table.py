"""The rows of the laboratory as tables and plots. The noise is that of the baseline's seeds: inside it is a tie."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.evaluation.following.comparison import markdown
from worldmodel.lab.presets import BASELINE, PRESETS
from worldmodel.types import WorldModelError

DRAWN_SHARES = (0.05, 0.2, 0.5)  # of the tokens, drawn from the prior
KEPT_SHARES = (0.25, 0.5, 0.75)  # of the tokens, the rest missing
CONFIDENCE = 0.9  # of the noise of one seed (Student's t over the baseline's seeds)


@dataclass(frozen=True, slots=True)
class Column:
    """name: key of the columns; show: format; better: 1 or -1 where more or less of it is better, 0 if neither; alike:
    judged only between codes that store as many bits a frame."""

    name: str
    title: str
    show: str = ".2f"
    better: int = 1
    alike: bool = False


Rows = Sequence[dict[str, Any]]

TABLES: dict[str, tuple[Column, ...]] = {
    "Pictures": (
        Column("psnr", "PSNR, dB"),
        Column("ssim", "SSIM", ".3f"),
        Column("sharpness_kept", "sharpness kept", ".2f"),
        Column("slots_read", "slot read", ".3f"),
        Column("items_read", "item read", ".3f"),
        Column("glyphs_small", "digits of 3 to 5 px read"),
        Column("glyphs_large", "of 6 to 10 px"),
        Column("f1_reconstructed", "F1 on reconstructions", ".3f"),
        Column("decoder_ms", "decoder, ms", ".1f", -1),
    ),
    "Codes": (
        Column("bits", "bits a frame, stored", ".0f", 0),
        Column("bits_prior", "under the prior", ".0f", -1, alike=True),
        *(Column(f"psnr_drawn_{share:.0%}", f"PSNR, {share:.0%} drawn") for share in DRAWN_SHARES),
        *(Column(f"psnr_kept_{share:.0%}", f"PSNR, {share:.0%} kept") for share in KEPT_SHARES),
        Column("flicker", "flicker", ".3f", -1),
        Column("perplexity", "perplexity", ".0f", 0),
        Column("zipf_slope", "Zipf slope", ".2f", 0),
    ),
    "World": (
        Column("bits_world", "bits a frame", ".0f", -1, alike=True),
        Column("rollout_psnr", "rollout PSNR, dB"),
        Column("rollout_over_repeat", "over repeating"),
        Column("f1_rollouts", "F1 on rollouts", ".3f"),
        Column("frechet", "Fréchet distance", ".2f", -1),
        Column("away_psnr", "after looking away, dB"),
        Column("passes", "passes", ".0f", -1),
        Column("frame_ms", "a frame's tokens, ms", ".0f", -1),
    ),
}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """WorldModelError if there are no results."""
    if not path.is_file():
        raise WorldModelError(f"{path} is not there: scripts/lab.py run {BASELINE} makes it")
    return json.loads(path.read_text())


def values_of(rows: Rows, preset: str, column: str) -> list[float]:
    """A preset's values of a column, one a seed; those that are empty are left out."""
    found = [row["columns"].get(column) for row in rows if row["preset"] == preset]
    return [value for value in found if value is not None]


def noise(values: Sequence[float], others: int = 1) -> float | None:
    """How far the mean of `others` seeds may lie from that of these seeds by chance alone: half the prediction interval
    of CONFIDENCE. None for a single seed."""
    from scipy.stats import t

    n = len(values)
    if n < 2:
        return None
    return float(t.ppf((1 + CONFIDENCE) / 2, n - 1) * np.std(values, ddof=1) * math.sqrt(1 / n + 1 / others))


def verdict(rows: Rows, preset: str, column: Column, seeds: Rows | None = None) -> float | None:
    """A preset's difference to the baseline, 0 inside the noise; None where there is no telling. seeds: rows whose
    baselines tell the noise, where it is not these."""
    values, base = (values_of(rows, name, column.name) for name in (preset, BASELINE))
    bar = noise(values_of(seeds or rows, BASELINE, column.name), len(values)) if values else None
    if bar is None or not column.better:
        return None
    if column.alike and values_of(rows, preset, "bits")[:1] != values_of(rows, BASELINE, "bits")[:1]:
        return None
    difference = float(np.mean(values) - np.mean(base))
    return 0.0 if abs(difference) <= bar else difference


def cell(rows: Rows, preset: str, column: Column, seeds: Rows | None = None) -> str:
    """A value and what it is against the baseline's: "tie", or the difference, in bold where it is better. seeds: see
    `verdict`."""
    values = values_of(rows, preset, column.name)
    if not values:
        return "-"
    shown = format(float(np.mean(values)), column.show)
    if preset == BASELINE:
        bar = noise(values)
        return shown if bar is None else f"{shown} ± {bar:{column.show}}"
    difference = verdict(rows, preset, column, seeds)
    if difference is None:
        return shown
    if difference == 0:
        return f"{shown} tie"
    told = f"{difference:+{column.show}}"
    return f"{shown} **{told}**" if difference * column.better > 0 else f"{shown} {told}"


def benches(rows: Rows) -> list[list[dict[str, Any]]]:
    """The rows by what they were measured with (data, budget), those with a baseline, the most rows first.
    WorldModelError if there are none."""
    keys = list(dict.fromkeys(row["bench"] for row in rows if row["preset"] == BASELINE))
    if not keys:
        raise WorldModelError(f"the results hold no baseline to compare with: scripts/lab.py run {BASELINE}")
    found = [[row for row in rows if row["bench"] == key] for key in keys]
    return sorted(found, key=len, reverse=True)


SUMMARY = ("psnr", "psnr_drawn_20%", "bits_prior", "bits_world", "rollout_psnr", "f1_rollouts", "frechet", "away_psnr")


def summary(rows: Rows) -> str:
    """What won, lost and tied, a line a column, as Markdown."""
    same = benches(rows)[0]
    names = [name for name in PRESETS if name != BASELINE and any(row["preset"] == name for row in same)]
    columns = {column.name: (group, column) for group, columns in TABLES.items() for column in columns}
    lines = []
    for group, column in (columns[name] for name in SUMMARY):
        found = {name: verdict(same, name, column) for name in names}
        told = {name: value for name, value in found.items() if value is not None}
        best = sorted(told, key=lambda name: -told[name] * column.better)
        better, worse = (
            [f"{name} {told[name]:+{column.show}}" for name in order if told[name] * column.better * sign > 0]
            for order, sign in ((best, 1), (best[::-1], -1))
        )
        ties = sum(value == 0 for value in told.values())
        lines.append((f"{group}: {column.title}", cell(same, BASELINE, column), _some(better), _some(worse), str(ties)))
    text = f"{len(names) + 1} of {len(PRESETS)} presets are measured."
    parts = [text, markdown(("", "baseline", "won", "lost", "ties"), lines)] if names else [text]
    for longer in benches(rows)[1:]:
        others = [name for name in PRESETS if any(row["preset"] == name for row in longer)]
        head = (f"{_steps(longer)}, against a baseline of as many", *others)
        cells = [
            (f"{group}: {column.title}", *(cell(longer, name, column, same) for name in others))
            for group, column in (columns[name] for name in SUMMARY)
        ]
        parts.append(markdown(head, cells))
    return "\n\n".join(parts)


def _steps(rows: Rows) -> str:
    budget = rows[0]["budget"]
    return f"{budget['tokenizer_steps']:,} tokenizer and {budget['world_steps']:,} world steps"


def _some(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "-"


def table(rows: Rows) -> str:
    """Markdown: a table for each of TABLES, for each budget that a baseline was measured with."""
    first, *others = benches(rows)
    return "\n\n".join([_tables(first), *(_tables(same, first) for same in others)])


def _tables(same: Rows, seeds: Rows | None = None) -> str:
    names = [name for name in PRESETS if any(row["preset"] == name for row in same)]
    count = sum(row["preset"] == BASELINE for row in seeds or same)
    whose = f"the baseline has {count} seed" + "s" * (count > 1)
    if seeds is not None:
        whose = f"the noise is that of the {count} seeds of {_steps(seeds)}"
    text = [
        f"{_steps(same)} from scratch; {whose}, ± is the {CONFIDENCE:.0%} interval of one more seed, and what lies "
        "inside it is a tie. Bits are judged between codes that store as many a frame. Milliseconds are from a machine "
        "with other work."
    ]
    for title, columns in TABLES.items():
        head = (title, *(column.title for column in columns))
        lines = [
            (
                f"{name} (a reading)" if PRESETS[name].reading else name,
                *(cell(same, name, column, seeds) for column in columns),
            )
            for name in names
        ]
        text.append(markdown(head, lines))
    return "\n\n".join(text)


PLOTS = (("bits_prior", "psnr"), ("psnr_drawn_20%", "psnr"), ("bits_world", "rollout_psnr"), ("psnr", "rollout_psnr"))


def plot(rows: Rows, path: Path) -> None:
    """A point a preset, for some pairs of columns, of the budget with the most rows; the baseline with its noise."""
    rows = benches(rows)[0]
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib.figure import Figure

    titles = {column.name: f"{group}: {column.title}" for group, columns in TABLES.items() for column in columns}
    figure = Figure(figsize=(14, 10), layout="constrained")
    for axes, names in zip(figure.subplots(2, 2).flat, PLOTS, strict=True):
        for preset in dict.fromkeys(row["preset"] for row in rows):
            x, y = (values_of(rows, preset, name) for name in names)
            if not x or not y:
                continue
            bars = [noise(v) if preset == BASELINE else None for v in (x, y)]
            axes.errorbar(np.mean(x), np.mean(y), xerr=bars[0], yerr=bars[1], marker="o", capsize=3)
            axes.annotate(preset, (float(np.mean(x)), float(np.mean(y))), fontsize=7)
        axes.set_xlabel(titles[names[0]])
        axes.set_ylabel(titles[names[1]])
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
