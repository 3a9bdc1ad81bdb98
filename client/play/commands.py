"""What the window's thread asks of the worker; each is carried out between two steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Restart:
    """Back to the opening; new_seed: with the next seed, so that the same actions lead elsewhere."""

    new_seed: bool = False


@dataclass(frozen=True, slots=True)
class MoveStart:
    by: int


@dataclass(frozen=True, slots=True)
class Begin:
    """Back to the opening of a start scene, with a seed; None: the present one."""

    start: int | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    on: bool


@dataclass(frozen=True, slots=True)
class SingleStep:
    """One step, paused or not."""


@dataclass(frozen=True, slots=True)
class ChangeTemperature:
    by: float


@dataclass(frozen=True, slots=True)
class ChangeSampler:
    """How the next frames are drawn; None: as before."""

    temperature: float | None = None
    guidance: float | None = None


@dataclass(frozen=True, slots=True)
class Rewind:
    """Runs backwards while on; play goes on from where it is let go."""

    on: bool


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Marks this moment."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """Against drift: goes on from a picture file, or from the last bookmark's picture."""

    picture: Path | None = None


@dataclass(frozen=True, slots=True)
class ToggleRecording:
    """Ends the recording, or starts one into `path`."""

    path: Path


@dataclass(frozen=True, slots=True)
class Seek:
    """Shows another moment of a recording: the one that `Runner.seek` was asked for last."""


@dataclass(frozen=True, slots=True)
class ChangeSpeed:
    """Plays `factor` times as fast as the world's own rate."""

    factor: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Wakes the worker to see that it is over."""


Command = (
    Restart
    | MoveStart
    | Begin
    | Pause
    | SingleStep
    | ChangeTemperature
    | ChangeSampler
    | Rewind
    | Bookmark
    | Anchor
    | ToggleRecording
    | Seek
    | ChangeSpeed
    | Stop
)
