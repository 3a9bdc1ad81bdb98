"""The real game as a World: the same interface as the neural world, so that play, recordings and scores compare.

A step is 100 ms: two ticks of the game with the action's buttons held (see ActionMapper for the camera).
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace

import av
import numpy as np
from av.video.reformatter import Interpolation

from worldmodel.data.video import TICKS_PER_SECOND, TICKS_PER_STEP
from worldmodel.games.luanti.controls import ActionMapper
from worldmodel.games.luanti.game import LuantiGame
from worldmodel.games.luanti.options import GameOptions
from worldmodel.games.luanti.presets import DEFAULT_LAND, GAME
from worldmodel.types import Action, Frame, Status, Step, WorldModelError

DEFAULT_OPTIONS = GameOptions()


def derive_map_seed(*parts: int | str) -> int:
    """A 63-bit map seed that depends on all of `parts` and on nothing else: the same on every machine."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def reduce_frame(frame: Frame, height: int, width: int) -> Frame:
    """(H, W, 3) -> (height, width, 3) by area averaging, as data/clips.py reads recordings."""
    if frame.shape[:2] == (height, width):
        return frame
    picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
    reduced = picture.reformat(width, height, "rgb24", interpolation=Interpolation.AREA).to_ndarray()
    return np.ascontiguousarray(reduced, dtype=np.uint8)


class LuantiWorld:
    """A World. frame_shape: (height, width) of the frames; starts: how many lands `reset` can choose from; options:
    the game's own (its map_seed is not used). The game starts at the first `reset`, which takes some seconds."""

    def __init__(
        self, frame_shape: tuple[int, int] = (112, 192), starts: int = 8, options: GameOptions = DEFAULT_OPTIONS
    ) -> None:
        height, width = frame_shape
        if not (0 < height <= options.height and 0 < width <= options.width):
            raise ValueError(f"frame_shape {frame_shape} must be within the game's {(options.height, options.width)}")
        if starts < 1:
            raise ValueError(f"starts must be at least 1, got {starts}")
        self.name = GAME if options.preset == DEFAULT_LAND else f"{GAME}:{options.preset}"
        self.frame_shape = frame_shape
        self.tick_rate = TICKS_PER_SECOND / TICKS_PER_STEP
        self.starts = starts
        self._options = options
        self._game: LuantiGame | None = None
        self._mapper = ActionMapper()

    def reset(self, start: int = 0, seed: int = 0) -> Step:
        """A new game: the same (start, seed) has the same land. ValueError for a start that there is not."""
        if not 0 <= start < self.starts:
            raise ValueError(f"start must be 0..{self.starts - 1}, got {start}")
        self.close()
        began = time.perf_counter()
        self._mapper = ActionMapper()
        self._game = LuantiGame(replace(self._options, map_seed=derive_map_seed("world", seed, start)))
        return self._step(self._game, began)

    def step(self, action: Action) -> Step:
        """Plays two ticks; the frame after the second. WorldModelError before the first reset."""
        if self._game is None:
            raise WorldModelError("the game has not been started: call reset() before step()")
        began = time.perf_counter()
        for controls in self._mapper.ticks(action):
            self._game.send(controls)
            self._game.receive()
        return self._step(self._game, began)

    def _step(self, game: LuantiGame, began: float) -> Step:
        frame = reduce_frame(game.frame, *self.frame_shape)
        return Step(frame, timings={"game": time.perf_counter() - began}, status=Status(slot=game.state.slot + 1))

    def close(self) -> None:
        """Ends the game; a second call does nothing, and reset starts a new one."""
        if self._game is not None:
            self._game.close()
            self._game = None
