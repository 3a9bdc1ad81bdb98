"""The types that pass between the rooms: frames, tokens, actions, steps and worlds. NumPy only, no torch.

Camera everywhere: `camera = [pitch, yaw]` in degrees; positive pitch looks down, positive yaw looks right.
Buttons have MineRL's names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

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
class Step:
    """What a world answers. frame: the picture after the action; tokens: its image tokens, if it has any.

    timings: seconds by stage ("decode", "pixels", ...); info: what else the world wants to tell.
    """

    frame: Frame
    tokens: Tokens | None = None
    timings: dict[str, float] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)


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


class WorldModelError(Exception):
    """A user's mistake or a missing part of the machine: one sentence that says what to do."""
