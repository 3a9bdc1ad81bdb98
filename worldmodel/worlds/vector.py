"""Many environments of one neural world, stepped together: one call of the engine makes the next frame of all of them.

    envs = NeuralVectorEnv(NeuralWorld(find_checkpoint("nano")), num_envs=16)
    observations, infos = envs.reset(seed=1, options={"start": 0})   # or a start for each: [0, 3, ...]
    observations, rewards, terminations, truncations, infos = envs.step(envs.idle() | {"forward": np.ones(16, int)})

Environment i behaves as a WorldEnv of its own does (worlds/gym.py), with the same frames for the same seed; a seed that
is one number counts on from environment to environment. The native engine makes all frames in one pass, so that a
weight is read once for all; other engines make them in turns. Episodes end by `max_episode_steps` alone; what follows
is Gymnasium's autoreset mode.

Until the first reset, it can be pickled and copied.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from worldmodel.engine.lanes import LaneDecoder
from worldmodel.types import Action, Step, WorldModelError
from worldmodel.worlds.gym import WorldEnv, action_of, whole
from worldmodel.worlds.neural import NeuralWorld

Lanes = NDArray[np.bool_]
"""bool, shape (num_envs,)."""
MASK = "reset_mask"  # Gymnasium's option: which environments are reset


def step_together(worlds: Sequence[NeuralWorld], actions: Sequence[Action]) -> list[Step]:
    """A step of some lanes of one model (NeuralWorld.lanes), in one call of its engine."""
    if not worlds:
        return []
    decoders = [decoder for world in worlds if isinstance(decoder := world.decoder, LaneDecoder)]
    assert len(decoders) == len(worlds), "worlds of NeuralWorld.lanes"
    lanes = [decoder.lane for decoder in decoders]
    asked = [world.asked(action) for world, action in zip(worlds, actions, strict=True)]
    began = time.perf_counter()
    made = decoders[0].lanes.decode(dict(zip(lanes, asked, strict=True)))
    seconds = time.perf_counter() - began
    return [world.made(one, made[lane][0], seconds) for world, one, lane in zip(worlds, asked, lanes, strict=True)]


class NeuralVectorEnv(VectorEnv[dict[str, Any], dict[str, Any], NDArray[Any]]):
    """observations: {"pov": uint8 (num_envs, H, W, 3)}; actions: {"camera": float (num_envs, 2), button: 0 or 1
    (num_envs,), ...}. What is given out is the caller's own.

    max_episode_steps: after which an episode is truncated; None: never. WorldModelError for what cannot be taken.
    """

    def __init__(
        self,
        world: NeuralWorld,
        num_envs: int = 1,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        limit = 1 if max_episode_steps is None else max_episode_steps
        for name, count in (("num_envs", num_envs), ("max_episode_steps", limit)):
            if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
                raise WorldModelError(f"{name} must be a whole number above 0, got {count!r}")
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError:
            known = ", ".join(repr(mode.value) for mode in AutoresetMode)
            raise WorldModelError(f"autoreset_mode is one of {known}, got {autoreset_mode!r}") from None
        self._one = one = WorldEnv(world, render_mode)
        self.world, self.num_envs, self.render_mode = world, int(num_envs), render_mode
        self.max_episode_steps = max_episode_steps
        self.metadata = {**one.metadata, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space, self.single_action_space = one.observation_space, one.action_space
        self.observation_space = batch_space(one.observation_space, self.num_envs)
        self.action_space = batch_space(one.action_space, self.num_envs)
        self._worlds: list[NeuralWorld] = []  # made by the first reset: before, there is no engine
        self._envs: list[WorldEnv] = []  # around them
        self._steps = np.zeros(self.num_envs, np.int64)  # of each episode
        self._over = np.zeros(self.num_envs, np.bool_)

    def idle(self) -> dict[str, Any]:
        """The actions that do nothing."""
        return {name: np.stack([value] * self.num_envs) for name, value in WorldEnv.idle().items()}

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """seed: of the first environment, and the next numbers for the others, or one for each. options: {"start": a
        start scene's number, or one for each; "reset_mask": bool (num_envs,), which are reset}."""
        if self.closed:
            raise WorldModelError("these environments are closed: make new ones")
        options = dict(options or {})
        which = self._which(options.pop(MASK, None))
        seeds = self._seeds(seed)
        given = [options | {"start": start} for start in self._each("start", options.pop("start", None))]
        for own in given:
            self._one.start_of(own)  # before any of them is reset
        if not self._envs:
            self._worlds = self.world.lanes(self.num_envs)
            self._envs = [WorldEnv(world, self.render_mode) for world in self._worlds]
        infos: dict[str, Any] = {}
        for lane in map(int, np.flatnonzero(which)):
            infos = self._add_info(infos, self._envs[lane].reset(seed=seeds[lane], options=given[lane])[1], lane)
        self._steps[which], self._over[which] = 0, False
        return self._observation(), infos

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """In the mode NEXT_STEP, an environment whose episode is over is reset instead, and its action ignored."""
        envs, told = self._ready("step"), self._actions(actions)
        if self.autoreset_mode == AutoresetMode.DISABLED and self._over.any():
            lanes = ", ".join(map(str, np.flatnonzero(self._over)))
            raise WorldModelError(
                f'the episodes of {lanes} are over: call reset(options={{"{MASK}": terminations | truncations}})'
            )
        fresh, infos = self._over.copy(), {}
        moving = [int(lane) for lane in np.flatnonzero(~fresh)]
        steps = step_together([self._worlds[lane] for lane in moving], [told[lane] for lane in moving])
        made = dict(zip(moving, steps, strict=True))
        self._steps = np.where(fresh, 0, self._steps + 1)
        truncations = ~fresh & (self._steps >= (self.max_episode_steps or np.inf))
        at_once = truncations & (self.autoreset_mode == AutoresetMode.SAME_STEP)
        for lane, env in enumerate(envs):
            observation, info = env.show(made[lane]) if lane in made else env.reset()
            if at_once[lane]:
                infos = self._add_info(infos, {"final_obs": observation, "final_info": info}, lane)
                _, info = env.reset()
            infos = self._add_info(infos, info, lane)
        self._steps[at_once], self._over = 0, truncations & ~at_once
        ended = np.zeros(self.num_envs, np.bool_)
        return self._observation(), np.zeros(self.num_envs), ended, truncations, infos

    def render(self) -> tuple[Any, ...]:
        return tuple(env.render() for env in self._ready("render"))

    def close_extras(self, **_: Any) -> None:
        for env in self._envs:
            env.close()
        self._worlds, self._envs = [], []

    def _ready(self, what: str) -> list[WorldEnv]:
        if not self._envs:
            raise WorldModelError(
                f"call reset() before {what}()" if not self.closed else "these environments are closed"
            )
        return self._envs

    def _observation(self) -> dict[str, Any]:
        return {"pov": np.stack([env.render() for env in self._envs])}

    def _actions(self, actions: Mapping[str, Any]) -> list[Action]:
        """One for each. WorldModelError for what is not in the action space, before anything moves."""
        if not isinstance(actions, Mapping):
            raise WorldModelError(
                f"actions are one dictionary of arrays, as envs.idle() is, got {type(actions).__name__}"
            )
        rows = {name: self._rows(name, values) for name, values in actions.items()}
        return [action_of({name: values[lane] for name, values in rows.items()}) for lane in range(self.num_envs)]

    def _seeds(self, given: Any) -> list[int | None]:
        """One for each; a single number counts on."""
        seeds = self._each("seed", given)
        numbers = [whole(seed) for seed in seeds]
        for seed, number in zip(seeds, numbers, strict=True):
            if seed is not None and (number is None or number < 0):
                raise WorldModelError(f"a seed is a whole number from 0, or None, got {seed!r}")
        if seeds is given:
            return numbers
        return [None if number is None else number + lane for lane, number in enumerate(numbers)]

    def _each(self, name: str, given: Any) -> Any:
        """One value for all of them, or one for each -> one for each."""
        several = isinstance(given, list | tuple) or (isinstance(given, np.ndarray) and given.ndim)
        return self._rows(name, given) if several else [given] * self.num_envs

    def _rows(self, name: str, values: Any) -> Any:
        try:
            count = len(values)
        except TypeError:
            count = None
        if count != self.num_envs:
            got = "one value" if count is None else f"{count}"
            raise WorldModelError(f"{name} needs a value for each of the {self.num_envs} environments, got {got}")
        return values

    def _which(self, mask: Any) -> Lanes:
        if mask is None:
            return np.ones(self.num_envs, np.bool_)
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise WorldModelError(
                f"{MASK} must be bool ({self.num_envs},) with at least one True, got {mask.dtype} {mask.shape}"
            )
        if not self._envs and not mask.all():
            raise WorldModelError(f"the first reset is of all environments: leave {MASK} out")
        return mask
