"""The text of the panel: what is being played, and how fast."""

from __future__ import annotations

import math

from client.play.game import Picture
from client.play.stats import Stats

Lines = tuple[tuple[tuple[str, str], ...], ...]
"""The panel's rows, each of (label, value) pairs."""


def panel_lines(picture: Picture, recent: Stats) -> Lines:
    """What is played; how fast; and, for a neural world, its context and sampler."""
    latency = recent.latency
    start = "picture" if picture.start is None else f"{picture.start} of {picture.starts}"
    recording = (("rec", picture.recording),) if picture.recording is not None else ()
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
        ("dropped", str(picture.dropped)),
    )
    third: list[tuple[str, str]] = []
    if picture.context is not None:
        third.append(("context", f"{picture.context[0]}/{picture.context[1]}"))
    if picture.sampler is not None:
        third.append(("temperature", f"{picture.sampler.temperature:g}"))
        third.append(("top-p", f"{picture.sampler.top_p:g}"))
        if picture.sampler.top_k:
            third.append(("top-k", str(picture.sampler.top_k)))
        if picture.sampler.guidance:
            third.append(("guidance", f"{picture.sampler.guidance:g}"))
    third.extend(picture.notes)
    return (first, second, tuple(third)) if third else (first, second)


def _number(value: float, digits: int = 0) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
