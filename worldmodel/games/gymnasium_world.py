"""Any Gymnasium environment with keys (and a mouse) as a World: played, recorded and trained on like a game.

Its pictures are those of `render()` (render_mode "rgb_array"). What a player does becomes its action:

- a Dict space with MineRL's names (`camera` in degrees, buttons of 0 and 1): as it is;
- an environment that names its keys (`get_keys_to_action`, as Atari's do): W A S D and the arrows are our forward,
  left, back and right, space is jump; the entry that uses most of the held keys is taken;
- any other: by a function of yours, `GymnasiumWorld(env, to_action=lambda action: ...)`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from worldmodel.games.pictures import fit
from worldmodel.types import BUTTONS, NOTHING_TO_TELL, Action, Frame, Status, Step, WorldModelError

STARTS = 8
MAX_SEED = 2**31
USUAL_RATE = 20.0  # steps a second of an environment that says none
# Characters, and pygame's numbers of the arrow keys, that environments name their keys by.
KEY_NAMES = {"w": "forward", "s": "back", "a": "left", "d": "right", " ": "jump", "e": "inventory", "q": "drop"}
ARROWS = {1073741906: "forward", 1073741905: "back", 1073741904: "left", 1073741903: "right"}
KEY_NAMES |= {"up": "forward", "down": "back", "left": "left", "right": "right", "space": "jump"}


def make_env(env_id: str) -> gymnasium.Env[Any, Any]:
    """WorldModelError if Gymnasium cannot make it with pictures."""
    if not env_id:
        raise WorldModelError("give an environment's id: gym:ENV_ID")
    try:
        return gymnasium.make(env_id, render_mode="rgb_array", disable_env_checker=True)
    except Exception as error:  # the errors of any environment's own making
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WorldModelError(f"Gymnasium cannot make {env_id!r}: {said}") from None


def keys_of(env: gymnasium.Env[Any, Any]) -> dict[frozenset[str], Any]:
    """An environment's own keys: our buttons -> its action. Empty where it names none."""
    told = getattr(env.unwrapped, "get_keys_to_action", None)
    found: dict[frozenset[str], Any] = {}
    if told is None:
        return found
    for keys, action in told().items():
        names = [keys] if isinstance(keys, int) or (isinstance(keys, str) and keys.lower() in KEY_NAMES) else list(keys)
        buttons = [_button(name) for name in names]
        if None not in buttons:
            found.setdefault(frozenset(name for name in buttons if name is not None), action)
    return found


def _button(key: Any) -> str | None:
    if isinstance(key, int):
        return ARROWS.get(key) or (KEY_NAMES.get(chr(key).lower()) if 0 < key < 128 else None)
    return KEY_NAMES.get(str(key).lower())


class GymnasiumWorld:
    """A World around an environment that was made with render_mode "rgb_array".

    frame_shape: (height, width) of the frames, or None for the environment's own; to_action: our action -> its own.
    WorldModelError where nothing says how it is played.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        to_action: Callable[[Action], Any] | None = None,
        frame_shape: tuple[int, int] | None = None,
    ) -> None:
        if env.render_mode != "rgb_array":
            raise WorldModelError(
                f'an environment shows its pictures with render_mode="rgb_array", not {env.render_mode!r}'
            )
        self.env = env
        spec = env.spec
        self.name = f"gym:{spec.id if spec is not None else type(env.unwrapped).__name__}"
        self.tick_rate = float(env.metadata.get("render_fps") or USUAL_RATE)
        self.starts = STARTS
        self._to_action = to_action or self._own(env)
        self._over = False
        self._frame: Frame | None = None
        if frame_shape is None:
            env.reset(seed=0)
            frame_shape = np.asarray(env.render()).shape[:2]
        self.frame_shape: tuple[int, int] = (int(frame_shape[0]), int(frame_shape[1]))

    def _own(self, env: gymnasium.Env[Any, Any]) -> Callable[[Action], Any]:
        space = env.action_space
        if isinstance(space, spaces.Dict) and "camera" in space.spaces:
            return lambda action: named_action(action, space)
        keys = keys_of(env)
        if not keys:
            raise WorldModelError(
                f"{self.name} does not say how its actions ({type(space).__name__}) are played by keys: "
                "GymnasiumWorld(env, to_action=...) does"
            )
        if frozenset() not in keys:
            idle = 0 if isinstance(space, spaces.Discrete) else np.zeros_like(space.sample())
            keys[frozenset()] = idle
        return lambda action: keys[max((held for held in keys if held <= action.buttons), key=len)]

    def reset(self, start: int = 0, seed: int = 0) -> Step:
        """A new episode: the same (start, seed) begins alike, as far as the environment's seeding goes."""
        began = time.perf_counter()
        self.env.reset(seed=(seed * STARTS + start) % MAX_SEED)
        self._over = False
        return self._step(began)

    def step(self, action: Action) -> Step:
        """One step. After the end of an episode the last picture stays."""
        if self._frame is None:
            raise WorldModelError("the environment has not been started: call reset() before step()")
        began = time.perf_counter()
        if not self._over:
            _, _, terminated, truncated, _ = self.env.step(self._to_action(action))
            self._over = bool(terminated or truncated)
        return self._step(began)

    def close(self) -> None:
        self.env.close()

    def _step(self, began: float) -> Step:
        picture = np.asarray(self.env.render())
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise WorldModelError(f"{self.name} renders {picture.dtype} {picture.shape}, not uint8 (H, W, 3)")
        self._frame = fit(picture, *self.frame_shape)
        status = Status(notes=(("episode", "over: start again"),)) if self._over else NOTHING_TO_TELL
        return Step(self._frame.copy(), timings={"game": time.perf_counter() - began}, status=status)


def named_action(action: Action, space: Mapping[str, Any] | spaces.Dict) -> dict[str, Any]:
    """An action in a Dict space with MineRL's names; further entries are the space's zeros."""
    told: dict[str, Any] = {}
    for name, part in space.items():
        if name == "camera" and isinstance(part, spaces.Box):
            told[name] = np.clip(np.array([action.pitch, action.yaw]), part.low, part.high).astype(part.dtype)
        elif name in BUTTONS:
            told[name] = int(name in action.buttons)
        else:
            told[name] = np.zeros_like(part.sample())
    return told
