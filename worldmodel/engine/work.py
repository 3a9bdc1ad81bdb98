"""How a frame is drawn, by its action. Digging and placing: a block that comes or goes is rare, and decided in one
frame. Walking and looking: a model is given to standing still, and more so in a walk than in a turn, which every pixel
of a clip has taught it: what is right for a walk turns too far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kernels.sampling import Sampler
from worldmodel.config import WorldModelConfig
from worldmodel.tokenizers.action import CAMERA_CENTRE, camera_bins
from worldmodel.types import NO_ACTION, Action, Tokens

WORK = ("attack", "use")
WALK = ("forward", "back", "left", "right", "jump")
# So many steps after the work, the hand that swings before it has come to rest. No more than a context of nano's window
# knows (5 actions), so that play which goes on from one goes on alike.
WORK_STEPS = 5


class Work:
    """What the mouse's buttons have been doing, and what the keys do. Actions are int (11,) tokens."""

    def __init__(self, config: WorldModelConfig) -> None:
        encode = config.action_tokenizer().encode
        self._none = encode(NO_ACTION)

        def tokens_of(*names: str) -> Tokens:
            return np.setdiff1d([encode(Action(frozenset({name}))) for name in names], self._none)

        self._work, self._walk = tokens_of(*WORK), tokens_of(*WALK)
        self._forward, self._sprint, self._sneak = (tokens_of(name) for name in ("forward", "sprint", "sneak"))
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
        other = np.where(np.isin(action, self._work), self._none, action) if working else self._none
        guidance = sampler.guidance if working else self._move_guidance(action, sampler)
        temperature = sampler.work_temperature if self._rested <= WORK_STEPS else None
        drawn = replace(
            sampler, guidance=guidance, temperature=sampler.temperature if temperature is None else temperature
        )
        return drawn, other if guidance > 0 and not np.array_equal(action, other) else None

    def _move_guidance(self, action: Tokens, sampler: Sampler) -> float:
        """That of an action without work. A sneak is slow: guided as a walk is, it would be as fast as one."""

        def has(tokens: Tokens) -> bool:
            return bool(np.isin(action, tokens).any())

        rests = not np.any(camera_bins(action) - CAMERA_CENTRE)
        chosen = None
        if has(self._sprint) and has(self._forward):
            chosen = sampler.sprint_guidance
        elif has(self._walk) and rests and not has(self._sneak):
            chosen = sampler.walk_guidance
        return sampler.move_guidance if chosen is None else chosen

    def _step(self, action: Tokens) -> None:
        self._rested = 0 if np.isin(action, self._work).any() else self._rested + 1
