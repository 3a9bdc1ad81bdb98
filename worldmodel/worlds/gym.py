"""A gymnasium.Env around any world: MineRL's observation and action names. Passes check_env.

    env = WorldEnv(NeuralWorld(find_checkpoint("nano")))
    observation, info = env.reset(seed=1)
    observation, reward, terminated, truncated, info = env.step({**env.idle(), "camera": [0, 5], "forward": 1})

camera = [pitch, yaw] in degrees, positive pitch looks down, positive yaw looks right. There is no reward in a
world model: it is always 0, and an episode never ends by itself.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from worldmodel.types import BUTTONS, Action, World

CAMERA_LIMIT = 180.0  # degrees a step, as in MineRL


class WorldEnv(gymnasium.Env[dict[str, Any], dict[str, Any]]):
    """observation: {"pov": uint8 (H, W, 3)}; action: {"camera": float32 (2,), button: 0 or 1, ...}."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - gymnasium's own form

    def __init__(self, world: World, render_mode: str | None = None) -> None:
        self.world = world
        self.render_mode = render_mode
        height, width = world.frame_shape
        self.observation_space = spaces.Dict({"pov": spaces.Box(0, 255, (height, width, 3), np.uint8)})
        camera = spaces.Box(-CAMERA_LIMIT, CAMERA_LIMIT, (2,), np.float32)
        self.action_space = spaces.Dict({"camera": camera, **{name: spaces.Discrete(2) for name in BUTTONS}})
        self._frame = np.zeros((height, width, 3), np.uint8)

    @staticmethod
    def idle() -> dict[str, Any]:
        """The action that does nothing."""
        return {"camera": np.zeros(2, np.float32), **dict.fromkeys(BUTTONS, 0)}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """options: {"start": number of the start scene}; without it the seed chooses one."""
        super().reset(seed=seed)
        start = (options or {}).get("start")
        if start is None:
            start = int(self.np_random.integers(self.world.starts))
        step = self.world.reset(int(start), int(self.np_random.integers(2**31)))
        self._frame = step.frame
        return {"pov": step.frame}, {"start": int(start)}

    def step(self, action: dict[str, Any]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        pitch, yaw = (float(angle) for angle in action["camera"])
        held = frozenset(name for name in BUTTONS if int(action[name]))
        step = self.world.step(Action(held, pitch, yaw))
        self._frame = step.frame
        return {"pov": step.frame}, 0.0, False, False, {"tokens": step.tokens}

    def render(self) -> np.ndarray:  # type: ignore[override]
        return self._frame.copy()

    def close(self) -> None:
        self.world.close()
