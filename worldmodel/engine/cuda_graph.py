"""The CUDA engine: a whole frame is one captured graph. All graph code of the project is in this file.

The first frames run eagerly (they warm the libraries up on the side stream); then the frame is captured, and replayed
from there on. Without capture (`graph=False`, or a CPU) the same step runs eagerly: the graph's twin.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from kernels.sampling import Sampler
from worldmodel.engine.decoder import Array
from worldmodel.engine.frame_step import FrameStep
from worldmodel.tokenizers.image import to_frames
from worldmodel.types import Frame, Tokens, WorldModelError

EAGER_FRAMES = 3  # before the capture: libraries choose their algorithms and load their kernels in them


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
        self.strict = strict
        self.graph: torch.cuda.CUDAGraph | None = None
        self.failure = ""
        self.stream = torch.cuda.Stream(step.device) if cuda else None
        self.host_tokens = torch.zeros_like(step.known, device="cpu", pin_memory=cuda)
        self.host_picture = torch.zeros_like(step.picture, device="cpu", pin_memory=cuda)
        self.block = -1
        self.frames: list[Tokens] = []
        self._signature: tuple[object, ...] = ()
        self._eager_frames = 0

    @property
    def filled(self) -> int:
        """Frames in the context, at most `window`."""
        return min(self.block + 1, self.window)

    @property
    def kernels(self) -> list[str]:
        """Which operations run by our own kernels."""
        return sorted(self.step.ops.use)

    @property
    def stage(self) -> str:
        """What runs now: "graph", "eager", or why there is no graph yet."""
        if self.graph is not None:
            return "graph"
        if self.failure:
            return f"eager, no graph: {self.failure}"
        return "preparing the graph" if self.wanted else "eager"

    @torch.inference_mode()
    def open(self, frames: list[Tokens], actions: list[Tokens]) -> None:
        """As FrameDecoder.open. A captured graph stays valid: no tensor moves."""
        with self._on_stream():
            self.step.open(frames, actions)
        self.frames = [tokens.astype(np.int32) for tokens in frames[-self.window :]]
        self.block = len(self.frames) - 1

    @torch.inference_mode()
    def decode(
        self, action: Tokens, sampler: Sampler, seed: int, frame: int, forced: Tokens | None = None
    ) -> tuple[Tokens, Array | None]:
        """As FrameDecoder.decode; forced decoding is always eager."""
        assert self.block >= 0, "open a context before decoding"
        if action.shape != tuple(self.step.action.shape) or not np.issubdtype(action.dtype, np.integer):
            raise ValueError(
                f"an action is {self.step.action.shape[0]} integer tokens, got {action.dtype} {action.shape}"
            )
        rows: list[torch.Tensor] = []
        with self._on_stream():
            self.step.action.copy_(torch.from_numpy(action.astype(np.int64)))
            self.step.set_sampler(sampler, seed, frame)
            if forced is not None:
                self.step.frame(torch.from_numpy(forced.astype(np.int64)).to(self.step.device), rows)
                self._fetch()
            else:
                self._run()
        if self.stream is not None:
            self.stream.synchronize()
        tokens = self.host_tokens[:-1].numpy().astype(np.int32)
        self.block += 1
        self.frames = [*self.frames[-(self.window - 1) :], tokens]
        return tokens, torch.cat(rows).cpu().numpy() if rows else None

    @torch.inference_mode()
    def pixels(self, tokens: Tokens) -> Frame:
        """tokens (places,) -> frame. The last decoded frame's picture is there already."""
        if np.array_equal(tokens, self.host_tokens[:-1].numpy()):
            return self.host_picture.numpy().copy()
        with self._on_stream():
            codes = torch.from_numpy(tokens.astype(np.int64))[None].to(self.step.device)
            return to_frames(self.step.tokenizer.decode(codes))[0].cpu().numpy()

    def _run(self) -> None:
        """One frame on the current stream: by the graph as soon as there is one."""
        if self.graph is None and self.wanted and not self.failure and self._eager_frames >= EAGER_FRAMES:
            self._capture()
        if self.graph is None:
            self.step.frame()
            self._fetch()
            self._eager_frames += 1
            return
        assert self._signature == self._state(), "a tensor of the captured frame has changed its shape, dtype or place"
        self.graph.replay()

    def _fetch(self) -> None:
        """Tokens and picture into pinned memory; the host waits for the stream, never inside a frame."""
        self.host_tokens.copy_(self.step.known, non_blocking=True)
        self.host_picture.copy_(self.step.picture, non_blocking=True)

    def _capture(self) -> None:
        """Captures; runs nothing, so that the state stays what it is."""
        assert self.stream is not None
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                self.step.frame()
                self._fetch()
        except RuntimeError as error:
            self.failure = str(error).splitlines()[0]
            if self.strict:
                raise WorldModelError(
                    f"the CUDA graph could not be captured ({self.failure}); use --engine eager"
                ) from error
            return
        self.graph, self._signature = graph, self._state()

    def _state(self) -> tuple[object, ...]:
        """Where everything lies that the graph reads and writes, and of which kind it is."""
        step = self.step
        tensors = (
            *(step.action, step.known, step.picture, step.settings.reals, step.settings.integers),
            *(step.ring.keys, step.ring.values, step.ring.block, step.ring.targets, step.ring.age),
            *(step.table, step.norm, self.host_tokens, self.host_picture),
        )
        return tuple((t.data_ptr(), tuple(t.shape), t.dtype, t.device) for t in tensors)

    def _on_stream(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self.stream) if self.stream is not None else nullcontext()
