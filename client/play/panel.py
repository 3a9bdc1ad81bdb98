"""The text of the panel: what is being played, and how fast."""

from __future__ import annotations

import math

from client.play.game import Picture
from client.play.stats import Stats

Lines = tuple[tuple[tuple[str, str], ...], ...]
"""The panel's rows, each of (label, value) pairs."""


def panel_lines(picture: Picture, recent: Stats, dropped: int) -> Lines:
    """What is played; how fast; and, for a neural world, its context and sampler. dropped: ticks that were."""
    latency, status = recent.latency, picture.status
    start = "picture" if picture.start is None else f"{picture.start} of {picture.starts}"
    recording = (("rec", status.recording),) if status.recording is not None else ()
    first = (
        *recording,
        ("", picture.world),
        ("start", start),
        ("seed", str(picture.seed)),
        ("frame", str(picture.index)),
    )
    second = (
        ("", f"{_number(recent.fps, 1)} fps"),
        ("latency", f"{_number(latency.p50 * 1000)} / {_number(latency.p95 * 1000)} ms"),
        ("dropped", str(dropped)),
    )
    third: list[tuple[str, str]] = []
    if status.context is not None:
        third.append(("context", f"{status.context[0]}/{status.context[1]}"))
    if status.sampler is not None:
        third.append(("temperature", f"{status.sampler.temperature:g}"))
        third.append(("top-p", f"{status.sampler.top_p:g}"))
        if status.sampler.top_k:
            third.append(("top-k", str(status.sampler.top_k)))
        if status.sampler.guidance:
            third.append(("guidance", f"{status.sampler.guidance:g}"))
    third.extend(status.notes)
    return (first, second, tuple(third)) if third else (first, second)


def _number(value: float, digits: int = 0) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
