"""Where in a frame a block is dug or placed, and when: those few tokens weigh more in the loss.

The weights depend on what the model is given (actions and places), never on the frame that it predicts, so that the
distribution it learns stays the true one: it does not come to see changes that are not there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from worldmodel.data.windows import WORLD_CHANGING
from worldmodel.model.layout import BlockLayout
from worldmodel.tokenizers.action import ACT_BOS
from worldmodel.types import BUTTONS

EFFECT_STEPS = 2  # a press shows in the next frame or in the one after (measured in Luanti)
REACH_ROWS, REACH_COLUMNS = 2.0, 2.5  # token places from the picture's middle, where the crosshair is


def near_crosshair(layout: BlockLayout) -> Tensor:
    """-> bool (image,): whether the place that a slot predicts lies where a block is dug or placed."""
    height, width = layout.order.height, layout.order.width
    places = torch.from_numpy(layout.places)
    rows, columns = places // width - (height - 1) / 2, places % width - (width - 1) / 2
    return (rows.abs() <= REACH_ROWS) & (columns.abs() <= REACH_COLUMNS)


def changes_world(actions: Tensor) -> Tensor:
    """Action tokens (B, T, 11), of any base -> bool (B, T - 1): frames 1.. that may show what a press has changed."""
    buttons = actions[..., 3:-1] - actions[..., :1] + ACT_BOS
    wanted = torch.tensor([BUTTONS.index(name) for name in WORLD_CHANGING], device=actions.device)
    pressed = torch.isin(buttons, wanted).any(-1)[:, :-1]
    shown = pressed.clone()
    for steps in range(1, EFFECT_STEPS):
        shown[:, steps:] |= pressed[:, :-steps]
    return shown


def token_weights(actions: Tensor, layout: BlockLayout, most: float) -> Tensor:
    """-> float32 (B, T - 1, image): `most` for the tokens described above, 1 for the others."""
    chosen = changes_world(actions)[..., None] & near_crosshair(layout).to(actions.device)
    return torch.where(chosen, most, 1.0)
