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


def loss_weights(hud: str, height: int, width: int) -> NDArray[np.float32]:
    """float32 (H, W) of mean 1. ValueError for an unknown HUD name."""
    if hud not in HUDS:
        raise ValueError(f"unknown HUD {hud!r}; known are {', '.join(HUDS)}")
    weights = np.ones((height, width), np.float32)
    for region in HUDS[hud].values():
        weights[region.slices(height, width)] = region.weight
    return weights / weights.mean()
