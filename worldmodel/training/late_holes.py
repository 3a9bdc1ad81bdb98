"""Digging that takes longer in the model than in the game.

With the right tool the hole comes in the first or second step (of 391 presses with the shovel that were looked at, 85%
dug something, 95% of these within five 20 Hz ticks), and who holds the button for longer is at what cannot be dug:
frames without end in which nothing comes. So a model that has once missed the moment goes on without a hole, however
long the button is held. Here the moment comes late.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldmodel.data.windows import held, pressed
from worldmodel.model.layout import BlockLayout
from worldmodel.tokenizers.action import ACT_BOS, BUTTON_SLOTS, CAMERA_CENTRE, camera_bins
from worldmodel.training.emphasis import near_crosshair
from worldmodel.types import BUTTONS

# Steps from the press to the frame: one more than the game needs, and all that a context of nano's window shows.
EARLIEST, LATEST = 3, 5
_ATTACK = BUTTONS.index("attack")
_ATTACK_AT = 3 + next(at for at, slot in enumerate(BUTTON_SLOTS) if "attack" in slot)  # after <bos>, pitch, yaw
_WALK = [BUTTONS.index(name) for name in ("forward", "back", "left", "right", "jump")]


def holes_to_come(
    actions: NDArray[np.integer], share: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """In `share` of the windows in which digging begins in a picture that stands still: the step of it, and the frame
    in which the hole is to come, EARLIEST to LATEST later, as long as the picture stands. 0 and 0 for the others.

    actions: tokens (B, T, 11), of any base -> int64 (B,), (B,)."""
    begins = pressed(actions)[..., _ATTACK]
    still = ~held(actions)[..., _WALK].any(-1) & (camera_bins(actions) == CAMERA_CENTRE).all(-1)
    steps, until = np.zeros(len(actions), np.int64), np.zeros(len(actions), np.int64)
    for row in np.flatnonzero(rng.random(len(actions)) < share):
        for step in rng.permutation(np.flatnonzero(begins[row])):
            stands = int(np.cumprod(still[row, step : step + LATEST]).sum())  # steps from the press on
            latest = min(stands, actions.shape[1] - 1 - int(step))
            if latest >= EARLIEST:
                steps[row], until[row] = step, step + rng.integers(EARLIEST, latest + 1)
                break
    return steps, until


def hold_off(
    tokens: Tensor,
    actions: Tensor,
    steps: NDArray[np.int64],
    until: NDArray[np.int64],
    layout: BlockLayout,
) -> tuple[Tensor, Tensor]:
    """Windows as they would be if nothing had come of the digging until frame `until`: near the crosshair those frames
    have the tokens of the first after the press, in which the tool swings, and the button is held all the time.

    tokens: (B, T, places); actions: (B, T, 11); steps, until: (B,), of holes_to_come. -> both, changed."""
    tokens, actions = tokens.clone(), actions.clone()
    near = torch.from_numpy(np.sort(layout.places[near_crosshair(layout)])).to(tokens.device)
    for row in np.flatnonzero(until):
        step, end = int(steps[row]), int(until[row])
        tokens[row, step + 2 : end, near] = tokens[row, step + 1, near]
        actions[row, step:end, _ATTACK_AT] = actions[row, step:end, 0] - ACT_BOS + _ATTACK
    return tokens, actions
