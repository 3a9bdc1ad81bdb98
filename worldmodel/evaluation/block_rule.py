"""Is the block there? Whether a picture shows a change that the real game made: a placed block, a hole.

The rule knows the real frames without and with the change, and where in the picture it lies. A picture may be turned
by a few degrees against them, as a model's view is after looking away and back: the best shift counts.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from worldmodel.types import Frame

BLUR = 1.5  # pixels at a width of 192: colours and edges count, not grains
REACH = (6, 14)  # rows and columns that a picture may be shifted by, at 112 x 192
THERE = 0.6  # of change_shown: in real frames with the change 0.87 to 1, without it up to 0.5
MIN_CHANGE = 8.0  # root mean square difference with and without, 0..255: less cannot be told
MIN_PIXELS = 60


def _smooth(frame: Frame) -> NDArray[np.float64]:
    return gaussian_filter(frame.astype(np.float64), (BLUR * frame.shape[1] / 192,) * 2 + (0,))


def change_size(without: Frame, shown: Frame, mask: NDArray[np.bool_]) -> float:
    """Root mean square difference of the two within the mask, 0..255; 0 for a mask of too few pixels."""
    if mask.sum() < MIN_PIXELS:
        return 0.0
    return float(np.sqrt(((_smooth(without) - _smooth(shown))[mask] ** 2).mean()))


def change_shown(frame: Frame, without: Frame, shown: Frame, mask: NDArray[np.bool_]) -> float:
    """Share of the change that `frame` shows: 1 is the picture with it, 0 or less the picture without.

    1 - |frame - shown|^2 / |without - shown|^2 over the mask, at the shift of `frame` where it is largest.
    frame, without, shown: uint8 (H, W, 3); mask: bool (H, W), where the change is (see change_size).
    """
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    picture, target = _smooth(frame), _smooth(shown)[mask]
    change = ((_smooth(without)[mask] - target) ** 2).sum()
    assert change > 0, "the change was found large enough"

    def share(dy: int, dx: int) -> float:
        y, x = rows + dy, columns + dx
        if y.min() < 0 or y.max() >= height or x.min() < 0 or x.max() >= width:
            return -np.inf
        return float(1 - ((picture[y, x] - target) ** 2).sum() / change)

    down, right = round(REACH[0] * height / 112), round(REACH[1] * width / 192)
    # Every second shift, then those around the best: the pictures are smooth.
    dy, dx = max(product(range(-down, down + 1, 2), range(-right, right + 1, 2)), key=lambda shift: share(*shift))
    return max(share(y, x) for y, x in product(range(dy - 1, dy + 2), range(dx - 1, dx + 2)))
