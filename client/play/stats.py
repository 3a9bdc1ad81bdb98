"""Measures of play: frames a second and latency percentiles. Knows numbers only; the clock is the caller's."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path


def percentile(values: list[float], share: float) -> float:
    """Nearest-rank percentile: the smallest value that at least `share` (0..1) of the values do not exceed.
    NaN for no values."""
    if not values:
        return math.nan
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles in seconds; NaN where nothing was measured."""

    p50: float
    p95: float
    p99: float


@dataclass(slots=True)
class Stats:
    """Frames a second and latency over the last `last` frames (None: over all).

    Times are seconds of one monotonic clock. `gap` starts a new stretch: a pause is not a slow frame.
    """

    last: int | None = 100
    frames: int = 0
    _intervals: deque[float] = field(init=False)
    _latencies: deque[float] = field(init=False)
    _previous: float | None = None

    def __post_init__(self) -> None:
        self._intervals = deque(maxlen=self.last)
        self._latencies = deque(maxlen=self.last)

    def gap(self, now: float | None = None) -> None:
        """now: when the new stretch began; None: with the next frame."""
        self._previous = now

    def frame(self, now: float, latency: float) -> None:
        """A frame arrived at `now`, `latency` seconds after its input was sampled."""
        if self._previous is not None:
            self._intervals.append(now - self._previous)
        self._previous = now
        self._latencies.append(latency)
        self.frames += 1

    @property
    def fps(self) -> float:
        """Frames a second of unpaused play; NaN before the second frame."""
        spent = sum(self._intervals)
        return len(self._intervals) / spent if spent > 0 else math.nan

    @property
    def latency(self) -> Latency:
        values = list(self._latencies)
        return Latency(percentile(values, 0.5), percentile(values, 0.95), percentile(values, 0.99))


def process_start(fallback: float) -> float:
    """When this process was created, on the clock of `time.monotonic`.

    fallback: the value to use where the system does not tell (anything but Linux).
    """
    try:
        # Field 22 of proc(5) stat, counted after the command's name, which may itself hold spaces.
        ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return fallback
    return time.monotonic() - age
