"""The report of a run: one line of JSON."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from client.play.stats import Stats
from worldmodel.measure.machine import processor
from worldmodel.types import WorldModelError


@dataclass(frozen=True, slots=True)
class Report:
    """frames: steps made; fps: frames a second of unpaused play; latency_ms: from reading the input to the picture
    (in a window: to the picture on the screen), percentiles; startup_s: from the start of the process to the first
    picture; dropped: ticks that came too late; processor: its name; the rest is what the world says of itself, None
    where it has no such thing."""

    frames: int
    fps: float | None
    latency_ms: dict[str, float | None]
    startup_s: float | None
    dropped: int
    seed: int
    processor: str
    world: str | None = None
    engine: str | None = None
    device: str | None = None
    checkpoint: str | None = None
    weights: str | None = None
    tokens_sha256: str | None = None


def make_report(
    stats: Stats, frames: int, startup_s: float | None, dropped: int, seed: int, facts: dict[str, Any]
) -> Report:
    """stats: of the whole run; facts: from `game.facts_of`."""
    latency = stats.latency
    return Report(
        frames=frames,
        fps=_rounded(stats.fps),
        latency_ms={name: _rounded(seconds * 1000) for name, seconds in asdict(latency).items()},
        startup_s=_rounded(startup_s),
        dropped=dropped,
        seed=seed,
        processor=processor(),
        **facts,
    )


def write_report(report: Report, target: str) -> None:
    """target: a file, or "-" for standard output."""
    line = json.dumps(asdict(report)) + "\n"
    if target == "-":
        sys.stdout.write(line)
        sys.stdout.flush()
        return
    try:
        Path(target).write_text(line, encoding="utf-8")
    except OSError as error:
        raise WorldModelError(f"cannot write the report to {target}: {error}") from None


def _rounded(value: float | None) -> float | None:
    """JSON has no NaN: what was not measured is null."""
    return None if value is None or math.isnan(value) else round(value, 3)
