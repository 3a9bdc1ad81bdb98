"""The passes and the image decoder as OpenVINO models, built operation by operation from the modules' weights.

No exporter and no tracing: a graph stands in well under a second, and says exactly what runs. Each has its PyTorch
module as its twin, and a test that compares them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import openvino
import torch
from openvino import opset13

from worldmodel.model.layout import BlockLayout
from worldmodel.model.transformer import Layer, VisualActionTransformer
from worldmodel.tokenizers.image import NORM_GROUPS, ImageDecoder, ImageTokenizer, ResidualBlock

# OpenVINO's stubs do not know its own operators: both are used untyped here.
ov: Any = openvino
op: Any = opset13
Node = Any


def _parameter(name: str, *shape: int) -> Node:
    node = op.parameter(list(shape), ov.Type.f32, name=name)
    node.output(0).set_names({name})
    return node


def _constant(value: torch.Tensor) -> Node:
    return op.constant(value.detach().float().cpu().numpy())


def _integers(*values: int) -> Node:
    return op.constant(np.asarray(values, np.int64))


def _int8(weight: torch.Tensor) -> Node:
    """The same matrix in 8 bits, a scale a row. OpenVINO multiplies in 8 bits what is written like this."""
    scale = weight.detach().float().abs().amax(1, keepdim=True).clamp_min(1e-30) / 127
    whole = (weight.detach() / scale).round().to(torch.int8).cpu().numpy()
    return op.multiply(op.convert(op.constant(whole), "f32"), _constant(scale))


def _linear(x: Node, weight: torch.Tensor, int8: bool) -> Node:
    return op.matmul(x, (_int8 if int8 else _constant)(weight), False, True)


def pass_widths(layout: BlockLayout) -> tuple[int, ...]:
    """Compiled widths: the widest inner group, the first pass of a frame, and a whole block (prefill)."""
    groups = layout.order.groups
    return tuple(sorted({max(map(len, groups)), first_widths(layout)[0], layout.length}))


def first_widths(layout: BlockLayout) -> tuple[int, int]:
    """Widths of a frame's first pass, which also holds the last rows of the frame before: with one lane, and two."""
    width = layout.outro + len(layout.order.groups[0])
    return width, 2 * width


def guided_widths(layout: BlockLayout) -> tuple[int, ...]:
    """Widths of the passes of two lanes: a frame's inner ones and its first."""
    return 2 * max(map(len, layout.order.groups)), first_widths(layout)[1]


def build_pass(model: VisualActionTransformer, width: int, ring: int, int8: bool = False) -> openvino.Model:
    """One pass over `width` rows and a cache of `ring` entries as an OpenVINO model. int8: its matrices, else float32.

    Inputs: x (width, hidden); cos, sin (1, width, head_dim/2); past (width, ring) and own (width, width) additive
    masks; then keys (kv_heads, head_dim, ring) and values (kv_heads, ring, head_dim) of each layer. Outputs: logits
    (width, codes), then the new keys and values (kv_heads, width, head_dim) of each layer.
    """
    t = model.config.transformer
    groups, half = t.heads // t.kv_heads, t.head_dim // 2
    linear = partial(_linear, int8=int8)

    def rms_norm(x: Node, weight: torch.Tensor) -> Node:
        mean = op.reduce_mean(op.multiply(x, x), _integers(-1), keep_dims=True)
        scale = op.sqrt(op.add(mean, op.constant(np.float32(t.norm_eps))))
        return op.multiply(op.divide(x, scale), _constant(weight))

    def heads(x: Node, count: int) -> Node:  # (width, count * D) -> (count, width, D)
        shaped = op.reshape(x, _integers(width, count, t.head_dim), False)
        return op.transpose(shaped, _integers(1, 0, 2))

    x_in = _parameter("x", width, t.hidden)
    cos, sin = _parameter("cos", 1, width, half), _parameter("sin", 1, width, half)
    past, own = _parameter("past", width, ring), _parameter("own", width, width)
    inputs = [x_in, cos, sin, past, own]
    results = []

    def rotate(x: Node) -> Node:
        a, b = op.split(x, op.constant(np.int64(2)), 2).outputs()
        first = op.subtract(op.multiply(a, cos), op.multiply(b, sin))
        second = op.add(op.multiply(b, cos), op.multiply(a, sin))
        return op.concat([first, second], 2)

    # Query heads that share a key head are packed as rows: (kv_heads, groups * width, D).
    tile = _integers(groups, 1)
    past_rows, own_rows = op.tile(past, tile), op.tile(own, tile)
    packed = _integers(t.kv_heads, groups * width, t.head_dim)
    x = x_in
    for index, layer in enumerate(model.layers):
        assert isinstance(layer, Layer)
        keys = _parameter(f"keys.{index}", t.kv_heads, t.head_dim, ring)
        values = _parameter(f"values.{index}", t.kv_heads, ring, t.head_dim)
        inputs += [keys, values]
        h = rms_norm(x, layer.input_layernorm.weight)
        weights = [layer.q_proj.weight * t.head_dim**-0.5, layer.k_proj.weight, layer.v_proj.weight]
        joint = linear(h, torch.cat(weights))
        q, k, v = op.variadic_split(
            joint, op.constant(np.int64(1)), _integers(*(len(weight) for weight in weights))
        ).outputs()
        q, k = rotate(heads(q, t.heads)), rotate(heads(k, t.kv_heads))
        v = heads(v, t.kv_heads)
        q = op.reshape(q, packed, False)
        scores = op.concat(
            [op.add(op.matmul(q, keys, False, False), past_rows), op.add(op.matmul(q, k, False, True), own_rows)], 2
        )
        share_past, share_own = op.variadic_split(
            op.softmax(scores, 2), op.constant(np.int64(2)), _integers(ring, width)
        ).outputs()
        mixed = op.add(op.matmul(share_past, values, False, False), op.matmul(share_own, v, False, False))
        mixed = op.reshape(mixed, _integers(t.heads, width, t.head_dim), False)
        mixed = op.transpose(mixed, _integers(1, 0, 2))
        mixed = op.reshape(mixed, _integers(width, t.heads * t.head_dim), False)
        x = op.add(x, linear(mixed, layer.o_proj.weight))
        h = rms_norm(x, layer.post_attention_layernorm.weight)
        x = op.add(
            x,
            linear(
                op.multiply(op.swish(linear(h, layer.gate_proj.weight)), linear(h, layer.up_proj.weight)),
                layer.down_proj.weight,
            ),
        )
        results += [k, v]
    logits = linear(rms_norm(x, model.norm.weight), model.lm_head.weight)
    return ov.Model([op.result(node) for node in [logits, *results]], inputs, f"pass{width}")


def build_image_decoder(tokenizer: ImageTokenizer) -> openvino.Model:
    """Quantised latents (1, code_dim, h, w) -> frame uint8 (1, H, W, 3). Twin of ImageDecoder and to_frames."""
    config, decoder = tokenizer.config, tokenizer.decoder
    assert isinstance(decoder, ImageDecoder), "a pyramid is decoded by PyTorch"

    def convolution(x: Node, module: torch.nn.Conv2d) -> Node:
        pad = [module.kernel_size[0] // 2] * 2
        out = op.convolution(x, _constant(module.weight), [1, 1], pad, pad, [1, 1])
        assert module.bias is not None, "the decoder's convolutions have biases"
        return op.add(out, _constant(module.bias.view(1, -1, 1, 1)))

    def norm(x: Node, module: torch.nn.GroupNorm) -> Node:
        return op.group_normalization(x, _constant(module.weight), _constant(module.bias), NORM_GROUPS, module.eps)

    def block(x: Node, module: ResidualBlock) -> Node:
        inner = op.swish(convolution(norm(x, module.norm), module.conv1))
        return op.add(x, convolution(inner, module.conv2))

    latents = _parameter("latents", 1, config.code_dim, config.grid_height, config.grid_width)
    x = op.add(convolution(latents, decoder.from_latent), _constant(decoder.position))
    for module in decoder.lower:
        assert isinstance(module, ResidualBlock)
        x = block(x, module)
    x = op.depth_to_space(convolution(x, decoder.up), "depth_first", 2)  # PixelShuffle
    for module in decoder.upper:
        assert isinstance(module, ResidualBlock)
        x = block(x, module)
    x = convolution(op.swish(norm(x, decoder.norm)), decoder.to_pixels)
    x = op.add(op.depth_to_space(x, "depth_first", 8), _constant(decoder.bias))
    x = op.multiply(op.add(x, op.constant(np.float32(1))), op.constant(np.float32(127.5)))
    x = op.clamp(op.round(x, "half_to_even"), 0.0, 255.0)
    x = op.transpose(x, _integers(0, 2, 3, 1))
    return ov.Model([op.result(op.convert(x, "u8"))], [latents], "image_decoder")
