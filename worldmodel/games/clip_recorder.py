"""Writes what is played of any world as clips in VPT's format, to train on: by hand or by a script.

A clip is `<id>.mp4` at 20 Hz with `<id>.jsonl`, a line a tick: a world of 10 steps a second has two ticks a step, one
of 20 a tick; of another rate a step is as many ticks as come nearest, and time runs a little faster or slower.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from worldmodel.data.random_play import random_actions
from worldmodel.data.ticks import action_lines
from worldmodel.data.video import TICKS_PER_SECOND
from worldmodel.locking import unfinished
from worldmodel.types import Action, Frame, Step, World, WorldModelError

QUALITY = {"crf": "18", "preset": "veryfast"}


class ClipRecorder:
    """A World around another, which is recorded: a clip an episode. Files are written aside, and renamed when a clip is
    done: at a reset and at the end. WorldModelError if the folder cannot be written to."""

    def __init__(self, world: World, folder: Path, stem: str = "played") -> None:
        self._world, self._folder, self._stem = world, folder, stem
        self.name, self.frame_shape, self.tick_rate = world.name, world.frame_shape, world.tick_rate
        self.ticks = max(1, round(TICKS_PER_SECOND / world.tick_rate))
        self.written: list[Path] = []
        self._actions: list[Action] = []
        self._video: _Video | None = None
        self._frame: Frame | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    @property
    def starts(self) -> int:
        return self._world.starts

    def reset(self, start: int = 0, seed: int = 0) -> Step:
        self.finish()
        step = self._world.reset(start, seed)
        self._frame = step.frame
        return step

    def step(self, action: Action) -> Step:
        """The picture before the step, and the action that was taken on it."""
        assert self._frame is not None, "reset before stepping"
        try:
            self._video = self._video or _Video(self._next(), self.frame_shape)
            for _ in range(self.ticks):
                self._video.add(self._frame)
        except OSError as error:
            raise WorldModelError(f"{self._folder} cannot be written to ({error.strerror})") from None
        self._actions.append(action)
        step = self._world.step(action)
        self._frame = step.frame
        return step

    def finish(self) -> None:
        """Ends the clip that is being written, if there is one."""
        if self._video is None:
            return
        path = self._video.path
        self._video.close()
        lines = "".join(f"{line}\n" for line in action_lines(self._actions, self.ticks))
        temporary = unfinished(path.with_suffix(".jsonl"))
        temporary.write_text(lines)
        temporary.replace(path.with_suffix(".jsonl"))
        self._video.temporary.replace(path)
        self.written.append(path)
        self._video, self._actions = None, []

    def close(self) -> None:
        self.finish()
        self._world.close()

    def _next(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        number = 0
        while (path := self._folder / f"{self._stem}-{number:04d}.mp4").exists():
            number += 1
        return path


class _Video:
    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        self.path, self.temporary = path, unfinished(path).with_suffix(".tmp.mp4")
        self.container = av.open(str(self.temporary), "w", format="mp4")
        stream = self.container.add_stream("libx264", rate=TICKS_PER_SECOND, options=QUALITY)
        stream.height, stream.width = shape[0] // 2 * 2, shape[1] // 2 * 2
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, TICKS_PER_SECOND)
        self.stream, self.count = stream, 0

    def add(self, frame: Frame) -> None:
        picture = av.VideoFrame.from_ndarray(frame[: self.stream.height, : self.stream.width].copy(), format="rgb24")
        picture.pts = self.count
        self.count += 1
        self.container.mux(self.stream.encode(picture))

    def close(self) -> None:
        self.container.mux(self.stream.encode())
        self.container.close()


def record_clips(world: World, folder: Path, clips: int, frames: int, seed: int, stem: str) -> Iterator[Path]:
    """Records `clips` episodes of `frames` steps of random play; what is there already is not made again. Yields each
    file. The world is left open."""
    for number in range(clips):
        path = folder / f"{stem}-{seed + number}-0000.mp4"
        if path.exists():
            continue
        recorder = ClipRecorder(world, folder, f"{stem}-{seed + number}")
        actions = random_actions(seed + number)
        recorder.reset(number % world.starts, seed + number)
        for _ in range(frames):
            step = recorder.step(next(actions))
            if dict(step.status.notes).get("episode"):
                break  # over: nothing that comes now is the result of an action
        recorder.finish()
        yield path
