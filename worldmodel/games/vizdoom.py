"""ViZDoom as a World: the second real game, in one file. `pip install vizdoom` brings the engine and free maps.

A step is 100 ms: three and four of the game's 35 tics a second in turns. Turning and looking are spread over them, in
degrees; positive pitch looks down, as everywhere. The window stays hidden: our own shows the pictures, so that its
pygame and ours never meet (ViZDoom's examples want `pygame`, which must not be installed beside `pygame-ce`).

Source: ViZDoom's documentation (vizdoom.farama.org); arXiv 1605.02097.
"""

from __future__ import annotations

import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.games.pictures import fit
from worldmodel.types import HOTBAR, NOTHING_TO_TELL, Action, Frame, Status, Step, WorldModelError

TICS_PER_SECOND = 35
TICK_RATE = 10.0
TICS = (3, 4)  # of two steps one after the other
STARTS = 8
BUTTONS = {
    "forward": "MOVE_FORWARD",
    "back": "MOVE_BACKWARD",
    "left": "MOVE_LEFT",
    "right": "MOVE_RIGHT",
    "jump": "JUMP",
    "sneak": "CROUCH",
    "sprint": "SPEED",
    "attack": "ATTACK",
    "use": "USE",
    **{f"hotbar.{slot}": f"SELECT_WEAPON{slot}" for slot in range(1, 10)},
}
LOOK, TURN = "LOOK_UP_DOWN_DELTA", "TURN_LEFT_RIGHT_DELTA"
MAX_SEED = 2**31


class VizdoomWorld:
    """A World (worldmodel.types). scenario: a .cfg of ViZDoom's own ("deathmatch", "my_way_home", ...) or a file of
    yours. The game starts at the first reset. WorldModelError where ViZDoom is not installed, or without the scenario.
    """

    def __init__(self, scenario: str = "deathmatch", frame_shape: tuple[int, int] = (224, 384)) -> None:
        try:
            vizdoom: Any = import_module("vizdoom")
        except ImportError:
            raise WorldModelError("ViZDoom is not installed: pip install vizdoom") from None
        own = Path(vizdoom.scenarios_path)
        path = Path(scenario) if scenario.endswith(".cfg") else own / f"{scenario}.cfg"
        if not path.is_file():
            known = ", ".join(sorted(file.stem for file in own.glob("*.cfg")))
            raise WorldModelError(f"no scenario {scenario!r}: give a .cfg file, or one of {known}")
        self._library: Any = vizdoom
        self._path, self._game, self._steps = path, None, 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.name = f"vizdoom:{path.stem}"
        self.frame_shape, self.tick_rate, self.starts = frame_shape, TICK_RATE, STARTS
        self._frame: Frame = np.zeros((*frame_shape, 3), np.uint8)

    def reset(self, start: int = 0, seed: int = 0) -> Step:
        """A new episode: the same (start, seed) begins alike."""
        began = time.perf_counter()
        game = self._game = self._game or self._started()
        game.set_seed((seed * STARTS + start) % MAX_SEED)
        game.new_episode()
        self._steps = 0
        return self._step(began)

    def step(self, action: Action) -> Step:
        """Plays three or four tics. After the end of an episode (death, or its time) the last picture stays."""
        game = self._game
        if game is None:
            raise WorldModelError("the game has not been started: call reset() before step()")
        began = time.perf_counter()
        tics = TICS[self._steps % 2]
        self._steps += 1
        if not game.is_episode_finished():
            held = [float(name in action.buttons) for name in BUTTONS]
            # Doom aims up with positive numbers, and turns at once: each tic has its share.
            turned = [*held, -action.pitch / tics, action.yaw / tics]
            for number in range(tics):
                fresh = turned if number == 0 else [*self._held(action), *turned[-2:]]
                game.make_action(fresh, 1)
        return self._step(began)

    def close(self) -> None:
        """Ends the game; a second call does nothing."""
        if self._game is not None:
            self._game.close()
            self._game = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    @staticmethod
    def _held(action: Action) -> list[float]:
        """The buttons of a step's later tics: a weapon is chosen once."""
        return [float(name in action.buttons and name not in HOTBAR) for name in BUTTONS]

    def _started(self) -> Any:
        vizdoom = self._library
        game = vizdoom.DoomGame()
        self._folder = tempfile.TemporaryDirectory(prefix="worldmodel-vizdoom-")
        try:
            game.load_config(str(self._path))
            # The engine writes its settings down, by itself into the folder that the player happens to be in.
            game.set_doom_config_path(str(Path(self._folder.name, "vizdoom.ini")))
            game.set_available_buttons([getattr(vizdoom.Button, name) for name in (*BUTTONS.values(), LOOK, TURN)])
            game.set_screen_resolution(vizdoom.ScreenResolution.RES_640X360)
            game.set_screen_format(vizdoom.ScreenFormat.RGB24)
            game.set_mode(vizdoom.Mode.PLAYER)
            game.set_window_visible(False)
            game.set_render_hud(True)
            game.set_ticrate(TICS_PER_SECOND)
            game.add_game_args("+freelook 1")
            game.init()
        except (vizdoom.ViZDoomErrorException, vizdoom.FileDoesNotExistException, RuntimeError) as error:
            raise WorldModelError(f"ViZDoom does not start with {self._path}: {error}") from None
        return game

    def _step(self, began: float) -> Step:
        assert self._game is not None, "started"
        state = self._game.get_state()
        if state is not None:
            self._frame = fit(state.screen_buffer, *self.frame_shape)
        over = self._game.is_episode_finished()
        status = Status(notes=(("episode", "over: start again"),)) if over else NOTHING_TO_TELL
        return Step(self._frame.copy(), timings={"game": time.perf_counter() - began}, status=status)
