"""OpenVINO backend: the same passes as the eager one, as static graphs for a CPU with few cores.

The graph of a pass is built here from the module's weights, operation by operation (no exporter). Passes are
padded to a few fixed widths; the ring cache lies in NumPy arrays that OpenVINO reads in place. Padded rows are
computed and thrown away: their keys are never written. Telemetry is switched off before OpenVINO is imported.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from worldmodel.engine.decoder import Array
from worldmodel.model.layout import BlockLayout
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.tokenizers.image import ImageTokenizer

MASKED = np.float32(-1e9)


def _core():  # noqa: ANN202
    import openvino  # heavy, optional: only where this engine is chosen

    return openvino.Core()


def _settings(cache: Path | None, threads: int) -> dict[str, object]:
    settings: dict[str, object] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # bf16 kernels would not agree with the eager engine
        "INFERENCE_NUM_THREADS": threads,
    }
    if cache is not None:
        settings["CACHE_DIR"] = str(cache)
    return settings


def pass_widths(layout: BlockLayout) -> tuple[int, ...]:
    """Compiled widths: the widest inner group, the first pass of a frame, and a whole block (prefill)."""
    groups = layout.order.groups
    return tuple(sorted({max(map(len, groups)), layout.outro + len(groups[0]), layout.length}))


def build_pass(model: VisualActionTransformer, width: int):  # noqa: ANN201
    """One pass over `width` rows as an OpenVINO model.

    Inputs: x (width, hidden); cos, sin (1, width, head_dim/2); past (width, ring) and own (width, width) additive
    masks; then keys and values (kv_heads, ring, head_dim) of each layer. Outputs: logits (width, codes), then the new
    keys and values (kv_heads, width, head_dim) of each layer.
    """
    import openvino as ov
    from openvino import opset13 as op

    t = model.config.transformer
    ring = t.window * model.layout.length
    groups, half = t.heads // t.kv_heads, t.head_dim // 2

    def parameter(name: str, *shape: int):  # noqa: ANN202
        node = op.parameter(list(shape), ov.Type.f32, name=name)
        node.output(0).set_names({name})
        return node

    def constant(value: torch.Tensor):  # noqa: ANN202
        return op.constant(value.detach().float().cpu().numpy())

    def linear(x, weight: torch.Tensor):  # noqa: ANN001, ANN202
        return op.matmul(x, constant(weight), False, True)

    def rms_norm(x, weight: torch.Tensor):  # noqa: ANN001, ANN202
        mean = op.reduce_mean(op.multiply(x, x), op.constant(np.int64([-1])), keep_dims=True)
        scale = op.sqrt(op.add(mean, op.constant(np.float32(t.norm_eps))))
        return op.multiply(op.divide(x, scale), constant(weight))

    def heads(x, count: int):  # noqa: ANN001, ANN202 - (width, count * D) -> (count, width, D)
        shaped = op.reshape(x, op.constant(np.int64([width, count, t.head_dim])), False)
        return op.transpose(shaped, op.constant(np.int64([1, 0, 2])))

    x_in = parameter("x", width, t.hidden)
    cos, sin = parameter("cos", 1, width, half), parameter("sin", 1, width, half)
    past, own = parameter("past", width, ring), parameter("own", width, width)
    inputs = [x_in, cos, sin, past, own]
    results = []

    def rotate(x):  # noqa: ANN001, ANN202
        a, b = op.split(x, op.constant(np.int64(2)), 2).outputs()
        first = op.subtract(op.multiply(a, cos), op.multiply(b, sin))
        second = op.add(op.multiply(b, cos), op.multiply(a, sin))
        return op.concat([first, second], 2)

    # Query heads that share a key head are packed as rows: (kv_heads, groups * width, D).
    tile = op.constant(np.int64([groups, 1]))
    past_rows, own_rows = op.tile(past, tile), op.tile(own, tile)
    packed = op.constant(np.int64([t.kv_heads, groups * width, t.head_dim]))
    x = x_in
    for index, layer in enumerate(model.layers):
        keys = parameter(f"keys.{index}", t.kv_heads, ring, t.head_dim)
        values = parameter(f"values.{index}", t.kv_heads, ring, t.head_dim)
        inputs += [keys, values]
        h = rms_norm(x, layer.input_layernorm.weight)
        q = rotate(heads(linear(h, layer.q_proj.weight * t.head_dim**-0.5), t.heads))
        k = rotate(heads(linear(h, layer.k_proj.weight), t.kv_heads))
        v = heads(linear(h, layer.v_proj.weight), t.kv_heads)
        q = op.reshape(q, packed, False)
        scores = op.concat(
            [op.add(op.matmul(q, keys, False, True), past_rows), op.add(op.matmul(q, k, False, True), own_rows)], 2
        )
        share_past, share_own = op.variadic_split(
            op.softmax(scores, 2), op.constant(np.int64(2)), op.constant(np.int64([ring, width]))
        ).outputs()
        mixed = op.add(op.matmul(share_past, values, False, False), op.matmul(share_own, v, False, False))
        mixed = op.reshape(mixed, op.constant(np.int64([t.heads, width, t.head_dim])), False)
        mixed = op.transpose(mixed, op.constant(np.int64([1, 0, 2])))
        mixed = op.reshape(mixed, op.constant(np.int64([width, t.heads * t.head_dim])), False)
        x = op.add(x, linear(mixed, layer.o_proj.weight))
        h = rms_norm(x, layer.post_attention_layernorm.weight)
        x = op.add(x, linear(op.multiply(op.swish(linear(h, layer.gate_proj.weight)), linear(h, layer.up_proj.weight)), layer.down_proj.weight))
        results += [k, v]
    logits = linear(rms_norm(x, model.norm.weight), model.lm_head.weight)
    return ov.Model([op.result(node) for node in [logits, *results]], inputs, f"pass{width}")


class OpenVinoBackend:
    """Twin of EagerBackend; a test compares them over a context that has rolled."""

    name = "openvino"

    def __init__(self, model: VisualActionTransformer, threads: int = 0, cache: Path | None = None) -> None:
        t, layout = model.config.transformer, model.layout
        core = _core()
        settings = _settings(cache, threads or os.cpu_count() or 1)
        self.requests = {}
        self.ring = t.window * layout.length
        shape = (t.kv_heads, self.ring, t.head_dim)
        self.keys = [np.zeros(shape, np.float32) for _ in range(t.layers)]
        self.values = [np.zeros(shape, np.float32) for _ in range(t.layers)]
        self.inputs: dict[int, dict[str, Array]] = {}
        import openvino as ov

        for width in pass_widths(layout):
            compiled = core.compile_model(build_pass(model, width), "CPU", settings)
            request = compiled.create_infer_request()
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
        logits: slice,
    ) -> Array:
        n = len(x)
        width = min(w for w in self.requests if w >= n)
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
                self.keys[layer][:, part] = keys[:, row : row + count]
                self.values[layer][:, part] = values[:, row : row + count]
                row += count
        return request.get_output_tensor(0).data[logits].copy()


class OpenVinoDecoder:
    """The image decoder as a compiled graph: codes (tokens,) -> frame uint8 (H, W, 3)."""

    def __init__(self, tokenizer: ImageTokenizer, threads: int = 0, cache: Path | None = None) -> None:
        import openvino as ov

        config = tokenizer.config
        example = torch.zeros(1, config.code_dim, config.grid_height, config.grid_width)
        graph = ov.convert_model(_PixelOutput(tokenizer), example_input=example, input=[tuple(example.shape)])
        self.tokenizer = tokenizer
        self.request = _core().compile_model(graph, "CPU", _settings(cache, threads or os.cpu_count() or 1)).create_infer_request()

    @torch.inference_mode()
    def __call__(self, tokens: NDArray[np.integer]) -> NDArray[np.uint8]:
        config = self.tokenizer.config
        grid = torch.from_numpy(tokens.astype(np.int64)).view(1, config.grid_height, config.grid_width)
        latents = self.tokenizer.quantizer.decode(grid).permute(0, 3, 1, 2).contiguous().numpy()
        out = self.request.infer({0: latents})[0]
        return np.ascontiguousarray(out[0].astype(np.uint8))


class _PixelOutput(torch.nn.Module):
    """latents (1, D, h, w) -> rounded, clamped pixel values (1, H, W, 3) as float."""

    def __init__(self, tokenizer: ImageTokenizer) -> None:
        super().__init__()
        self.decoder = tokenizer.decoder

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return ((self.decoder(latents) + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1)
