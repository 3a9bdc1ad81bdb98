"""The image decoder as an ONNX graph: a frame's tokens in, its pixels out. Twin of ImageTokenizer.decode and to_frames;
a test compares them."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import TensorProto

from worldmodel.tokenizers.image import NORM_GROUPS, ImageDecoder, ImageTokenizer, ResidualBlock
from worldmodel.tokenizers.quantizers import FiniteScalarQuantizer
from worldmodel.types import WorldModelError
from worldmodel.web.graph import Bits, Graph


def build_image_decoder(tokenizer: ImageTokenizer, bits: Bits = 8) -> onnx.ModelProto:
    """Input "tokens": int32 (places,), row by row; output "pixels": uint8 (H, W, 3), RGB.

    bits: what the convolutions' weights are stored in. WorldModelError for a tokenizer that has another decoder.
    """
    config, decoder = tokenizer.config, tokenizer.decoder
    if not isinstance(decoder, ImageDecoder):
        raise WorldModelError("this checkpoint's image tokenizer (a pyramid) cannot be exported for the browser yet")
    graph = Graph("image_decoder", bits)

    def convolution(x: str, module: torch.nn.Conv2d) -> str:
        assert module.bias is not None, "the decoder's convolutions have biases"
        pads = [module.kernel_size[0] // 2] * 4
        return graph.op("Conv", x, graph.matrix(module.weight), graph.constant(module.bias), pads=pads)

    def norm(x: str, module: torch.nn.GroupNorm) -> str:
        scale, bias = graph.constant(module.weight), graph.constant(module.bias)
        return graph.op("GroupNormalization", x, scale, bias, num_groups=NORM_GROUPS, epsilon=module.eps)

    def blocks(x: str, modules: torch.nn.Sequential) -> str:
        for module in modules:
            assert isinstance(module, ResidualBlock)
            inner = graph.swish(convolution(norm(x, module.norm), module.conv1))
            x = graph.op("Add", x, convolution(inner, module.conv2))
        return x

    tokens = graph.input("tokens", np.int32, config.tokens_per_frame)
    latents = graph.op("Transpose", _latents(graph, tokenizer, tokens), perm=[1, 0])
    latents = graph.op("Reshape", latents, graph.integers(1, -1, config.grid_height, config.grid_width))
    x = graph.op("Add", convolution(latents, decoder.from_latent), graph.table(decoder.position))
    x = convolution(blocks(x, decoder.lower), decoder.up)
    x = blocks(graph.op("DepthToSpace", x, blocksize=2, mode="CRD"), decoder.upper)  # PixelShuffle
    x = convolution(graph.swish(norm(x, decoder.norm)), decoder.to_pixels)
    x = graph.op("Add", graph.op("DepthToSpace", x, blocksize=8, mode="CRD"), graph.table(decoder.bias))
    x = graph.op("Mul", graph.op("Add", x, graph.constant(1)), graph.constant(127.5))
    x = graph.op("Clip", graph.op("Round", x), graph.constant(0), graph.constant(255))
    x = graph.op("Squeeze", graph.op("Transpose", x, perm=[0, 2, 3, 1]), graph.integers(0))
    pixels = graph.op("Cast", x, to=TensorProto.UINT8)
    graph.output(pixels, "pixels", TensorProto.UINT8, config.height, config.width, 3)
    return graph.model()


def _latents(graph: Graph, tokenizer: ImageTokenizer, tokens: str) -> str:
    """(places,) -> (places, code_dim)."""
    quantizer = tokenizer.quantizer
    if not isinstance(quantizer, FiniteScalarQuantizer):
        codes = torch.arange(tokenizer.config.codebook_size)
        return graph.op("Gather", graph.table(quantizer.decode(codes)), tokens, axis=0)
    levels = np.asarray(quantizer.levels, np.int32)
    steps = np.concatenate([[1], levels[:-1].cumprod()])
    column = graph.op("Unsqueeze", tokens, graph.integers(1))
    digits = graph.op("Mod", graph.op("Div", column, graph.constant(steps, np.int32)), graph.constant(levels, np.int32))
    scaled = graph.op("Mul", graph.op("Cast", digits, to=TensorProto.FLOAT), graph.constant(2 / (levels - 1)))
    return graph.op("Sub", scaled, graph.constant(1))
