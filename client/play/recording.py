"""Records, rewinds and branches what is played: a wrapper around a neural world.

It is itself a World, so that the game loop knows nothing of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from recordings.format import MAX_EVENTS, Event, Header, Marker, RecordingError, StepRecord
from recordings.opening import Opening, SamplerSettings
from recordings.recorder import Recorder, Stopped
from worldmodel.types import Action, Frame, Step, Tokens

if TYPE_CHECKING:
    from kernels.sampling import Sampler
    from worldmodel.types import StartScene
    from worldmodel.worlds.neural import NeuralWorld


MOST_REWOUND = 6000
"""Steps that can be gone back: ten minutes at nano's pace. What is older is forgotten, so that memory does not grow."""
MOST_KEPT = MOST_REWOUND * 11 // 10
"""Steps that are kept before the oldest of them are forgotten, many at once."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A step of play that can be gone back to. action: int32 (11,) tokens that led to `tokens`; frame: number that
    keyed its random numbers; index: its step in the recording, or None."""

    action: Tokens
    tokens: Tokens
    frame: int
    index: int | None


@runtime_checkable
class Recordable(Protocol):
    """A world whose play can be recorded and marked. See RecordedWorld."""

    @property
    def recording(self) -> str | None: ...

    def news(self) -> str | None: ...

    def record(self, path: Path) -> None: ...

    def finish(self) -> None: ...

    def bookmark(self) -> None: ...

    def anchor(self, scene: StartScene | None = None) -> Step: ...


class RecordedWorld:
    """A neural world with a memory: its play can be recorded, rewound and branched.

    neural: that world; events: called at each step, gives the raw inputs that made its action; on_stop: called once for
    a recording that ends before its time, between two steps, as soon as that is seen.
    """

    def __init__(
        self,
        world: NeuralWorld,
        events: Callable[[], tuple[Event, ...]] = tuple,
        on_stop: Callable[[Stopped], object] = lambda stopped: None,
    ) -> None:
        self.neural = world
        self.name, self.frame_shape, self.tick_rate = world.name, world.frame_shape, world.tick_rate
        self._events, self._on_stop = events, on_stop
        self._stopped: Stopped | None = None  # of the newest recording, if it has
        self._news: str | None = None
        self._recorder: Recorder | None = None
        self._settings: SamplerSettings | None = None
        self._steps = 0
        self._began = 0.0
        self._past: list[Moment] = []
        self._forgotten = 0  # steps between the world's opening and ours
        self._anchor: Tokens | None = None

    @property
    def starts(self) -> int:
        return self.neural.starts

    @property
    def sampler(self) -> Sampler:
        return self.neural.sampler

    @sampler.setter
    def sampler(self, value: Sampler) -> None:
        self.neural.sampler = value

    @property
    def recording(self) -> str | None:
        """What the panel says: None while nothing is recorded; else the file, or why it stopped."""
        if self._recorder is None:
            return None
        return self._recorder.problem or f"{self._recorder.path.name} {self._recorder.size / 1024:.0f} KiB"

    def news(self) -> str | None:
        """Once, for the player: that the recording has stopped, and why."""
        news, self._news = self._news, None
        return news

    @property
    def length(self) -> int:
        """Steps that can be rewound."""
        return len(self._past)

    def record(self, path: Path) -> None:
        """Starts recording into a new file. RecordingError if it cannot be made, or if it is recording already.

        In the middle of play the context is opened again first: a replay starts from the same frames, so it must
        start from the same cache.
        """
        if self._recorder is not None:
            raise RecordingError(f"{self._recorder.path} is being recorded")
        world = self.neural
        if self._past:
            world.open(self._context(), world.seed, world.frame)
        self._recorder = Recorder(path, header_of(world))
        self._settings, self._stopped = settings_of(world), None
        self._steps, self._began = 0, time.monotonic()

    def finish(self) -> None:
        """Ends the recording, if there is one."""
        if self._recorder is not None:
            self._recorder.close()
            self._look(self._recorder)
            self._recorder = None
            self._past = [replace(moment, index=None) for moment in self._past]

    def reset(self, start: int = 0, seed: int = 0) -> Step:
        return self._restarted(self.neural.reset(start, seed))

    def open(self, scene: StartScene, seed: int = 0, frame: int = 0) -> Step:
        return self._restarted(self.neural.open(scene, seed, frame))

    def scene_of(self, picture: Frame) -> StartScene:
        return self.neural.scene_of(picture)

    def scene_of_clip(self, path: Path) -> StartScene:
        return self.neural.scene_of_clip(path)

    def told(self, action: Action) -> Action:
        return self.neural.told(action)

    def facts(self) -> dict[str, Any]:
        return self.neural.facts()

    def step(self, action: Action) -> Step:
        began = time.monotonic()
        frame = self.neural.frame
        self._mark_settings()
        step = self.neural.step(action)
        assert step.tokens is not None, "a neural world has tokens"
        index = None
        if self._recorder is not None:
            index, now = self._steps, time.monotonic()
            self._recorder.step(
                StepRecord(
                    *(index, frame, began - self._began, action, step.tokens, now - began),
                    self._events()[-MAX_EVENTS:],  # of a step that hung, with a quick mouse
                )
            )
            self._steps += 1
            self._look(self._recorder)
        assert step.told is not None, "and it encodes the action"
        self._past.append(Moment(step.told, step.tokens, frame, index))
        if len(self._past) > MOST_KEPT:
            self._forget(len(self._past) - MOST_REWOUND)
        return self._told(step)

    def peek(self, back: int) -> Step:
        """The picture `back` steps ago (0: now), without going there."""
        frames = self._frames()
        at = len(frames) - 1 - min(back, self.length)
        picture = self.neural.pixels(frames[at])
        filled = min(self.neural.window, at + 1)
        return self._told(Step(picture, frames[at], status=self.neural.status_of(picture, filled)))

    def rewind(self, back: int) -> Step:
        """Goes `back` steps back (at most to the opening): what is done next is another branch."""
        back = min(back, self.length)
        if back == 0:
            return self.peek(0)
        frame = self._past[-back].frame
        self._past = self._past[:-back]
        step = self.neural.open(self._context(), self.neural.seed, frame)
        index = self._past[-1].index if self._past else None
        if self._recorder is not None and index is not None:
            self._recorder.mark(Marker("branch", self._steps, self._now(), back_to=index))
        else:
            self._mark_reset()
        return self._told(step)

    def bookmark(self) -> None:
        """Marks this moment, in the recording and for `anchor`."""
        self._anchor = self._frames()[-1]
        if self._recorder is not None:
            self._recorder.mark(Marker("bookmark", self._steps, self._now(), f"step {self._forgotten + self.length}"))

    def anchor(self, scene: StartScene | None = None) -> Step:
        """Against drift: goes on from `scene`, or from the last bookmark's picture (or the opening's) at rest."""
        world = self.neural
        if scene is None:
            scene = world.still(self._anchor if self._anchor is not None else self._first)
        return self.open(scene, world.seed, world.frame)

    def close(self) -> None:
        self.finish()
        self.neural.close()

    def _look(self, recorder: Recorder) -> None:
        """Tells of a recording that has stopped, once."""
        if recorder.stopped is not None and self._stopped is None:
            self._stopped = recorder.stopped
            self._news = recorder.stopped.sentence(self._steps)
            self._on_stop(recorder.stopped)

    def _frames(self) -> list[Tokens]:
        return [*self._opening.tokens, *(moment.tokens for moment in self._past)]

    def _context(self) -> StartScene:
        """What the model sees now, as an opening. `_opening` stays: the stretch can still be rewound."""
        between = [*self._opening.actions, *(moment.action for moment in self._past)]
        return context_of(self._frames(), between, self.neural.window)

    def _forget(self, count: int) -> None:
        """The oldest steps: what was seen after them becomes the opening."""
        kept, self._past = self._past[count:], self._past[:count]
        self._opening, self._past = self._context(), kept
        self._forgotten += count

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _restarted(self, step: Step) -> Step:
        assert self.neural.opening is not None, "a world that was opened has an opening"
        self._opening, self._past, self._forgotten = self.neural.opening, [], 0
        self._first = self._opening.tokens[-1]
        self._mark_reset()
        return self._told(step)

    def _told(self, step: Step) -> Step:
        """The step, with what is recorded."""
        return replace(step, status=replace(step.status, recording=self.recording))

    def _mark_reset(self) -> None:
        if self._recorder is not None:
            world = self.neural
            self._settings = settings_of(world)
            opening = opening_of(world)
            self._recorder.mark(
                Marker("reset", self._steps, self._now(), seed=world.seed, sampler=self._settings, opening=opening)
            )

    def _mark_settings(self) -> None:
        settings = settings_of(self.neural)
        if self._recorder is not None and settings != self._settings:
            self._recorder.mark(Marker("sampler", self._steps, self._now(), sampler=settings))
            self._settings = settings


def context_of(frames: Sequence[Tokens], actions: Sequence[Tokens], window: int) -> StartScene:
    """The last `window` of n frames and the actions between them (of n - 1), as an opening."""
    from worldmodel.types import StartScene

    kept = min(window, len(frames))
    between = actions[len(actions) - kept + 1 :]
    width = len(actions[0]) if len(actions) else 0
    return StartScene(np.stack(frames[-kept:]), np.stack(between) if len(between) else np.zeros((0, width), np.int32))


def settings_of(world: NeuralWorld) -> SamplerSettings:
    return SamplerSettings(**asdict(world.sampler))


def opening_of(world: NeuralWorld) -> Opening | None:
    return Opening(world.opening.tokens, world.opening.actions) if world.opening is not None else None


def header_of(world: NeuralWorld) -> Header:
    from worldmodel.checkpoint import config_to_dict, tokenizer_hash

    return Header(
        world=world.name,
        checkpoint=world.folder.resolve().name,  # no folder of this machine: name and hash find the weights
        weights=world.weights,
        config=config_to_dict(world.model.config),
        order=world.model.config.order,
        sampler=settings_of(world),
        seed=world.seed,
        tick_rate=world.tick_rate,
        engine=world.engine,
        device=str(world.device),
        created=time.time(),
        opening=opening_of(world),
        tokenizer=tokenizer_hash(world.model.tokenizer),
    )
