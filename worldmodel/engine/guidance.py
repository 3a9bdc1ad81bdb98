"""What a frame's action does to how it is drawn: a step with an action is guided away from the same step without one,
so that the model follows keys and mouse more than it does by itself. Play is full of idle steps, so that no condition
need be dropped in training (classifier-free guidance, Ho & Salimans 2022, arXiv 2207.12598, has to)."""

from __future__ import annotations

import numpy as np

from kernels.sampling import Sampler
from worldmodel.config import WorldModelConfig
from worldmodel.types import NO_ACTION, Tokens


class Guidance:
    """Of a model's steps. Actions are int (11,) tokens."""

    def __init__(self, config: WorldModelConfig) -> None:
        self._idle = config.action_tokenizer().encode(NO_ACTION)

    def away_from(self, action: Tokens, sampler: Sampler) -> Tokens | None:
        """The action that the frame after `action` is guided away from, by sampler.guidance. None for a frame that is
        not guided, which takes two thirds of the time."""
        return self._idle if sampler.guidance > 0 and not np.array_equal(action, self._idle) else None
