"""Where a game's HUD lies in the picture, as fractions, so that losses and scores can weigh it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class HudRegion:
    """A rectangle in fractions of the picture, and its weight in the tokenizer's loss (the rest has 1)."""

    top: float
    left: float
    bottom: float
    right: float
    weight: float

    def slices(self, height: int, width: int) -> tuple[slice, slice]:
        return (
            slice(round(self.top * height), round(self.bottom * height)),
            slice(round(self.left * width), round(self.right * width)),
        )


# Read off frames of the starter recordings (384 x 224, hud_scaling 0.5).
HUDS: dict[str, dict[str, HudRegion]] = {
    "none": {},
    "luanti": {
        "hotbar": HudRegion(0.857, 0.156, 1.0, 0.844, 4.0),
        "crosshair": HudRegion(0.455, 0.469, 0.545, 0.531, 4.0),
    },
}

# Where the outline of the block lies that the player can dig or build on: no part of the HUD (it moves with the view),
# but as small and as telling.
REACH: dict[str, HudRegion] = {"luanti": HudRegion(0.25, 0.3, 0.8, 0.7, 2.0)}


def loss_weights(hud: str, height: int, width: int) -> NDArray[np.float32]:
    """float32 (H, W) of mean 1. ValueError for an unknown HUD name."""
    if hud not in HUDS:
        raise ValueError(f"unknown HUD {hud!r}; known are {', '.join(HUDS)}")
    weights = np.ones((height, width), np.float32)
    reach = [REACH[hud]] if hud in REACH else []
    for region in (*reach, *HUDS[hud].values()):  # a later one covers an earlier one
        weights[region.slices(height, width)] = region.weight
    return weights / weights.mean()


@dataclass(frozen=True, slots=True)
class HotbarLine:
    """The line below the hotbar's slots, which is lightest below the selected one; in fractions of the picture. left:
    of the first slot; pitch: from one to the next; width: of one; top, bottom: of the line."""

    left: float
    pitch: float
    width: float
    top: float
    bottom: float
    slots: int


SLOT_SHOWN_STEPS = 2  # after the step that chooses a slot, the picture may take these to show it
# Read off recorded frames of 192 x 112; it gives the slot that the game itself logged on 8,998 of 9,000 others.
SELECTED_CONTRAST = 25.0  # grey levels over the next lightest slot: 36 at least in play, whose others differ by 42
FRAME_PIXELS = 2  # of a slot's frame, at 192 x 112
HOTBAR_LINES = {"luanti": HotbarLine(0.1578, 0.0756, 0.0807, 0.973, 0.991, 9)}


def read_slot(frames: NDArray[np.uint8], hud: str = "luanti") -> NDArray[np.int64]:
    """The selected hotbar slot, from 0, of each frame. frames: uint8 (N, H, W, 3)."""
    return _slot_light(frames, hud).argmax(1)


def shown_slot(frame: NDArray[np.uint8], hud: str = "luanti") -> int | None:
    """The selected hotbar slot, from 0, of a frame uint8 (H, W, 3); None where none stands out: a picture of something
    else has no hotbar."""
    light = _slot_light(frame[None], hud)[0]
    *others, selected = np.sort(light)
    enough = max(SELECTED_CONTRAST, (others[-1] - others[0]) / 2)
    return int(light.argmax()) if selected - others[-1] >= enough else None


def _slot_light(frames: NDArray[np.uint8], hud: str) -> NDArray[np.float32]:
    """How light the line below each slot is: (N, slots), 0..255."""
    H, W = frames.shape[1:3]
    line = HOTBAR_LINES[hud]
    rows = frames[:, round(line.top * H) : round(line.bottom * H)].astype(np.float32).mean((1, 3))  # (N, W)
    lefts = [(line.left + slot * line.pitch) * W for slot in range(line.slots)]
    return np.stack([rows[:, round(left) : round(left + line.width * W)].mean(1) for left in lefts], 1)


def slot_icons(frames: NDArray[np.uint8], hud: str = "luanti") -> NDArray[np.float32]:
    """What the slots of the hotbar show, without their frames: float32 (N, slots, h, w, 3)."""
    H, W = frames.shape[1:3]
    line, bar = HOTBAR_LINES[hud], HUDS[hud]["hotbar"]
    rows = slice(round(bar.top * H) + FRAME_PIXELS, round(line.top * H) - 1)
    width = round(line.pitch * W) - 2 * FRAME_PIXELS
    lefts = [round((line.left + slot * line.pitch) * W) + FRAME_PIXELS for slot in range(line.slots)]
    return np.stack([frames[:, rows, left : left + width] for left in lefts], 1).astype(np.float32)


def items_told(made: NDArray[np.uint8], real: NDArray[np.uint8], hud: str = "luanti") -> NDArray[np.bool_]:
    """Can the item in hand still be told by nearest template? (N,)

    made, real: uint8 (N, H, W, 3), a picture and the frame that it should be. The templates are the real frame's own
    slots: the icon that `made` shows in the selected slot must be nearest to the one that is there.
    """
    slots, icons = read_slot(real, hud), slot_icons(made, hud)
    shown = icons[np.arange(len(made)), slots]
    distances = ((slot_icons(real, hud) - shown[:, None]) ** 2).mean((2, 3, 4))
    return distances.argmin(1) == slots
