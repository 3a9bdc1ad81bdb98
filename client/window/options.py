"""What a window is opened with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from client.play.bindings import DEFAULT_BINDINGS, table_of
from client.play.controls import InputLog
from client.play.game import Start
from client.play.meter import Meter
from client.play.runner import Source


@dataclass(frozen=True, slots=True)
class WindowOptions:
    """start: scene number or picture; fps: None is the world's rate; scale: window pixels a frame pixel (0: the usual
    window); smooth: bilinear upscale; table: key name -> what it does; source: plays instead of the keyboard; frames:
    stops after so many steps; report: file or "-"; output_dir: where pictures go; started: when the process began, in
    seconds of `time.monotonic` (None: now); inputs: where the raw inputs of each step are noted;
    meter: reads beside the game what was played; keys_mark: a file; where it is missing, a user who plays is shown the
    keys until the first press, and it is made (None: they are not shown)."""

    start: Start = 0
    seed: int = 0
    fps: float | None = None
    scale: int = 0
    smooth: bool = True
    sensitivity: float = 1.0
    table: Mapping[str, str] = field(default_factory=lambda: table_of(DEFAULT_BINDINGS))
    source: Source | None = None
    frames: int | None = None
    report: str | None = None
    output_dir: Path = Path("sessions")
    started: float | None = None
    inputs: InputLog = field(default_factory=InputLog)
    meter: Meter | None = None
    keys_mark: Path | None = None
