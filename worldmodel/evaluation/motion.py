"""How the picture moved between two frames, measured on pixels alone: does the view follow the mouse?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from skimage.registration import phase_cross_correlation

from worldmodel.data.hud import HUDS
from worldmodel.types import Action, Frame, World

# The held item moves with the view: the lower right of the picture says nothing about it.
VIEW_BOTTOM, VIEW_RIGHT = 0.78, 0.8


def picture_shift(before: Frame, after: Frame, hud: str = "luanti") -> tuple[float, float]:
    """(down, right) in pixels by which the picture's content moved. Phase correlation (Kuglin & Hines 1975).

    before, after: uint8 (H, W, 3). The HUD is left out: it never moves.
    """

    def view(frame: Frame) -> NDArray[np.float64]:
        grey = frame.astype(np.float64).mean(-1)
        height, width = grey.shape
        for region in HUDS[hud].values():
            rows, columns = region.slices(height, width)
            grey[rows, columns] = grey[: rows.start].mean() if rows.start else grey.mean()
        grey = grey[: round(VIEW_BOTTOM * height), : round(VIEW_RIGHT * width)]
        window = np.hanning(grey.shape[0])[:, None] * np.hanning(grey.shape[1])[None]
        return (grey - grey.mean()) * window

    shift, _, _ = phase_cross_correlation(view(after), view(before), upsample_factor=4, normalization=None)  # type: ignore[arg-type]
    return float(shift[0]), float(shift[1])


def turn(world: World, start: int, action: Action, steps: int, seed: int = 0) -> tuple[float, float]:
    """Plays `action` for `steps` steps from start scene `start`: the sum of the picture's shifts (down, right)."""
    frames = [world.reset(start, seed).frame]
    frames += [world.step(action).frame for _ in range(steps)]
    shifts = [picture_shift(a, b) for a, b in itertools.pairwise(frames)]
    return sum(down for down, _ in shifts), sum(right for _, right in shifts)


def turns_followed(world: World, starts: Sequence[int], degrees: float = 4.0, steps: int = 4) -> dict[str, list[bool]]:
    """For each way of turning, and each start scene: did the picture move the other way?

    Looking right must move the picture left, looking down must move it up, and so on.
    """
    ways = {
        "right": (Action(yaw=degrees), 1, -1),
        "left": (Action(yaw=-degrees), 1, 1),
        "down": (Action(pitch=degrees), 0, -1),
        "up": (Action(pitch=-degrees), 0, 1),
    }
    return {
        name: [turn(world, start, action, steps)[axis] * sign > 1.0 for start in starts]
        for name, (action, axis, sign) in ways.items()
    }
