"""The types that pass between the rooms: frames, tokens, actions, steps and worlds. NumPy only, no torch.

Camera everywhere: `camera = [pitch, yaw]` in degrees; positive pitch looks down, positive yaw looks right.
Buttons have MineRL's names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from kernels.sampling import Sampler

Frame = NDArray[np.uint8]
"""uint8 RGB, shape (height, width, 3)."""

Tokens = NDArray[np.int32]
"""int32 image tokens of one frame, row by row, shape (tokens a frame,)."""

# The order defines MineWorld's token ids (see tokenizers/action.py): never sort or reorder.
BUTTONS: tuple[str, ...] = (
    "use",
    "attack",
    "forward",
    "back",
    "left",
    "right",
    "jump",
    "sneak",
    "sprint",
    "drop",
    "swapHands",
    "pickItem",
    "inventory",
    "ESC",
    *(f"hotbar.{slot}" for slot in range(1, 10)),
)
_KNOWN = frozenset(BUTTONS)
HOTBAR = frozenset(name for name in BUTTONS if name.startswith("hotbar."))
"""The buttons that choose a hotbar slot."""

DEGREES_PER_PIXEL = 360 / 2400  # MineRL's and VPT's mouse scale: 0.15 degrees a pixel


@dataclass(frozen=True, slots=True)
class Action:
    """What a player does in one step: held buttons and the camera move in degrees. Hashable.

    Raises ValueError for an unknown button or an angle that is not finite.
    """

    buttons: frozenset[str] = frozenset()
    pitch: float = 0.0
    yaw: float = 0.0

    def __post_init__(self) -> None:
        unknown = set(self.buttons) - _KNOWN
        if unknown:
            raise ValueError(f"unknown buttons {sorted(unknown)}; known are {', '.join(BUTTONS)}")
        if not (math.isfinite(self.pitch) and math.isfinite(self.yaw)):
            raise ValueError(f"camera angles must be finite degrees, got pitch={self.pitch}, yaw={self.yaw}")


NO_ACTION = Action()


@dataclass(frozen=True, slots=True)
class Status:
    """What a world tells of itself with a step; None for what it does not have.

    context: frames in the context, and at most; sampler: what the tokens were drawn by; slot: the selected hotbar slot,
    1 to 9; recording: what is recorded, or why it stopped; notes: label-value pairs for the player.
    """

    context: tuple[int, int] | None = None
    sampler: Sampler | None = None
    slot: int | None = None
    recording: str | None = None
    notes: tuple[tuple[str, str], ...] = ()


NOTHING_TO_TELL = Status()


@dataclass(frozen=True, slots=True)
class Step:
    """What a world answers. frame: the picture after the action; tokens: its image tokens, if it has any.

    timings: seconds by stage ("decode", "pixels", ...); status: what the world tells of itself; action: what led to the
    picture, where the world knows better than who called it (a recording); told: int32 (11,) tokens that the action
    was encoded as, if it was.
    """

    frame: Frame
    tokens: Tokens | None = None
    timings: dict[str, float] = field(default_factory=dict)
    status: Status = NOTHING_TO_TELL
    action: Action | None = None
    told: Tokens | None = None


@dataclass(frozen=True, slots=True)
class StartScene:
    """An opening context. tokens: int32 (n, places); actions: int32 (n - 1, 11) between them."""

    tokens: NDArray[np.int32]
    actions: NDArray[np.int32]


@runtime_checkable
class World(Protocol):
    """Anything that can be played: the neural world, a real game, a replay, the tests' fake."""

    name: str
    frame_shape: tuple[int, int]
    """height, width of the frames in pixels."""
    tick_rate: float
    """steps a second of game time."""

    @property
    def starts(self) -> int:
        """How many start scenes `reset` can choose from."""
        ...

    def reset(self, start: int = 0, seed: int = 0) -> Step: ...

    def step(self, action: Action) -> Step: ...

    def close(self) -> None: ...


@runtime_checkable
class Rewindable(Protocol):
    """A world that remembers its play."""

    @property
    def length(self) -> int:
        """Steps that can be gone back."""
        ...

    def peek(self, back: int) -> Step:
        """The picture `back` steps ago (0: now), without going there."""
        ...

    def rewind(self, back: int) -> Step:
        """Goes `back` steps back, at most to the opening: play goes on from there."""
        ...


@runtime_checkable
class Seekable(Protocol):
    """A world whose whole play is known: any moment of it can be shown."""

    position: int
    """Steps before the picture that is shown."""

    def seek(self, position: int) -> Step:
        """Goes to a position, or to the nearest one that there is."""
        ...


@runtime_checkable
class Neural(Protocol):
    """A world inside a neural network: it can start from any picture, and how it draws can be changed."""

    sampler: Sampler
    """How tokens are drawn; can be changed between steps."""

    def scene_of(self, picture: Frame) -> StartScene:
        """A picture of the user's own, uint8 (H, W, 3), as an opening. WorldModelError for another size."""
        ...

    def scene_of_clip(self, path: Path) -> StartScene:
        """A clip (FILE.mp4, its actions beside it) as an opening. ClipError for a clip that cannot be used."""
        ...

    def open(self, scene: StartScene, seed: int = 0, frame: int = 0) -> Step:
        """Starts from an opening. frame: number of the next step, which keys its random numbers."""
        ...

    def told(self, action: Action) -> Action:
        """The action with the camera's move that the model is told in its place. Both are the same step."""
        ...

    def facts(self) -> dict[str, Any]:
        """What a report says of where the frames came from: engine, device, checkpoint (folder), weights (hash),
        tokens_sha256."""
        ...


class WorldModelError(Exception):
    """A user's mistake or a missing part of the machine: one sentence that says what to do."""
