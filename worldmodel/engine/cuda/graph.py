"""The CUDA engine: a whole frame in two captured graphs. All graph code of the project is in this file.

The graph of the tokens runs on one stream; the graph of the picture on a second one, which waits for the tokens, copies
them and lets the first go: the next frame's tokens are made while the picture is still being decoded and copied to one
of PICTURES pinned buffers, so that no frame waits for the one before to be fetched. (Ordering by events, as in the CUDA
programming guide, "Streams"; two graphs rather than a fork inside one, because the host must see the tokens before the
picture is there. Graphs that may run at the same time share no memory pool.)

The first frames run eagerly (they warm the libraries up on the streams); then the frame is captured, and replayed from
there on. Without capture (`graph=False`, or a CPU) the same steps run eagerly: the graphs' twin.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kernels.sampling import Sampler
from worldmodel.engine.cuda.frame_step import FrameStep
from worldmodel.engine.decoder import Array
from worldmodel.engine.guidance import Guidance
from worldmodel.tokenizers.image import to_frames
from worldmodel.types import Frame, Tokens, WorldModelError

PICTURES = 3  # pinned buffers: one being written, one being read, one ready
EAGER_FRAMES = 3  # before the capture: libraries choose their algorithms and load their kernels in them


@dataclass
class Picture:
    """A pinned buffer. tokens: whose picture it holds; done: the event after which it is there (CUDA)."""

    host: torch.Tensor
    tokens: Tokens | None = None
    done: torch.Event | None = None


class Stage:
    """A half of the frame on a stream of its own (or on `stream`), captured after EAGER_FRAMES runs if `wanted`.

    strict: a capture that fails is an error, raised before the frame runs; else it goes on eagerly.
    """

    def __init__(
        self,
        run: Callable[[], None],
        device: torch.device,
        wanted: bool,
        strict: bool,
        stream: torch.cuda.Stream | None = None,
    ) -> None:
        self.run, self.wanted, self.strict = run, wanted, strict
        self.stream = stream or (torch.cuda.Stream(device) if device.type == "cuda" else None)
        if self.stream is not None:  # what was filled on the current stream is there before its first use here
            self.stream.wait_stream(torch.cuda.current_stream(device))
        self.graph: torch.cuda.CUDAGraph | None = None
        self.failure = ""
        self._eager_runs = 0

    def on_stream(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self.stream) if self.stream is not None else nullcontext()

    def __call__(self) -> None:
        """Once more, on the current stream: by the graph as soon as there is one."""
        if self.graph is None and self.wanted and not self.failure and self._eager_runs >= EAGER_FRAMES:
            self._capture()
        if self.graph is not None:
            self.graph.replay()
            return
        self.run()
        self._eager_runs += 1

    def _capture(self) -> None:
        """Captures; runs nothing, so that the state stays what it is."""
        graph = torch.cuda.CUDAGraph()
        try:
            # "thread_local": what other threads do meanwhile (a recorder, a window) is not part of it.
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                self.run()
        except RuntimeError as error:
            cause = error.__context__ or error  # ending a spoilt capture raises an error of its own
            self.failure = str(cause).splitlines()[0]
            if self.strict:
                raise WorldModelError(
                    f"the CUDA graph could not be captured ({self.failure}); use --engine eager"
                ) from error
            return
        self.graph = graph


class GraphDecoder:
    """FrameDecoder's interface, with the picture beside the tokens. Not for two threads at once.

    graph: whether to capture; strict: whether a capture that fails is an error (else play goes on eagerly).
    """

    def __init__(self, step: FrameStep, graph: bool | None = None, strict: bool = True) -> None:
        self.step, self.config, self.layout = step, step.config, step.layout
        self.window = step.config.transformer.window
        cuda = step.device.type == "cuda"
        assert not graph or cuda, f"only a CUDA device captures graphs, this is {step.device}"
        self.wanted = cuda if graph is None else graph
        self.host_tokens = torch.zeros_like(step.known, device="cpu", pin_memory=cuda)
        self.tokens_stage = Stage(self._make_tokens, step.device, self.wanted, strict)
        self.guided_stage = Stage(self._make_guided, step.device, self.wanted, strict, self.tokens_stage.stream)
        self.picture_stage = Stage(step.paint, step.device, self.wanted, strict)
        self.pictures = deque(
            Picture(torch.zeros_like(step.picture, device="cpu", pin_memory=cuda)) for _ in range(PICTURES)
        )
        self._guidance = Guidance(step.config)
        self.taken: torch.Event | None = None  # the picture's stream has copied the last tokens
        self.block = -1
        self.frames: list[Tokens] = []
        self._signature: tuple[object, ...] | None = None

    @property
    def filled(self) -> int:
        """Frames in the context, at most `window`."""
        return min(self.block + 1, self.window)

    @property
    def kernels(self) -> list[str]:
        """Which operations run by our own kernels."""
        return sorted(self.step.ops.use)

    @property
    def stages(self) -> tuple[Stage, Stage]:
        return self.tokens_stage, self.picture_stage

    @property
    def stage(self) -> str:
        """What runs now: "graph", "eager", or why there is no graph yet. (Guided frames have a graph of their own, once
        there have been some.)"""
        failures = [stage.failure for stage in (*self.stages, self.guided_stage) if stage.failure]
        if failures:
            return f"{'eager' if len(failures) == len(self.stages) else 'partly eager'}, no graph: {failures[0]}"
        if all(stage.graph is not None for stage in self.stages):
            return "graph"
        return "preparing the graph" if self.wanted else "eager"

    @torch.inference_mode()
    def open(self, frames: list[Tokens], actions: list[Tokens]) -> None:
        """As FrameDecoder.open. A captured graph stays valid: no tensor moves."""
        with self.tokens_stage.on_stream():
            self._wait_for_picture()
            self.step.open(frames, actions)
        self.frames = [tokens.astype(np.int32) for tokens in frames[-self.window :]]
        self.block = len(self.frames) - 1

    @torch.inference_mode()
    def decode(
        self, action: Tokens, sampler: Sampler, seed: int, frame: int, forced: Tokens | None = None
    ) -> tuple[Tokens, Array | None]:
        """As FrameDecoder.decode; forced decoding is always eager. Its picture is under way when this returns."""
        assert self.block >= 0, "open a context before decoding"
        if action.shape != tuple(self.step.action.shape) or not np.issubdtype(action.dtype, np.integer):
            raise ValueError(
                f"an action is {self.step.action.shape[0]} integer tokens, got {action.dtype} {action.shape}"
            )
        self._check_state()
        rows: list[torch.Tensor] = []
        other = self._guidance.away_from(action, sampler)
        guided = other is not None
        with self.tokens_stage.on_stream():
            self._wait_for_picture()
            self.step.action.copy_(torch.from_numpy(action.astype(np.int64)))
            if other is not None:
                self.step.idle.copy_(torch.from_numpy(other.astype(np.int64)))
            self.step.set_sampler(sampler, seed, frame)
            if forced is not None:
                self._make_tokens(torch.from_numpy(forced.astype(np.int64)).to(self.step.device), rows, guided)
            else:
                (self.guided_stage if guided else self.tokens_stage)()
        self._paint()
        if self.tokens_stage.stream is not None:
            self.tokens_stage.stream.synchronize()
        tokens = self.host_tokens.numpy().astype(np.int32)
        self.pictures[-1].tokens = tokens
        self.block += 1
        self.frames = [*self.frames[-(self.window - 1) :], tokens]
        return tokens, torch.cat(rows).cpu().numpy() if rows else None

    @torch.inference_mode()
    def pixels(self, tokens: Tokens) -> Frame:
        """tokens (places,) -> frame, the caller's own. Those of the last PICTURES frames are there, or under way."""
        for picture in reversed(self.pictures):
            if picture.tokens is not None and np.array_equal(tokens, picture.tokens):
                if picture.done is not None:
                    picture.done.synchronize()
                return picture.host.numpy().copy()
        with self.tokens_stage.on_stream():
            codes = torch.from_numpy(tokens.astype(np.int64))[None].to(self.step.device)
            return to_frames(self.step.tokenizer.decode(codes))[0].cpu().numpy()

    def _make_guided(self) -> None:
        self._make_tokens(guided=True)

    def _make_tokens(
        self, forced: torch.Tensor | None = None, logits: list[torch.Tensor] | None = None, guided: bool = False
    ) -> None:
        """The tokens, and their copy to pinned memory; the host waits for the stream, never inside a frame."""
        self.step.frame(forced, logits, guided)
        self.host_tokens.copy_(self.step.known, non_blocking=True)

    def _paint(self) -> None:
        """Starts the picture of the tokens that are being made, into the oldest buffer."""
        picture = self.pictures.popleft()
        self.pictures.append(picture)
        picture.tokens = None  # until they are known
        tokens, stream = self.tokens_stage.stream, self.picture_stage.stream
        if tokens is not None and stream is not None:
            stream.wait_stream(tokens)
        with self.picture_stage.on_stream():
            self.step.shown.copy_(self.step.known)
            if stream is not None:
                self.taken = stream.record_event()
            self.picture_stage()
            picture.host.copy_(self.step.picture, non_blocking=True)
            if stream is not None:
                picture.done = stream.record_event()

    def _wait_for_picture(self) -> None:
        """The current stream does not overwrite tokens that the picture's stream has not copied yet."""
        if self.taken is not None:
            torch.cuda.current_stream(self.step.device).wait_event(self.taken)

    def _check_state(self) -> None:
        """Once a frame: the state must lie where the graphs know it."""
        if self._signature is not None:
            assert self._signature == self._state(), (
                "a tensor of the captured frame has changed its shape, dtype or place"
            )
        elif any(stage.graph is not None for stage in (*self.stages, self.guided_stage)):
            self._signature = self._state()

    def _state(self) -> tuple[object, ...]:
        """Where the state, the tables and the image decoder lie, as the graphs know them, and of which kind."""
        step = self.step
        tensors = (
            *(step.action, step.known, step.shown, step.picture, step.settings.reals, step.settings.integers),
            *(step.ring.keys, step.ring.values, step.ring.block, step.ring.targets, step.ring.age),
            *(step.idle, step.table, step.start, step.place, step.no_previous, step.norm, self.host_tokens),
            *step.tokenizer.parameters(),
        )
        gathered = step.ring.gathered
        optional = (step.ring.key_scales, step.ring.value_scales, gathered and gathered.entries)
        held = [*tensors, *(tensor for tensor in optional if tensor is not None)]
        return tuple((t.data_ptr(), tuple(t.shape), t.dtype, t.device) for t in held)
