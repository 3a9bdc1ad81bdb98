"""How a frame is drawn, by its action. Digging and placing: a block that comes or goes is rare, and decided in one
frame. Walking and looking: a model is given to standing still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kernels.sampling import Sampler
from worldmodel.config import WorldModelConfig
from worldmodel.types import NO_ACTION, Action, Tokens

WORK = ("attack", "use")
# So many steps after the work, the hand that swings before it has come to rest. No more than a context of nano's window
# knows (5 actions), so that play which goes on from one goes on alike.
WORK_STEPS = 5


class Work:
    """What the mouse's buttons have been doing. Actions are int (11,) tokens."""

    def __init__(self, config: WorldModelConfig) -> None:
        encode = config.action_tokenizer().encode
        self._none = encode(NO_ACTION)
        self._buttons = np.unique([token for name in WORK for token in encode(Action(frozenset({name})))])
        self._buttons = np.setdiff1d(self._buttons, self._none)
        self._rested = WORK_STEPS + 1  # steps since the last one with work

    def open(self, actions: Sequence[Tokens]) -> None:
        """Begins anew, with the actions of a context."""
        self._rested = WORK_STEPS + 1
        for action in actions:
            self._step(action)

    def draw(self, action: Tokens, sampler: Sampler) -> tuple[Sampler, Tokens | None]:
        """How the frame after this action is drawn, and the action that it is guided away from, by sampler.guidance:
        the same with idle hands, or none at all. None for a frame that is not guided, which takes two thirds of the
        time. Once for every frame."""
        self._step(action)
        working = self._rested == 0
        other = np.where(np.isin(action, self._buttons), self._none, action) if working else self._none
        guidance = sampler.guidance if working else sampler.move_guidance
        temperature = sampler.work_temperature if self._rested <= WORK_STEPS else None
        drawn = replace(
            sampler, guidance=guidance, temperature=sampler.temperature if temperature is None else temperature
        )
        return drawn, other if guidance > 0 and not np.array_equal(action, other) else None

    def _step(self, action: Tokens) -> None:
        self._rested = 0 if np.isin(action, self._buttons).any() else self._rested + 1
