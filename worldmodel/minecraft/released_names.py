"""The tensors of MineWorld's released weights by their names there, and what each becomes here."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from worldmodel.checkpoint import CheckpointError, Streamed, shapes_of
from worldmodel.config import WorldModelConfig
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.tokenizers.image import ImageTokenizer

TRANSFORMER, TOKENIZER = "transformer.", "tokenizer."

Parts = Callable[[Tensor], list[Streamed]]


def published_name(name: str) -> str:
    """A tensor of our image tokenizer with a pyramid -> its name in a VQModel."""
    if name == "quantizer.codebook":
        return "quantize.embedding.weight"
    half, _, rest = name.partition(".")
    part, _, inner = rest.partition(".")
    ending = inner.rpartition(".")[2]
    plain = {
        ("encoder", "stem"): "encoder.conv_in",
        ("encoder", "norm"): "encoder.conv_norm_out",
        ("encoder", "to_latent"): "encoder.conv_out",
        ("encoder", "before_codes"): "quant_conv",
        ("decoder", "after_codes"): "post_quant_conv",
        ("decoder", "from_latent"): "decoder.conv_in",
        ("decoder", "norm"): "decoder.conv_norm_out",
        ("decoder", "to_pixels"): "decoder.conv_out",
    }
    if (half, part) in plain:
        return f"{plain[half, part]}.{ending}"
    words = [{"shortcut": "conv_shortcut"}.get(word, word) for word in inner.split(".")]
    if part == "middle":
        return f"{half}.mid_block.resnets.{'.'.join(words)}"
    level, what, *rest_words = words
    way, sampler = ("down", "downsamplers") if half == "encoder" else ("up", "upsamplers")
    if what == "resize":
        return f"{half}.{way}_blocks.{level}.{sampler}.0.conv.{ending}"
    return f"{half}.{way}_blocks.{level}.resnets.{'.'.join(rest_words)}"


def wanted_names(config: WorldModelConfig) -> dict[str, tuple[tuple[int, ...], Parts]]:
    """Every tensor of the released layout: its name -> its shape, and what becomes of it here."""
    wanted: dict[str, tuple[tuple[int, ...], Parts]] = {}

    def plain(name: str, shape: tuple[int, ...]) -> Parts:
        return lambda tensor: [_stream(name, shape, tensor)]

    for name, tensor in shapes_of(lambda: ImageTokenizer(config.image_tokenizer)).items():
        if name in ("quantizer.usage", "quantizer.sums"):  # of training: made from the codes
            continue
        shape, ours = tuple(tensor.shape), f"tokenizer.{name}"
        parts = _codebook if name == "quantizer.codebook" else plain(ours, shape)
        wanted[f"{TOKENIZER}model.{published_name(name)}"] = (shape, parts)
    for name, tensor in shapes_of(lambda: VisualActionTransformer(config)).items():
        shape, ours = tuple(tensor.shape), f"transformer.{name}"
        if name == "start":  # which a released order never reads
            continue
        if name == "lm_head.weight":  # only image codes are ever drawn
            whole = (config.action_tokenizer().vocabulary, shape[1])
            wanted[f"{TRANSFORMER}lm_head.weight"] = (whole, _head(ours, shape, config.transformer.hidden))
            continue
        published = name
        for part, inside in (
            ("self_attn", ("q_proj", "k_proj", "v_proj", "o_proj")),
            ("mlp", ("gate_proj", "up_proj")),
        ):
            for inner in inside:
                published = published.replace(f".{inner}.", f".{part}.{inner}.")
        published = published.replace(".down_proj.", ".mlp.down_proj.")
        wanted[f"{TRANSFORMER}model.{published}"] = (shape, plain(ours, shape))
    return wanted


def _stream(name: str, shape: tuple[int, ...], tensor: Tensor) -> Streamed:
    def make() -> Tensor:
        part = tensor[: shape[0]]
        if not torch.isfinite(part).all():
            raise CheckpointError(f"{name} holds numbers that are not finite (NaN or infinity)")
        return part

    return Streamed(name, shape, tensor.dtype, make)


def _codebook(tensor: Tensor) -> list[Streamed]:
    """The codes, and what a training would go on from: each used once."""
    shape = tuple(tensor.shape)
    ones = Streamed("tokenizer.quantizer.usage", shape[:1], tensor.dtype, lambda: tensor.new_ones(shape[0]))
    return [*(_stream(f"tokenizer.quantizer.{name}", shape, tensor) for name in ("codebook", "sums")), ones]


def _head(name: str, shape: tuple[int, ...], hidden: int) -> Parts:
    """Of the head, the rows of the image codes; and a start embedding of zeros, for a training in an order of ours."""

    def parts(tensor: Tensor) -> list[Streamed]:
        start = Streamed("transformer.start", (hidden,), tensor.dtype, lambda: tensor.new_zeros(hidden))
        return [_stream(name, shape, tensor), start]

    return parts
