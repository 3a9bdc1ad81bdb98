"""Where and when a press shows: those few tokens weigh more in the loss.

A picture that stays as it was is easy to tell, and most pictures after a press are nearly that; without emphasis the
model goes on standing when it should walk off, and places nothing. The weights depend on what the model is given
(actions and places), never on the frame that it predicts, so that the distribution it learns stays the true one: it
does not come to see changes that are not there.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldmodel.data.windows import STARTING, held, pressed
from worldmodel.engine.work import WORK
from worldmodel.model.layout import BlockLayout
from worldmodel.types import BUTTONS

EFFECT_STEPS = 2  # a press shows in the next frame or in the one after (measured in Luanti)
AFTERMATH_STEPS = 8  # as long, the hand that swings before a new block or hole has come to rest, and it is looked at
NEAR_SHARE = 0.3  # of the most weight: what is near the crosshair at any time, where the outline comes and goes
REACH_ROWS, REACH_COLUMNS = 2.0, 2.5  # token places from the picture's middle, where the crosshair is
MORE_STALE = 3
_STARTING = [BUTTONS.index(name) for name in STARTING]
_WORKING = [BUTTONS.index(name) for name in WORK]  # a block may come or go at any time while they are down


def near_crosshair(layout: BlockLayout) -> NDArray[np.bool_]:
    """-> (image,): whether the place that a slot predicts lies where a block is dug or placed."""
    height, width = layout.order.height, layout.order.width
    rows, columns = layout.places // width - (height - 1) / 2, layout.places % width - (width - 1) / 2
    return (np.abs(rows) <= REACH_ROWS) & (np.abs(columns) <= REACH_COLUMNS)


def shown_after(steps: NDArray[np.bool_], most: int = EFFECT_STEPS) -> NDArray[np.bool_]:
    """Steps (B, T) in which something happens -> (B, T - 1): frames 1.. that may show it, up to `most` steps later."""
    shown = steps[:, :-1].copy()
    for later in range(1, min(most, steps.shape[1] - 1)):
        shown[:, later:] |= steps[:, : -1 - later]
    return shown


def may_show(actions: NDArray[np.integer]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Action tokens (B, T, 11), of any base -> (B, T - 1) each: which of the frames 1.. may show what a press has
    started, and which of them the work on a block."""
    started = shown_after(np.any(pressed(actions)[..., _STARTING], -1))
    return started, shown_after(np.any(held(actions)[..., _WORKING], -1))


def token_weights(actions: NDArray[np.integer], layout: BlockLayout, most: float) -> Tensor:
    """Action tokens (B, T, 11), of any base -> float32 (B, T - 1, image): `most` for the whole frame that may show
    what a press has started, and near the crosshair while a block is worked on and a while after; NEAR_SHARE of it
    near the crosshair otherwise; 1 for all else."""
    started, _ = may_show(actions)
    worked = shown_after(np.any(held(actions)[..., _WORKING], -1), AFTERMATH_STEPS)
    near = near_crosshair(layout)
    weights = np.where(near, max(1.0, NEAR_SHARE * most), 1.0)
    weights = np.where(started[..., None] | (worked[..., None] & near), most, weights)
    return torch.from_numpy(weights.astype(np.float32))


def coming_weights(weights: Tensor, until: Tensor, layout: BlockLayout, most: float) -> Tensor:
    """Of windows whose frames before `until` have lost the outline, or a hole: near the crosshair those frames teach
    nothing, and the frame in which it comes does. weights: (B, T - 1, image) of frames 1..; until: (B,), 0 for none."""
    frame = 1 + torch.arange(weights.shape[1], device=weights.device)[:, None]
    first = until[:, None, None]
    near = torch.from_numpy(near_crosshair(layout)).to(weights.device)
    weights = torch.where((first == frame) & near, most, weights)
    return torch.where((frame < first) & near, 0.0, weights)


def unlined_weights(weights: Tensor, lined: Tensor, layout: BlockLayout) -> Tensor:
    """Of recordings whose outlines cannot be seen: they teach nothing near the crosshair, where they would teach that
    what is in reach has none. weights: (B, T - 1, image); lined: bool (B,)."""
    near = torch.from_numpy(near_crosshair(layout)).to(weights.device)
    return torch.where(near & ~lined[:, None, None], 0.0, weights)


def stale_shares(actions: NDArray[np.integer], share: float) -> Tensor:
    """-> float32 (B, T): the probability that a frame begins stale (training.world.make_stale): `share`, MORE_STALE
    times that where the frame may show what a press does, and 0 for the first."""
    shares = np.full(actions.shape[:2], share, np.float32)
    shares[:, 1:] *= np.where(np.logical_or(*may_show(actions)), MORE_STALE, 1)
    shares[:, 0] = 0
    return torch.from_numpy(shares)
