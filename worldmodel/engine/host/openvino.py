"""OpenVINO engine: the same passes as the eager backend, as static graphs for a CPU with few cores.

Passes are padded to a few fixed widths; the ring cache lies in NumPy arrays that OpenVINO reads in place. Padded
rows are computed and thrown away: their keys are never written. The graphs are built in openvino_graphs.py.

Where the ring keeps frames that no pass attends to, a graph reads a smaller cache instead, of the attended frames only:
those that come into sight are copied to it from the ring, once a frame.
"""

from __future__ import annotations

import functools
import os

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray

from worldmodel.engine.decoder import Array, Pass, ring_entries
from worldmodel.engine.host.openvino_graphs import (
    build_image_decoder,
    build_pass,
    first_widths,
    guided_widths,
    pass_widths,
)
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.types import Frame

MASKED = np.float32(-1e9)
INPUTS_A_SCALE = 64  # of a row that is multiplied with a matrix in 8 bits


@functools.cache
def _core() -> ov.Core:
    """The process's one, for ever. Its CPU plugin sets a stack for signal handlers when it is loaded and puts back the
    one of before when it goes; of several, that is the stack of one which is gone, and the next Ctrl-C a crash (seen
    with OpenVINO 2026.4)."""
    return ov.Core()


def _compile(graph: ov.Model, threads: int) -> ov.InferRequest:
    settings: dict[str, object] = {
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(INPUTS_A_SCALE),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # bf16 kernels would not agree with the eager engine
        "INFERENCE_NUM_THREADS": threads or os.cpu_count() or 1,
    }
    return _core().compile_model(graph, "CPU", settings).create_infer_request()


class _Ring:
    """Keys and values of all blocks of the ring. Keys lie transposed, as the product with the queries reads them."""

    def __init__(self, model: VisualActionTransformer, entries: int) -> None:
        t = model.config.transformer
        self.entries, self.length = entries, model.layout.length
        self.keys = np.zeros((t.layers, t.kv_heads, t.head_dim, entries), np.float32)
        self.values = np.zeros((t.layers, t.kv_heads, entries, t.head_dim), np.float32)

    def see(self, past: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """past: (n, ring) what each row may attend to -> (n, entries), the same over the entries that lie here."""
        return past

    def write(self, layer: int, part: slice, keys: Array, values: Array) -> None:
        """part: n of the ring's entries, within a block; keys, values: (kv_heads, n, head_dim)."""
        self.keys[layer][:, :, part] = keys.transpose(0, 2, 1)
        self.values[layer][:, part] = values

    def block(self, index: int) -> slice:
        return slice(index * self.length, (index + 1) * self.length)


class _Context(_Ring):
    """Those blocks of a ring that the passes of a width attend to, `blocks` at most."""

    def __init__(self, model: VisualActionTransformer, ring: _Ring, blocks: int) -> None:
        super().__init__(model, blocks * ring.length)
        self.ring = ring
        self.held = np.full(blocks, -1)  # the ring's block in each place

    def see(self, past: NDArray[np.bool_]) -> NDArray[np.bool_]:
        by_block = past.reshape(len(past), -1, self.length)
        wanted = np.flatnonzero(by_block.any((0, 2)))
        missing, free = np.setdiff1d(wanted, self.held), np.flatnonzero(~np.isin(self.held, wanted))
        assert len(missing) <= len(free), f"{len(wanted)} blocks are attended to, {len(self.held)} can be held"
        for block, place in zip(missing, free, strict=False):
            here, there = self.block(int(place)), self.ring.block(int(block))
            self.keys[..., here] = self.ring.keys[..., there]
            self.values[:, :, here] = self.ring.values[:, :, there]
            self.held[place] = block
        return (by_block[:, self.held] & (self.held >= 0)[:, None]).reshape(len(past), -1)

    def write(self, layer: int, part: slice, keys: Array, values: Array) -> None:
        block, first = divmod(part.start, self.length)
        for place in np.flatnonzero(self.held == block):
            start = place * self.length + first
            super().write(layer, slice(start, start + part.stop - part.start), keys, values)


class OpenVinoBackend:
    """Twin of EagerBackend; a test compares them over a context that has rolled. int8: matrices and what they are
    multiplied with in 8 bits, which is faster and nearly as exact; else float32."""

    name = "openvino"

    def __init__(
        self, model: VisualActionTransformer, threads: int = 0, guided: bool = True, int8: bool = False
    ) -> None:
        self.requests = {}
        self.ring = ring_entries(model, guided)
        self.caches = [_Ring(model, self.ring)]  # and the contexts of the widths that do not read it itself
        self.cache_of: dict[int, _Ring] = {}
        self.inputs: dict[int, dict[str, Array]] = {}
        self.model, self.threads, self.guided, self.int8 = model, threads, guided, int8
        for width in pass_widths(model.layout):
            self._prepare(width)
        self.guided_widths = guided_widths(model.layout)  # not compiled before they are wanted

    def _cache(self, width: int) -> _Ring:
        """What the graph of a width reads: the ring, or a context with room for all that its passes attend to."""
        t, (ring, *contexts) = self.model.config.transformer, self.caches
        blocks = t.attended + self.guided
        if width in first_widths(self.model.layout):
            blocks = max(blocks, len(t.first_offsets))
        if blocks * ring.length >= ring.entries:
            return ring
        known = [context for context in contexts if context.entries == blocks * ring.length]
        if not known:
            known = [_Context(self.model, ring, blocks)]
            self.caches += known
        return known[0]

    def _prepare(self, width: int) -> None:
        t, cache = self.model.config.transformer, self._cache(width)
        request = _compile(build_pass(self.model, width, cache.entries, self.int8), self.threads)
        arrays = {
            "x": np.zeros((width, t.hidden), np.float32),
            "cos": np.zeros((1, width, t.head_dim // 2), np.float32),
            "sin": np.zeros((1, width, t.head_dim // 2), np.float32),
            "past": np.full((width, cache.entries), MASKED),
            "own": np.full((width, width), MASKED),
        }
        for name, array in arrays.items():
            request.set_tensor(name, ov.Tensor(array, shared_memory=True))
        for layer in range(t.layers):
            request.set_tensor(f"keys.{layer}", ov.Tensor(cache.keys[layer], shared_memory=True))
            request.set_tensor(f"values.{layer}", ov.Tensor(cache.values[layer], shared_memory=True))
        self.requests[width], self.inputs[width], self.cache_of[width] = request, arrays, cache

    def run(self, one: Pass) -> Array:
        n = len(one.x)
        width = min(w for w in (*self.requests, *self.guided_widths) if w >= n)
        if width not in self.requests:
            self._prepare(width)
        request, arrays = self.requests[width], self.inputs[width]
        arrays["x"][:n] = one.x
        arrays["cos"][0, :n], arrays["sin"][0, :n] = one.cos, one.sin
        arrays["past"][:n] = np.where(self.cache_of[width].see(one.past), np.float32(0), MASKED)
        # Padded rows see the pass's rows, so that their softmax is finite; nobody sees them.
        arrays["own"][:] = 0
        arrays["own"][:, n:] = MASKED
        arrays["own"][:n, :n] = np.where(one.own, np.float32(0), MASKED)
        request.infer()
        for layer in range(self.model.config.transformer.layers):
            keys = request.get_output_tensor(1 + 2 * layer).data
            values = request.get_output_tensor(2 + 2 * layer).data
            row = 0
            for part in one.slots:
                count = part.stop - part.start
                for cache in self.caches:
                    cache.write(layer, part, keys[:, row : row + count], values[:, row : row + count])
                row += count
        return request.get_output_tensor(0).data[one.logits].copy()


class OpenVinoPainter:
    """The image decoder as a compiled graph: tokens (places,) -> frame uint8 (H, W, 3)."""

    def __init__(self, tokenizer: ImageTokenizer, threads: int = 0) -> None:
        config = tokenizer.config
        self.grid = (config.grid_height, config.grid_width)
        self.codebook = tokenizer.quantizer.decode(torch.arange(config.codebook_size)).float().numpy()
        self.latents = np.zeros((1, config.code_dim, *self.grid), np.float32)
        self.request = _compile(build_image_decoder(tokenizer), threads)
        self.request.set_input_tensor(ov.Tensor(self.latents, shared_memory=True))

    def __call__(self, tokens: NDArray[np.integer]) -> Frame:
        self.latents[0] = self.codebook[tokens].reshape(*self.grid, -1).transpose(2, 0, 1)
        self.request.infer()
        return self.request.get_output_tensor(0).data[0].copy()
