"""OpenVINO engine: the same passes as the eager backend, as static graphs for a CPU with few cores.

Passes are padded to a few fixed widths; the ring cache lies in NumPy arrays that OpenVINO reads in place. Padded
rows are computed and thrown away: their keys are never written. The graphs are built in openvino_graphs.py.
"""

from __future__ import annotations

import os

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray

from worldmodel.engine.decoder import Array, ring_entries
from worldmodel.engine.openvino_graphs import build_image_decoder, build_pass, guided_widths, pass_widths
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.types import Frame

MASKED = np.float32(-1e9)


def _compile(graph: ov.Model, threads: int) -> ov.InferRequest:
    settings: dict[str, object] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # bf16 kernels would not agree with the eager engine
        "INFERENCE_NUM_THREADS": threads or os.cpu_count() or 1,
    }
    return ov.Core().compile_model(graph, "CPU", settings).create_infer_request()


class OpenVinoBackend:
    """Twin of EagerBackend; a test compares them over a context that has rolled."""

    name = "openvino"

    def __init__(self, model: VisualActionTransformer, threads: int = 0, guided: bool = True) -> None:
        t, layout = model.config.transformer, model.layout
        self.requests = {}
        self.ring = ring_entries(model, guided)
        shape = (t.kv_heads, self.ring, t.head_dim)
        # Keys lie transposed, as the product with the queries reads them.
        self.keys = [np.zeros((t.kv_heads, t.head_dim, self.ring), np.float32) for _ in range(t.layers)]
        self.values = [np.zeros(shape, np.float32) for _ in range(t.layers)]
        self.inputs: dict[int, dict[str, Array]] = {}
        self.model, self.threads = model, threads
        for width in pass_widths(layout):
            self._prepare(width)
        self.guided_widths = guided_widths(layout)  # not compiled before they are wanted

    def _prepare(self, width: int) -> None:
        t = self.model.config.transformer
        request = _compile(build_pass(self.model, width, self.ring), self.threads)
        arrays = {
            "x": np.zeros((width, t.hidden), np.float32),
            "cos": np.zeros((1, width, t.head_dim // 2), np.float32),
            "sin": np.zeros((1, width, t.head_dim // 2), np.float32),
            "past": np.full((width, self.ring), MASKED),
            "own": np.full((width, width), MASKED),
        }
        for name, array in arrays.items():
            request.set_tensor(name, ov.Tensor(array, shared_memory=True))
        for layer in range(t.layers):
            request.set_tensor(f"keys.{layer}", ov.Tensor(self.keys[layer], shared_memory=True))
            request.set_tensor(f"values.{layer}", ov.Tensor(self.values[layer], shared_memory=True))
        self.requests[width], self.inputs[width] = request, arrays

    def run(
        self,
        x: Array,
        cos: Array,
        sin: Array,
        past: NDArray[np.bool_],
        own: NDArray[np.bool_],
        slots: list[slice],
        logits: slice | NDArray[np.int64],
    ) -> Array:
        n = len(x)
        width = min(w for w in (*self.requests, *self.guided_widths) if w >= n)
        if width not in self.requests:
            self._prepare(width)
        request, arrays = self.requests[width], self.inputs[width]
        arrays["x"][:n] = x
        arrays["cos"][0, :n], arrays["sin"][0, :n] = cos, sin
        arrays["past"][:n] = np.where(past, np.float32(0), MASKED)
        # Padded rows see the pass's rows, so that their softmax is finite; nobody sees them.
        arrays["own"][:] = 0
        arrays["own"][:, n:] = MASKED
        arrays["own"][:n, :n] = np.where(own, np.float32(0), MASKED)
        request.infer()
        for layer in range(len(self.keys)):
            keys = request.get_output_tensor(1 + 2 * layer).data
            values = request.get_output_tensor(2 + 2 * layer).data
            row = 0
            for part in slots:
                count = part.stop - part.start
                self.keys[layer][:, :, part] = keys[:, row : row + count].transpose(0, 2, 1)
                self.values[layer][:, part] = values[:, row : row + count]
                row += count
        return request.get_output_tensor(0).data[logits].copy()


class OpenVinoDecoder:
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
