"""Which patches of a picture show the white outline of the block in reach, on grass.

Only plain cases count: in a picture with other white near the crosshair (bricks, sandstone, sky between leaves) nothing
is said to be outlined, since what is told here is taken out of pictures (training/corruption.py), and a block is not
to vanish with its outline.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worldmodel.data.hud import HUDS, REACH

# Read off frames of 192 x 112 with the outline of games/luanti/presets.py.
WHITE, EVEN = 125, 55  # least of a pixel's channels, and most between the least and the largest
GREENER = 12  # than red and than blue
MIN_WHITE, MIN_GREEN = 2 / 256, 0.5  # of a patch's pixels
MIN_PATCHES = 3


def outlined(frames: NDArray[np.uint8], rows: int, columns: int, hud: str = "luanti") -> NDArray[np.bool_]:
    """frames: uint8 (n, H, W, 3); rows, columns: of patches a frame -> bool (n, rows * columns)."""
    n, H, W, _ = frames.shape
    red, green, blue = np.moveaxis(frames, -1, 0)
    least, most = np.minimum(np.minimum(red, green), blue), np.maximum(np.maximum(red, green), blue)
    white = (least > WHITE) & (most - least < EVEN)
    for region in HUDS[hud].values():
        white[:, *region.slices(H, W)] = False
    grass = green > np.maximum(red, blue).astype(np.int16) + GREENER

    def share(pixels: NDArray[np.bool_]) -> NDArray[np.float64]:
        return pixels.reshape(n, rows, H // rows, columns, W // columns).mean((2, 4))

    lined = share(white) >= MIN_WHITE
    on_grass = lined & (share(grass) >= MIN_GREEN)
    near = np.zeros((H, W), np.bool_)
    near[REACH[hud].slices(H, W)] = True
    near_patches = share(np.broadcast_to(near, white.shape)) > 0
    plain = ~(lined & ~on_grass & near_patches).any((1, 2)) & ((on_grass & near_patches).sum((1, 2)) >= MIN_PATCHES)
    return (on_grass & plain[:, None, None]).reshape(n, rows * columns)
