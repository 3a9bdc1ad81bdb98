"""Records what is played, and plays a recording again to compare: the wrapper around a world, and `verify`.

The wrapper is itself a World, so that the game loop knows nothing of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recordings.format import Event, Header, Marker, Opening, RecordingError, SamplerSettings, StepRecord
from recordings.reader import Session
from recordings.recorder import Recorder
from worldmodel.types import Action, Step, WorldModelError

if TYPE_CHECKING:
    from worldmodel.worlds.neural import NeuralWorld


class RecordedWorld:
    """A neural world whose play can be recorded. Everything else is passed through.

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

    def record(self, path: Path) -> None:
        """Starts recording into a new file. RecordingError if it cannot be made, or if it is recording already.

        In the middle of play the context is opened again first: a replay starts from the same frames, so it must
        start from the same cache.
        """
        if self._recorder is not None:
            raise RecordingError(f"{self._recorder.path} is being recorded")
        world = self._world
        if world.opening is not None and world.frame > 0:
            world.open(world.context(), world.seed)
        self._recorder = Recorder(path, header_of(world))
        self._settings = settings_of(world)
        self._steps, self._began = 0, time.monotonic()

    def finish(self) -> None:
        """Ends the recording, if there is one."""
        if self._recorder is not None:
            self._recorder.close()
            self._recorder = None

    def reset(self, start: int = 0, seed: int = 0) -> Step:
        return self._restarted(self._world.reset(start, seed))

    def open(self, scene: Any, seed: int = 0) -> Step:
        return self._restarted(self._world.open(scene, seed))

    def step(self, action: Action) -> Step:
        began = time.monotonic()
        frame = self._world.frame
        self._mark_settings()
        step = self._world.step(action)
        if self._recorder is not None:
            now = time.monotonic()
            self._recorder.step(
                StepRecord(self._steps, frame, began - self._began, action, step.tokens, now - began, self._events())
            )
            self._steps += 1
        return step

    def close(self) -> None:
        self.finish()
        self._world.close()

    def _restarted(self, step: Step) -> Step:
        if self._recorder is not None:
            world = self._world
            now = time.monotonic() - self._began
            self._settings = settings_of(world)
            self._recorder.mark(
                Marker("reset", self._steps, now, seed=world.seed, sampler=self._settings, opening=opening_of(world))
            )
        return step

    def _mark_settings(self) -> None:
        settings = settings_of(self._world)
        if self._recorder is not None and settings != self._settings:
            self._recorder.mark(Marker("sampler", self._steps, time.monotonic() - self._began, sampler=settings))
            self._settings = settings


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
    """Plays the session's actions again, from its starts, seeds and settings, and compares the tokens.

    Rewound branches are left out where they are left: each reset begins anew. WorldModelError if the weights differ.
    """
    from kernels.sampling import Sampler
    from worldmodel.model.loading import StartScene

    header = session.header
    if header.weights != world.weights:
        raise WorldModelError(
            f"the session was played on weights {header.weights[:12]}, {world.folder} has {world.weights[:12]}: "
            "give the checkpoint that it was played on with --world"
        )

    def use(settings: SamplerSettings) -> None:
        world.sampler = Sampler(settings.temperature, settings.top_k, settings.top_p)

    def start(opening: Opening | None, seed: int) -> None:
        if opening is None:
            raise WorldModelError("the session does not say what it started from")
        world.open(StartScene(opening.tokens, opening.actions), seed)

    use(header.sampler)
    markers = sorted(session.markers, key=lambda marker: marker.index)
    opened = False
    equal, tokens_equal, tokens_all = 0, 0, 0
    first: tuple[int, int] | None = None
    opening, seed = header.opening, header.seed
    for record in session.steps:
        while markers and markers[0].index <= record.index:
            marker = markers.pop(0)
            if marker.sampler is not None:
                use(marker.sampler)
            if marker.kind == "reset":
                opening, seed, opened = marker.opening, marker.seed or 0, False
        if not opened:
            start(opening, seed)
            opened = True
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
