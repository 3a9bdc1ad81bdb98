"""The native engine: a whole frame in one call of compiled code (kernels/cpu), for a CPU with a compiler.

It computes what FrameDecoder does over EagerBackend: with float32 weights as exactly, with int8 weights and activations
nearly; a test compares them. The same tokens on every processor, whatever its path and the number of threads.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kernels.native import CompiledDecoder, Frame, Model, Sampling, compiled, pointer
from kernels.native_build import PATHS, NativeError, NotReadyError, build, cpu_flags, own_paths, registers_problem
from kernels.sampling import GREEDY, Sampler
from worldmodel.config import WorldModelConfig
from worldmodel.engine.decoder import Array
from worldmodel.engine.guidance import Guidance
from worldmodel.engine.host.native_model import float_tables, float_weights, layout_tables, model_numbers
from worldmodel.engine.lanes import LaneDecoder, LaneStep
from worldmodel.model.layout import BlockLayout
from worldmodel.model.transformer import VisualActionTransformer, rotary_table
from worldmodel.types import Tokens

MAX_THREADS = 8  # a pass is too narrow for more
MAX_SEEN = 2**31 // 127**2  # products of int8 that a sum in int32 holds
LANES = 16  # entries of a tile of the cache (kernels/cpu/cache.h)
MASK = 2**64 - 1


_failed: dict[str, NativeError] = {}
"""Of this processor's paths, those that cannot be had: the compiler may be too old for the newest instructions."""


def best_path() -> str:
    """What this processor takes: the best of its paths, but for those that were found not to be had."""
    paths = own_paths()
    return next((name for name in paths if name not in _failed), paths[0])


def path_reason() -> str:
    """Why this processor takes its path."""
    flags, path = cpu_flags(), best_path()
    if not flags:
        return "the system does not say what the processor has"
    better = [
        f"{name} needs {', '.join(missing)}" if missing else f"{name}: {_failed.get(name) or registers_problem(name)}"
        for name in list(PATHS)[: list(PATHS).index(path)]
        if PATHS[name].machine == platform.machine()
        for missing in [sorted(PATHS[name].needs - flags)]
    ]
    return f"the processor's best ({'; '.join(better)})" if better else "the fastest there is"


def path_notices() -> tuple[str, ...]:
    """What the user should know of the path that is taken: a sentence for each better one that cannot be had."""
    return tuple(
        f"the native engine's path {name} cannot be had: {_failed[name]}; {best_path()} plays" for name in _failed
    )


def native_problem(config: WorldModelConfig, seconds: float | None = None) -> str:
    """Why the engine cannot be had here for a model (within so many seconds), in half a sentence; "" if it can."""
    t, layout = config.transformer, BlockLayout(config.decode_order())
    seen = (t.attended + 2) * (layout.length + LANES)
    if seen > MAX_SEEN:
        return f"its sums hold {MAX_SEEN} entries of the context at once, and this model's rows may see {seen}"
    return compile_problem(seconds)


@cache  # what was not ready in time is not waited for twice
def compile_problem(seconds: float | None) -> str:
    """The same for any model."""
    for path in own_paths():
        try:
            build(path, seconds)
            compiled(path)
        except NotReadyError as error:
            return str(error)
        except NativeError as error:
            _failed[path] = error
        else:
            return ""
    return str(_failed[best_path()])


def default_threads() -> int:
    """As many as there are cores that this process may use: more would wait for each other."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, MAX_THREADS)


def sampling_of(sampler: Sampler, seed: int, frame: int) -> Sampling:
    """How the tokens of a frame are drawn, as the compiled code takes it."""
    return Sampling(
        greedy=sampler.greedy,
        top_k=sampler.top_k,
        sharpness=0.0 if sampler.greedy else 1 / sampler.temperature,
        guidance=sampler.guidance,
        top_p=sampler.top_p,
        seed=seed & MASK,
        frame=frame & MASK,
    )


def _rows(tokens) -> NDArray[np.int32]:  # noqa: ANN001
    return np.ascontiguousarray(tokens, np.int32)


@dataclass(frozen=True, slots=True)
class _Making:
    """A frame to be made. actions: the one that led to it, and the one that it is guided away from; none at first."""

    lane: int
    actions: Sequence[Tokens]
    sampler: Sampler
    seed: int
    frame: int
    forced: NDArray[np.int32] | None
    scores: Array | None


@dataclass(frozen=True, slots=True)
class _Given:
    """The arrays that a call reads for it."""

    actions: NDArray[np.int32]
    cosine: Array
    sine: Array
    outro_cosine: Array
    outro_sine: Array


@dataclass
class _Lane:
    """What a lane knows beside its cache."""

    block: int = -1
    frames: list[Tokens] = field(default_factory=list)


class NativeLanes:
    """Lanes (see there) whose frames are made in one call: a weight is read once for all of them. int8: else float32;
    threads: 0 is as many as fit; path: one of kernels.native_build.PATHS that this processor has, "" is the best.
    NativeError if it cannot be compiled: ask native_problem first."""

    def __init__(
        self,
        model: VisualActionTransformer,
        count: int = 1,
        threads: int = 0,
        guided: bool = True,
        int8: bool = True,
        path: str = "",
    ) -> None:
        self.config, self.layout, self.count = model.config, model.layout, count
        self.window, self.guided = model.config.transformer.window, guided
        self.path, self.threads = path or best_path(), threads or default_threads()
        self._lanes = [_Lane() for _ in range(count)]
        self._guidance = Guidance(model.config)
        self._codes, self._columns = model.codes, len(model.lm_head.weight)
        self._first_action, self._last_action = model.first_action, len(model.embed_tokens.weight) - 1
        numbers = Model(**model_numbers(model), lanes=1 + guided, players=count, threads=self.threads, int8=int8)
        tables = {**float_tables(model), **layout_tables(model)}
        self._compiled = CompiledDecoder(compiled(self.path), numbers, tables, float_weights(model))

    def frames(self, lane: int) -> list[Tokens]:
        """As Lanes.frames."""
        return self._lanes[lane].frames

    def filled(self, lane: int) -> int:
        """Frames in a lane's context, at most `window`."""
        return min(self._lanes[lane].block + 1, self.window)

    def open(self, lane: int, frames: list[Tokens], actions: list[Tokens]) -> None:
        """As FrameDecoder.open."""
        if len(frames) < 1 or len(actions) != len(frames) - 1:
            raise ValueError(f"a context of n frames has n - 1 actions, got {len(frames)} and {len(actions)}")
        known = self._lanes[lane]
        known.block, known.frames = -1, []
        frames, actions = frames[-self.window :], actions[len(actions) - min(self.window, len(frames)) + 1 :]
        for index, tokens in enumerate(frames):
            self._make([_Making(lane, actions[max(index - 1, 0) : index], GREEDY, 0, 0, self._forced(tokens), None)])

    def decode(self, steps: Mapping[int, LaneStep]) -> dict[int, tuple[Tokens, Array | None]]:
        """As Lanes.decode."""
        making = []
        for lane, step in steps.items():
            assert self._lanes[lane].block >= 0, "open a context before decoding"
            forced = None if step.forced is None else self._forced(step.forced)
            scores = None if forced is None else np.empty((self.layout.image, self._columns), np.float32)
            other = self._guidance.away_from(step.action, step.sampler)
            actions = [step.action] if other is None else [step.action, other]
            making.append(_Making(lane, actions, step.sampler, step.seed, step.frame, forced, scores))
        made = self._make(making)
        return {one.lane: (tokens, one.scores) for one, tokens in zip(making, made, strict=True)}

    def _forced(self, tokens: Tokens) -> NDArray[np.int32]:
        """What is no token would be read from beyond a table's end."""
        given = _rows(tokens)
        assert 0 <= given.min() <= given.max() < self._codes, "image tokens"
        assert given.shape == (self.layout.image,), "a frame's tokens"
        return given

    def _make(self, making: list[_Making]) -> list[Tokens]:
        """The next block of each one's lane."""
        tokens = [np.zeros(self.layout.image, np.int32) for _ in making]
        kept = [self._given(one) for one in making]  # alive until the call is through
        frames = [self._frame(*each) for each in zip(making, kept, tokens, strict=True)]
        self._compiled.decode(frames)
        for one, made in zip(making, tokens, strict=True):
            lane = self._lanes[one.lane]
            lane.block += 1
            lane.frames = [*lane.frames[-(self.window - 1) :], made]
        return tokens

    def _given(self, one: _Making) -> _Given:
        block = self._lanes[one.lane].block + 1
        (outro_cosine, cosine), (outro_sine, sine) = rotary_table(
            self.config, self.layout, np.asarray([max(block - 1, 0), block])
        )
        actions = _rows([action - self._codes + self._first_action for action in one.actions])
        assert all(self._first_action <= token <= self._last_action for token in actions.flat), "action tokens"
        assert len(actions) <= 1 + self.guided, "this engine guides no frames"
        return _Given(actions, cosine, sine, outro_cosine, outro_sine)

    def _frame(self, one: _Making, given: _Given, tokens: NDArray[np.int32]) -> Frame:
        lane = self._lanes[one.lane]
        return Frame(
            block=lane.block + 1,
            player=one.lane,
            previous=pointer(lane.frames[-1] if lane.frames else None),
            actions=pointer(given.actions),
            lanes=max(len(given.actions), 1),
            cosine=pointer(given.cosine),
            sine=pointer(given.sine),
            outro_cosine=pointer(given.outro_cosine),
            outro_sine=pointer(given.outro_sine),
            sampling=sampling_of(one.sampler, one.seed, one.frame),
            forced=pointer(one.forced),
            tokens=pointer(tokens),
            scores=pointer(one.scores),
        )


class NativeDecoder(LaneDecoder):
    """NativeLanes with one lane, behind FrameDecoder's interface."""

    def __init__(
        self, model: VisualActionTransformer, threads: int = 0, guided: bool = True, int8: bool = True, path: str = ""
    ) -> None:
        lanes = NativeLanes(model, 1, threads, guided, int8, path)
        super().__init__(lanes)
        self.path, self.threads = lanes.path, lanes.threads
