"""MineRL 1.0 (Minecraft 1.16.5) as a World: 20 steps a second, 360 x 640, MineRL's own names and units.

Its environments are gym's of old: `seed` before every reset, which forgets it, `reset` returns the observation alone,
`step` four values. While a screen is open, the camera moves the cursor. Escape would end an episode of BASALT's: it is
not sent. A failure of the game arrives as `info["error"]`. The library is imported when it is asked for; it cannot be
had from PyPI. The older one that lies there (0.4.4, Minecraft 1.11.2) knows no hotbar and no inventory; its fake
environment has been played through this adapter, without a game (tests/minerl_from_pypi.py).
"""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

import numpy as np

from worldmodel.games.pictures import fit
from worldmodel.types import BUTTONS, NOTHING_TO_TELL, Action, Frame, Status, Step, WorldModelError

TICK_RATE = 20.0
STARTS = 8
MAX_SEED = 2**31
CAMERA_LIMIT = 180.0  # degrees a step
NOT_SENT = frozenset({"ESC"})
INSTALL = (
    "MineRL is not installed: pip install git+https://github.com/minerllabs/minerl, which needs Java 8 (on Debian and "
    "Ubuntu: apt-get install openjdk-8-jdk), and on a server play it under xvfb-run"
)


def make_env(env_id: str) -> Any:
    """An environment of MineRL's. WorldModelError where it is not installed, or has no such id."""
    try:
        gym: Any = import_module("gym")
        import_module("minerl")
    except ImportError:
        raise WorldModelError(INSTALL) from None
    try:
        return gym.make(env_id)
    except Exception as error:  # the errors of a library that is not known here
        raise WorldModelError(f"MineRL cannot make {env_id!r}: {_said(error)}") from None


class MineRLWorld:
    """A World around an environment with MineRL's spaces: {"pov": uint8 (H, W, 3), ...} and Dict actions."""

    def __init__(self, env: Any, name: str, frame_shape: tuple[int, int] = (360, 640)) -> None:
        self.env = env
        self.name = f"minerl:{name}"
        self.frame_shape, self.tick_rate, self.starts = frame_shape, TICK_RATE, STARTS
        self._known = frozenset(env.action_space.spaces)
        self._frame: Frame | None = None
        self._over = False

    def reset(self, start: int = 0, seed: int = 0) -> Step:
        """A new episode: the same (start, seed) is the same world. WorldModelError if the game fails."""
        began = time.perf_counter()
        try:
            self.env.seed((seed * STARTS + start) % MAX_SEED)  # each time: a reset forgets it
            observation = self.env.reset()
        except Exception as error:
            raise WorldModelError(f"the game failed to start: {_said(error)}") from None
        self._over = False
        return self._step(observation, began)

    def step(self, action: Action) -> Step:
        """One tick. After the end of an episode the last picture stays. WorldModelError if the game fails."""
        if self._frame is None:
            raise WorldModelError("the game has not been started: call reset() before step()")
        began = time.perf_counter()
        if self._over:
            return self._step(None, began)
        try:
            observation, _, done, info = self.env.step(self.told(action))
        except Exception as error:
            raise WorldModelError(f"the game failed: {_said(error)}") from None
        if isinstance(info, dict) and info.get("error"):
            raise WorldModelError(f"the game failed: {_said(info['error'])}")
        self._over = bool(done)
        return self._step(observation, began)

    def told(self, action: Action) -> dict[str, Any]:
        """An action as the environment takes it: every key of its space, the buttons that it does not know left out."""
        space = self.env.action_space
        told = dict(space.noop()) if hasattr(space, "noop") else dict.fromkeys(self._known - {"camera"}, 0)
        told |= {name: int(name in action.buttons and name not in NOT_SENT) for name in BUTTONS if name in self._known}
        turn = np.clip([action.pitch, action.yaw], -CAMERA_LIMIT, CAMERA_LIMIT)
        return {**told, "camera": turn.astype(np.float32)}

    def close(self) -> None:
        self.env.close()

    def _step(self, observation: Any, began: float) -> Step:
        if observation is not None:
            self._frame = fit(np.asarray(observation["pov"], np.uint8), *self.frame_shape)
        assert self._frame is not None, "there is a first observation"
        status = Status(notes=(("episode", "over: start again"),)) if self._over else NOTHING_TO_TELL
        return Step(self._frame.copy(), timings={"game": time.perf_counter() - began}, status=status)


def _said(error: object) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
