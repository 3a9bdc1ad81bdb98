"""Records, rewinds and branches what is played, and plays a recording again: the wrapper around a world, and `verify`.

The wrapper is itself a World, so that the game loop knows nothing of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recordings.format import Event, Header, Marker, Opening, RecordingError, SamplerSettings, StepRecord
from recordings.reader import Session
from recordings.recorder import Recorder
from worldmodel.types import Action, Step, Tokens, WorldModelError

if TYPE_CHECKING:
    from worldmodel.model.loading import StartScene
    from worldmodel.worlds.neural import NeuralWorld


@dataclass(frozen=True, slots=True)
class Moment:
    """A step of play that can be gone back to. action: int32 (11,) tokens that led to `tokens`; frame: number that
    keyed its random numbers; index: its step in the recording, or None."""

    action: Tokens
    tokens: Tokens
    frame: int
    index: int | None


class RecordedWorld:
    """A neural world with a memory: its play can be recorded, rewound and branched. The rest is passed through.

    events: called at each step, gives the raw inputs that made its action.
    """

    def __init__(self, world: NeuralWorld, events: Callable[[], tuple[Event, ...]] = tuple) -> None:
        self._world = world
        self.name, self.frame_shape, self.tick_rate = world.name, world.frame_shape, world.tick_rate
        self._events = events
        self._recorder: Recorder | None = None
        self._settings: SamplerSettings | None = None
        self._steps = 0
        self._began = 0.0
        self._past: list[Moment] = []
        self._anchor: Tokens | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    @property
    def starts(self) -> int:
        return self._world.starts

    @property
    def sampler(self) -> Any:
        return self._world.sampler

    @sampler.setter
    def sampler(self, value: Any) -> None:
        self._world.sampler = value

    @property
    def recording(self) -> str | None:
        """What the panel says: None while nothing is recorded; else the file, or why it stopped."""
        if self._recorder is None:
            return None
        return self._recorder.problem or f"{self._recorder.path.name} {self._recorder.size / 1024:.0f} KiB"

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
        world = self._world
        if self._past:
            world.open(self._context(), world.seed, world.frame)
        self._recorder = Recorder(path, header_of(world))
        self._settings = settings_of(world)
        self._steps, self._began = 0, time.monotonic()

    def finish(self) -> None:
        """Ends the recording, if there is one."""
        if self._recorder is not None:
            self._recorder.close()
            self._recorder = None
            self._past = [replace(moment, index=None) for moment in self._past]

    def reset(self, start: int = 0, seed: int = 0) -> Step:
        return self._restarted(self._world.reset(start, seed))

    def open(self, scene: StartScene, seed: int = 0, frame: int = 0) -> Step:
        return self._restarted(self._world.open(scene, seed, frame))

    def step(self, action: Action) -> Step:
        began = time.monotonic()
        frame = self._world.frame
        self._mark_settings()
        step = self._world.step(action)
        assert step.tokens is not None, "a neural world has tokens"
        index = None
        if self._recorder is not None:
            index, now = self._steps, time.monotonic()
            self._recorder.step(
                StepRecord(index, frame, began - self._began, action, step.tokens, now - began, self._events())
            )
            self._steps += 1
        self._past.append(Moment(self._world.actions.encode(action), step.tokens, frame, index))
        return step

    def peek(self, back: int) -> Step:
        """The picture `back` steps ago (0: now), without going there."""
        tokens = self._frames()[-1 - min(back, self.length)]
        return Step(self._world.pixels(tokens), tokens)

    def rewind(self, back: int) -> Step:
        """Goes `back` steps back (at most to the opening): what is done next is another branch."""
        back = min(back, self.length)
        if back == 0:
            return self.peek(0)
        frame = self._past[-back].frame
        self._past = self._past[:-back]
        step = self._world.open(self._context(), self._world.seed, frame)
        index = self._past[-1].index if self._past else None
        if self._recorder is not None and index is not None:
            self._recorder.mark(Marker("branch", self._steps, self._now(), back_to=index))
        else:
            self._mark_reset()
        return step

    def bookmark(self) -> None:
        """Marks this moment, in the recording and for `anchor`."""
        self._anchor = self._frames()[-1]
        if self._recorder is not None:
            self._recorder.mark(Marker("bookmark", self._steps, self._now(), f"step {self.length}"))

    def anchor(self) -> Step:
        """Against drift: goes on from the last bookmark's picture (or the opening's), as if it had stood still."""
        tokens = self._anchor if self._anchor is not None else self._opening.tokens[-1]
        world = self._world
        return self.open(world.still(tokens), world.seed, world.frame)

    def close(self) -> None:
        self.finish()
        self._world.close()

    def _frames(self) -> list[Tokens]:
        return [*self._opening.tokens, *(moment.tokens for moment in self._past)]

    def _context(self) -> StartScene:
        """What the model sees now, as an opening. `_opening` stays: the whole stretch can still be rewound."""
        between = [*self._opening.actions, *(moment.action for moment in self._past)]
        return context_of(self._frames(), between, self._world.window)

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _restarted(self, step: Step) -> Step:
        assert self._world.opening is not None, "a world that was opened has an opening"
        self._opening, self._past = self._world.opening, []
        self._mark_reset()
        return step

    def _mark_reset(self) -> None:
        if self._recorder is not None:
            world = self._world
            self._settings = settings_of(world)
            opening = opening_of(world)
            self._recorder.mark(
                Marker("reset", self._steps, self._now(), seed=world.seed, sampler=self._settings, opening=opening)
            )

    def _mark_settings(self) -> None:
        settings = settings_of(self._world)
        if self._recorder is not None and settings != self._settings:
            self._recorder.mark(Marker("sampler", self._steps, self._now(), sampler=settings))
            self._settings = settings


def context_of(frames: Sequence[Tokens], actions: Sequence[Tokens], window: int) -> StartScene:
    """The last `window` of n frames and the actions between them (of n - 1), as an opening."""
    from worldmodel.model.loading import StartScene

    kept = min(window, len(frames))
    between = actions[len(actions) - kept + 1 :]
    width = len(actions[0]) if len(actions) else 0
    return StartScene(np.stack(frames[-kept:]), np.stack(between) if len(between) else np.zeros((0, width), np.int32))


def context_at(session: Session, step: int, encode: Callable[[Action], Tokens], window: int) -> StartScene:
    """The opening from which play goes on after step `step` of a session. encode: the action tokenizer's."""
    path = session.path_to(step)
    opening = known(session.opening_of(path[0].index))
    frames, actions = list(opening.tokens), list(opening.actions)
    for record in path:
        if record.tokens is None:
            raise WorldModelError(f"step {record.index} of the session has no tokens: it is not of a neural world")
        frames.append(record.tokens)
        actions.append(encode(record.action))
    return context_of(frames, actions, window)


def known(opening: Opening | None) -> Opening:
    """WorldModelError if the session does not have it."""
    if opening is None:
        raise WorldModelError("the session does not say what it started from")
    return opening


def check_weights(session: Session, world: NeuralWorld) -> None:
    """WorldModelError if the session was played on other weights: its tokens would mean something else."""
    if session.header.weights != world.weights:
        raise WorldModelError(
            f"the session was played on weights {session.header.weights[:12]}, {world.folder} has "
            f"{world.weights[:12]}: give the checkpoint that it was played on with --world"
        )


def settings_of(world: NeuralWorld) -> SamplerSettings:
    return SamplerSettings(world.sampler.temperature, world.sampler.top_k, world.sampler.top_p)


def opening_of(world: NeuralWorld) -> Opening | None:
    return Opening(world.opening.tokens, world.opening.actions) if world.opening is not None else None


def header_of(world: NeuralWorld) -> Header:
    from worldmodel.checkpoint import config_to_dict

    return Header(
        world=world.name,
        checkpoint=str(world.folder),
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
    )


@dataclass(frozen=True, slots=True)
class Verification:
    """steps: how many were compared; equal: of them, with all tokens equal; tokens_equal: share of equal tokens; first:
    (step, place) of the first difference."""

    steps: int
    equal: int
    tokens_equal: float
    first: tuple[int, int] | None


def verify(session: Session, world: NeuralWorld, progress: Callable[[], object] = lambda: None) -> Verification:
    """Plays the session's actions again, from its starts, branches, seeds and settings, and compares the tokens.

    WorldModelError if the weights differ.
    """
    from kernels.sampling import Sampler
    from worldmodel.model.loading import StartScene

    check_weights(session, world)
    header = session.header

    def use(settings: SamplerSettings) -> None:
        world.sampler = Sampler(settings.temperature, settings.top_k, settings.top_p)

    use(header.sampler)
    markers = sorted(session.markers, key=lambda marker: marker.index)
    equal, tokens_equal, tokens_all = 0, 0, 0
    first: tuple[int, int] | None = None
    # What the next step starts from, where it is not the step before.
    opening, branch, pending = header.opening, None, True
    seed = header.seed
    for record in session.steps:
        while markers and markers[0].index <= record.index:
            marker = markers.pop(0)
            if marker.sampler is not None:
                use(marker.sampler)
            if marker.kind == "reset":
                opening, branch, pending = marker.opening, None, True
                seed = marker.seed or 0
            elif marker.kind == "branch":
                branch, pending = marker.back_to, True
        if pending:
            if branch is not None and branch >= 0:
                scene = context_at(session, branch, world.actions.encode, world.window)
            else:
                scene = StartScene(known(opening).tokens, known(opening).actions)
            world.open(scene, seed, record.frame)
            pending = False
        made = world.step(record.action).tokens
        assert made is not None, "a neural world has tokens"
        if record.tokens is None or record.tokens.shape != made.shape:
            raise WorldModelError(f"step {record.index} of the session has no tokens that fit this world")
        same = made == record.tokens
        tokens_equal += int(same.sum())
        tokens_all += len(same)
        equal += bool(same.all())
        if first is None and not same.all():
            first = (record.index, int(np.flatnonzero(~same)[0]))
        progress()
    return Verification(len(session.steps), equal, tokens_equal / max(1, tokens_all), first)
