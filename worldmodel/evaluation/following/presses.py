"""Do the mouse's buttons change the world? A press at the start, beside the same play without it.

Both plays have the same seed, and so the same random numbers (kernels/sampling.py): what differs in the picture comes
of the press. It knows no game: only that a block appears, or a hole, somewhere near the crosshair.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worldmodel.types import NO_ACTION, Action, Frame, World

REST = (NO_ACTION,) * 3
PRESSES = {"use": 2, "attack": 2}  # steps that the button is down: a click, and twice what the shovel needs for grass
SLOTS = {"use": "hotbar.9", "attack": "hotbar.2"}  # bricks; the shovel
AFTER = (NO_ACTION,) * 4  # until the change shows and the hand is at rest
SHOWN = 5.0  # mean absolute difference near the crosshair, 0..255; where nothing was in reach, up to 2.7
NEAR = (0.3, 0.8), (0.3, 0.7)  # rows, columns: fractions of the picture


def _near(frame: Frame) -> NDArray[np.float32]:
    (top, bottom), (left, right) = NEAR
    H, W, _ = frame.shape
    return frame[round(top * H) : round(bottom * H), round(left * W) : round(right * W)].astype(np.float32)


def _play(world: World, start: int, button: str, pressed: Action, seed: int) -> Frame:
    world.reset(start, seed)
    script = (Action(frozenset({SLOTS[button]})), *REST, *(pressed,) * PRESSES[button], *AFTER)
    return [world.step(action).frame for action in script][-1]


def presses_shown(world: World, starts: Sequence[int], button: str, seed: int = 0) -> list[bool]:
    """For each start scene: does the picture near the crosshair differ (SHOWN) from what it is without the press?
    (Where nothing is in reach of the crosshair, it should not.)

    button: "use" or "attack"."""
    shown = []
    for start in starts:
        with_it = _play(world, start, button, Action(frozenset({button})), seed)
        without = _play(world, start, button, NO_ACTION, seed)
        shown.append(bool(np.abs(_near(with_it) - _near(without)).mean() > SHOWN))
    return shown
