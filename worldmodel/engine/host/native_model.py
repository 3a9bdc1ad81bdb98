"""A model as the native decoder takes it (kernels/cpu/model.h): its numbers, its tables, its weights by name; and an
image decoder. For the engine, and for a page that runs the same code."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from worldmodel.config import NORM_GROUPS
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.tokenizers.image import ImageDecoder, ImageTokenizer, ResidualBlock
from worldmodel.types import WorldModelError

TABLES = {
    "embedding": "embed_tokens.weight",
    "start": "start",
    "place": "place",
    "no_previous": "no_previous",
    "previous": "previous_proj.weight",
    "action": "action_proj.weight",
    "chain": "chain",
}
"""Fields that are float32 arrays -> parameters. A model need not have all of them."""
_LAYER = (
    "input_layernorm",
    *(f"{name}_proj" for name in "qkvo"),
    "post_attention_layernorm",
    *(f"{name}_proj" for name in ("gate", "up", "down")),
)


def weight_names(model: VisualActionTransformer) -> list[str]:
    """Parameters in the decoder's order."""
    layers = [f"layers.{index}.{name}.weight" for index in range(len(model.layers)) for name in _LAYER]
    return [*layers, "norm.weight", "lm_head.weight"]


def float_tables(model: VisualActionTransformer) -> dict[str, NDArray[np.float32] | None]:
    """Its fields that are float32 arrays."""
    parameters = dict(model.named_parameters())
    return {field: _array(parameters[name]) if name in parameters else None for field, name in TABLES.items()}


def float_weights(model: VisualActionTransformer) -> list[NDArray[np.float32]]:
    """Its weights in the decoder's order."""
    parameters = dict(model.named_parameters())
    return [_array(parameters[name]) for name in weight_names(model)]


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().float().cpu().numpy())


def model_numbers(model: VisualActionTransformer) -> dict[str, int | float]:
    """Its fields that are numbers, but for those that say how it is played."""
    t, layout = model.config.transformer, model.layout
    return {
        "hidden": t.hidden,
        "mlp": t.mlp,
        "layers": t.layers,
        "heads": t.heads,
        "kv_heads": t.kv_heads,
        "head_dim": t.head_dim,
        "image": layout.image,
        "length": layout.length,
        "tail": len(layout.tail),
        "window": t.window,
        "passes": len(layout.group_slots),
        "offsets": len(t.offsets),
        "parts": len(model.parts),
        "inputs": len(model.embed_tokens.weight),
        "epsilon": t.norm_eps,
    }


def layout_tables(model: VisualActionTransformer) -> dict[str, NDArray[np.int32]]:
    """Its fields that are int32 arrays."""
    layout = model.layout
    tables = {
        "sources": layout.sources,
        "places": layout.places,
        "tail_places": layout.tail,
        "ends": [part.stop for part in layout.group_slots],
        "offset": model.config.transformer.offsets,
        "sizes": model.parts,
    }
    return {name: np.ascontiguousarray(table, np.int32) for name, table in tables.items()}


def picture_numbers(tokenizer: ImageTokenizer) -> dict[str, int | float]:
    """The fields of a PictureModel that are numbers, but for those that say how it is run. WorldModelError for a
    tokenizer that has another decoder."""
    config, decoder = tokenizer.config, _decoder(tokenizer)
    deep, wide = config.decoder_channels
    return {
        "height": config.grid_height,
        "width": config.grid_width,
        "latent": config.code_dim,
        "deep": deep,
        "wide": wide,
        "lower": len(decoder.lower),
        "upper": len(decoder.upper),
        "groups": NORM_GROUPS,
        "epsilon": decoder.norm.eps,
    }


def picture_weights(tokenizer: ImageTokenizer) -> dict[str, torch.Tensor]:
    """Its weights by name, in order. A convolution's come as a matrix (taps * outputs, inputs)."""
    decoder, made = _decoder(tokenizer), {}

    def add(name: str, value: torch.Tensor) -> None:
        made[name] = value.detach().float().cpu().contiguous()

    def convolution(name: str, module: torch.nn.Conv2d) -> None:
        assert module.bias is not None, "the decoder's convolutions have biases"
        add(f"{name}.weight", module.weight.permute(2, 3, 0, 1).flatten(0, 2))
        add(f"{name}.bias", module.bias)

    def norm(name: str, module: torch.nn.GroupNorm) -> None:
        add(f"{name}.weight", module.weight)
        add(f"{name}.bias", module.bias)

    def blocks(name: str, modules: torch.nn.Sequential) -> None:
        for index, module in enumerate(modules):
            assert isinstance(module, ResidualBlock)
            norm(f"{name}.{index}.norm", module.norm)
            convolution(f"{name}.{index}.conv1", module.conv1)
            convolution(f"{name}.{index}.conv2", module.conv2)

    convolution("from_latent", decoder.from_latent)
    add("position", decoder.position[0].flatten(1).T)
    blocks("lower", decoder.lower)
    convolution("up", decoder.up)
    blocks("upper", decoder.upper)
    norm("norm", decoder.norm)
    convolution("to_pixels", decoder.to_pixels)
    add("bias", decoder.bias[0])
    return made


def _decoder(tokenizer: ImageTokenizer) -> ImageDecoder:
    if not isinstance(tokenizer.decoder, ImageDecoder):
        raise WorldModelError("this checkpoint's image tokenizer (a pyramid) has no native decoder yet")
    return tokenizer.decoder
