"""Is the block there? Whether a picture shows a change that the real game made: a placed block, a hole.

The rules know the real frames without and with the change, and where in the picture it lies. A picture may be turned
by a few degrees against them, as a model's view is after looking away and back: the best shift counts. Two questions:

`stands`: is something there that looks like the change, and ends where it ends? A player would ask this. Colours alone
are compared, place by place, so that a block of a somewhat other shape is one.
`change_shown`: is it drawn as the real game drew it? The pixels themselves are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter
from scipy.spatial import KDTree

from worldmodel.types import Frame

BLUR = 1.5  # pixels at a width of 192: colours and edges count, not grains
REACH = (6, 14)  # rows and columns that a picture may be shifted by, at 112 x 192
THERE = 0.6  # of change_shown: in real frames with the change 0.87 to 1, without it up to 0.5
MIN_CHANGE = 8.0  # root mean square difference with and without, 0..255: less cannot be told
MIN_PIXELS = 60
# Of `stands`. In 50 trials of placing, real frames and their reconstructions by nano's tokenizer: whole blocks with the
# change 0.94 to 1, without it up to 0.10; torches 0.61 to 1, and up to 0.57. Of 20 holes 0.61 to 1 and up to 0.27 in
# real frames; in reconstructions all but one 0.58 to 1, the other 0.38, and all but two up to 0.13, the others to 0.52.
STANDS = 0.5
CHANGED = 0.5  # of the change's 0.9 quantile: pixels within the mask that change less are no part of it (a torch's air)
NEIGHBOURS = 3  # a colour is told by the third nearest of either kind: one odd pixel does not tell
GROUND, RING = 10, (4, 12)  # pixels at a width of 192 around the change: of the ground that it stands on; of its border


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
    rows, columns = np.nonzero(mask)
    picture, target = _smooth(frame), _smooth(shown)[mask]
    change = ((_smooth(without)[mask] - target) ** 2).sum()
    assert change > 0, "the change was found large enough"

    def share(dy: int, dx: int) -> float:
        return float(1 - ((picture[rows + dy, columns + dx] - target) ** 2).sum() / change)

    return _at_best_shift(share, mask)


def stands(frame: Frame, without: Frame, shown: Frame, mask: NDArray[np.bool_], world: NDArray[np.bool_]) -> float:
    """How much of the change stands there, by colour: 1 is all of it, 0 or less nothing; STANDS is enough.

    A pixel counts if its colour is nearer to those of the change (`shown` where it differs from `without`) than to
    those of the ground that the change stands on (`without` there and around). The share of such pixels where the
    change should be, less their share in a ring around it beyond what `shown` has there: a picture that is all of one
    colour shows no block. At the shift of `frame` where that is largest.
    frame, without, shown: uint8 (H, W, 3); mask: bool (H, W), where the change is; world: bool (H, W), no HUD, no hand.
    """
    height, width = mask.shape
    scale = width / 192
    before, after = _smooth(without), _smooth(shown)
    size = np.sqrt(((after - before) ** 2).sum(2))
    own = mask & (size > CHANGED * np.quantile(size[mask], 0.9))
    grown = {n: world & np.asarray(binary_dilation(own, iterations=round(n * scale)), bool) for n in (GROUND, *RING)}
    ground, change = KDTree(before[grown[GROUND]]), KDTree(after[own])

    def alike(picture: NDArray[np.float64]) -> NDArray[np.bool_]:
        colours = picture[world]

        def distance(tree: KDTree) -> NDArray[np.float64]:
            nearest = tree.query(colours, min(NEIGHBOURS, tree.n))[0]
            return np.asarray(nearest).reshape(len(colours), -1)[:, -1]

        found = np.zeros_like(mask)
        found[world] = distance(change) < distance(ground)
        return found

    there, expected = alike(_smooth(frame)), alike(after)
    inside, ring = np.nonzero(own), np.nonzero(grown[RING[1]] & ~grown[RING[0]])
    most = max(1, int(expected[inside].sum()))
    border = expected[ring].mean() if len(ring[0]) else 0.0

    def share(dy: int, dx: int) -> float:
        around = there[(ring[0] + dy).clip(0, height - 1), (ring[1] + dx).clip(0, width - 1)]
        beyond = around.mean() - border if len(around) else 0.0
        return float(min(1.0, there[inside[0] + dy, inside[1] + dx].sum() / most) - max(0.0, beyond))

    return _at_best_shift(share, own)


def _at_best_shift(share: Callable[[int, int], float], mask: NDArray[np.bool_]) -> float:
    """The largest share of those at shifts (rows, columns) within REACH that leave all of the mask in the picture."""
    height, width = mask.shape
    rows, columns = np.nonzero(mask)

    def share_inside(dy: int, dx: int) -> float:
        fits = (
            0 <= rows.min() + dy <= rows.max() + dy < height and 0 <= columns.min() + dx <= columns.max() + dx < width
        )
        return share(dy, dx) if fits else -np.inf

    down, right = round(REACH[0] * height / 112), round(REACH[1] * width / 192)
    # Every second shift, then those around the best: the pictures are smooth.
    dy, dx = max(
        product(range(-down, down + 1, 2), range(-right, right + 1, 2)), key=lambda shift: share_inside(*shift)
    )
    return max(share_inside(y, x) for y, x in product(range(dy - 1, dy + 2), range(dx - 1, dx + 2)))
