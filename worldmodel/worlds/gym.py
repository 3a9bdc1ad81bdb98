"""A gymnasium.Env around any world: MineRL's observation and action names. Passes check_env.

    env = WorldEnv(NeuralWorld(find_checkpoint("nano")))
    observation, info = env.reset(seed=1)
    observation, reward, terminated, truncated, info = env.step({**env.idle(), "camera": [0, 5], "forward": 1})

camera = [pitch, yaw] in degrees, positive pitch looks down, positive yaw looks right. There is no reward in a
world model: it is always 0, and an episode never ends by itself.

What is given out is the caller's own: writing into it changes nothing here. Until the first reset, an env can be
pickled and copied; AsyncVectorEnv makes each of its envs in a process of its own.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from worldmodel.types import BUTTONS, Action, Frame, Step, World, WorldModelError

CAMERA_LIMIT = 180.0  # degrees a step, as in MineRL
RENDER_MODE = "rgb_array"
LOOK = 6.0  # degrees a step, of a key
PLAY_KEYS: tuple[dict[str, dict[str, Any]], ...] = (
    {"w": {"forward": 1}, "s": {"back": 1}},
    {"a": {"left": 1}, "d": {"right": 1}},
    {" ": {"jump": 1}, "c": {"sneak": 1}, "r": {"forward": 1, "sprint": 1}},
    {"f": {"attack": 1}, "g": {"use": 1}},
    {
        "j": {"camera": np.array([0.0, -LOOK], np.float32)},
        "l": {"camera": np.array([0.0, LOOK], np.float32)},
        "i": {"camera": np.array([-LOOK, 0.0], np.float32)},
        "k": {"camera": np.array([LOOK, 0.0], np.float32)},
    },
)
_KEYS = frozenset((*BUTTONS, "camera"))


class WorldEnv(gymnasium.Env[dict[str, Any], dict[str, Any]]):
    """observation: {"pov": uint8 (H, W, 3)}; action: {"camera": float32 (2,), button: 0 or 1, ...}.

    render_mode: "rgb_array" or None. WorldModelError for another, and for all that the methods cannot take.
    """

    metadata = {"render_modes": [RENDER_MODE]}  # noqa: RUF012 - gymnasium's own form

    def __init__(self, world: World, render_mode: str | None = None) -> None:
        if render_mode not in (None, RENDER_MODE):
            raise WorldModelError(f'render_mode is "{RENDER_MODE}" or None, got {render_mode!r}')
        self.world = world
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": world.tick_rate}
        height, width = world.frame_shape
        self.observation_space = spaces.Dict({"pov": spaces.Box(0, 255, (height, width, 3), np.uint8)})
        camera = spaces.Box(-CAMERA_LIMIT, CAMERA_LIMIT, (2,), np.float32)
        self.action_space = spaces.Dict({"camera": camera, **{name: spaces.Discrete(2) for name in BUTTONS}})
        self._frame: Frame | None = None

    def get_keys_to_action(self) -> dict[tuple[str, ...], dict[str, Any]]:
        """Keys, by their characters, and the actions that they are: for gymnasium.utils.play. One key, or two of
        different rows of PLAY_KEYS; the mouse is played with the keys of "look"."""
        groups = [[(key, part) for key, part in group.items()] for group in PLAY_KEYS]
        chosen: list[tuple[tuple[str, Mapping[str, Any]], ...]] = [(), *((pair,) for group in groups for pair in group)]
        for index, group in enumerate(groups):
            chosen += [(one, two) for one in group for later in groups[index + 1 :] for two in later]
        return {
            tuple(sorted(key for key, _ in pairs)): self.idle()
            | {name: v for _, part in pairs for name, v in part.items()}
            for pairs in chosen
        }

    @staticmethod
    def idle() -> dict[str, Any]:
        """The action that does nothing."""
        return {"camera": np.zeros(2, np.float32), **dict.fromkeys(BUTTONS, 0)}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """options: {"start": number of the start scene, from 0}; without it the seed chooses one."""
        start = self.start_of(options or {})
        super().reset(seed=seed)
        if start is None:
            # Without start scenes, the world says what to do.
            start = int(self.np_random.integers(self.world.starts)) if self.world.starts else 0
        step = self.world.reset(start, int(self.np_random.integers(2**31)))
        self._frame = step.frame
        return {"pov": step.frame.copy()}, {"start": start}

    def step(self, action: dict[str, Any]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self._check_reset("step")
        observation, info = self.show(self.world.step(action_of(action)))
        return observation, 0.0, False, False, info

    def show(self, step: Step) -> tuple[dict[str, Any], dict[str, Any]]:
        """The observation and the info of a step that the world has made."""
        self._frame = step.frame
        return {"pov": step.frame.copy()}, {} if step.tokens is None else {"tokens": step.tokens.copy()}

    def render(self) -> np.ndarray:  # type: ignore[override]
        return self._check_reset("render").copy()

    def close(self) -> None:
        self.world.close()

    def start_of(self, options: Mapping[str, Any]) -> int | None:
        """The start scene that a reset's options name, if they name one. WorldModelError for what is none."""
        unknown = sorted(str(name) for name in options.keys() - {"start"})
        if unknown:
            raise WorldModelError(f'unknown options {", ".join(unknown)}: there is "start" alone')
        start = options.get("start")
        if start is None:
            return None
        number = whole(start)
        if number is None or not 0 <= number < max(1, self.world.starts):
            raise WorldModelError(f"start must be a whole number in 0..{max(1, self.world.starts) - 1}, got {start!r}")
        return number

    def _check_reset(self, what: str) -> Frame:
        if self._frame is None:
            raise WorldModelError(f"call reset() before {what}()")
        return self._frame


def action_of(action: Mapping[str, Any]) -> Action:
    """An action of the env's -> the world's. WorldModelError for one that is not in its action space; the camera may be
    any two numbers within the limit, buttons left out or added are refused."""
    if not isinstance(action, Mapping) or action.keys() != _KEYS:
        odd = sorted(map(str, action.keys() ^ _KEYS)) if isinstance(action, Mapping) else [type(action).__name__]
        raise WorldModelError(
            f"an action has the keys of env.idle(), and no others: write {{**env.idle(), ...}} (see {', '.join(odd)})"
        )
    try:
        pitch, yaw = (float(angle) for angle in action["camera"])
    except (TypeError, ValueError):
        pitch = yaw = math.nan
    if not (abs(pitch) <= CAMERA_LIMIT and abs(yaw) <= CAMERA_LIMIT):
        raise WorldModelError(
            f"camera must be [pitch, yaw] in degrees, each within {CAMERA_LIMIT:g}, got {action['camera']!r}"
        )
    held = {name: whole(action[name]) for name in BUTTONS}
    for name, down in held.items():
        if down not in (0, 1):
            raise WorldModelError(f"{name} must be 0 or 1, got {action[name]!r}")
    return Action(frozenset(name for name, down in held.items() if down), pitch, yaw)


def whole(value: Any) -> int | None:
    """A whole number of any kind, NumPy's scalars included -> int; None for anything else."""
    try:
        return operator.index(value)
    except TypeError:
        return int(value) if isinstance(value, np.bool_) else None
