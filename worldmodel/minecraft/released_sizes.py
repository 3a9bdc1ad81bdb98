"""The configuration of MineWorld's released weights: of their shapes, their YAML and their tokenizer's config.json."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor

from worldmodel.checkpoint import CheckpointError
from worldmodel.config import (
    MINEWORLD_PYRAMID,
    PRESETS,
    PYRAMID_GROUPS,
    ImageTokenizerConfig,
    TransformerConfig,
    WorldModelConfig,
)
from worldmodel.minecraft.released_names import TOKENIZER, TRANSFORMER
from worldmodel.parsing import quoted, read_json, read_text
from worldmodel.tokenizers.action import ACTION_VOCABULARY, TOKENS_PER_ACTION

LAYERS = f"{TRANSFORMER}model.layers."
MOST_REASON = 200  # characters of what the YAML's reader says
MAX_YAML_BYTES = 64 << 10  # the released one has one thousand; its loader is slow
HEAD_DIM = 64
IN_YAML = ("model", "params", "transformer_config", "params")
# Of the YAML (Llama's names) and ours.
SIZES = {
    "hidden_size": "hidden",
    "intermediate_size": "mlp",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "num_key_value_heads": "kv_heads",
    "head_dim": "head_dim",
    "rms_norm_eps": "norm_eps",
}
# Of a VQModel's config.json, what must be so: it is how ours is built.
FIXED = {
    "in_channels": 3,
    "out_channels": 3,
    "act_fn": "silu",
    "norm_num_groups": PYRAMID_GROUPS,
    "norm_type": "group",
    "mid_block_add_attention": False,
}


@dataclass(frozen=True, slots=True)
class Reading:
    """How the weights are to be read, which nothing in them says. See WorldModelConfig."""

    order: str = "released-diagonal-1"
    stand_in: str = "frame-before"
    keep: int = 8
    action_lead: int = 0
    legacy_camera: bool = True
    height: int = 224
    width: int = 384


def image_config(state: Mapping[str, Tensor], path: Path | None, reading: Reading, where: str) -> ImageTokenizerConfig:
    """From the tokenizer's config.json, or from the tensors' shapes."""
    codes, dim = _shape(state, f"{TOKENIZER}model.quantize.embedding.weight", 2, where)
    pyramid, blocks = MINEWORLD_PYRAMID, (2, 3)
    if path is not None:
        values = read_json(path, CheckpointError, MAX_YAML_BYTES)
        if not isinstance(values, dict):
            raise CheckpointError(f"{path}: expected an object, got {quoted(values)}")
        for name, needed in FIXED.items():
            if name in values and values[name] != needed:
                raise CheckpointError(f"{path}: {name} is {quoted(values[name])}, only {quoted(needed)} is read")
        embedded = values.get("vq_embed_dim") or values.get("latent_channels", dim)
        for name, told, own in (
            ("num_vq_embeddings", values.get("num_vq_embeddings", codes), codes),
            ("latent_channels", values.get("latent_channels", dim), dim),
            ("vq_embed_dim", embedded, dim),
        ):
            if told != own:
                raise CheckpointError(f"{path}: {name} is {quoted(told)}, but the weights have {own}")
        channels, layers = values.get("block_out_channels", list(pyramid)), values.get("layers_per_block", 2)
        if not isinstance(channels, list) or not isinstance(layers, int) or isinstance(layers, bool):
            raise CheckpointError(f"{path}: block_out_channels and layers_per_block must be a list and a whole number")
        pyramid, blocks = tuple(channels), (layers, layers + 1)
    return ImageTokenizerConfig(
        height=reading.height,
        width=reading.width,
        quantizer="nearest",
        vq_codes=codes,
        vq_dim=dim,
        pyramid=pyramid,
        pyramid_blocks=blocks,
    )


def model_config(
    state: Mapping[str, Tensor], path: Path | None, image: ImageTokenizerConfig, reading: Reading, where: str
) -> WorldModelConfig:
    """Sizes from the tensors, which the YAML has to agree with; what they do not tell, from the YAML."""
    block = image.tokens_per_frame + TOKENS_PER_ACTION
    vocabulary, hidden = _shape(state, f"{TRANSFORMER}model.embed_tokens.weight", 2, where)
    if vocabulary != image.codebook_size + ACTION_VOCABULARY:
        raise CheckpointError(
            f"{where}: a vocabulary of {vocabulary}, but {image.codebook_size} codes and {ACTION_VOCABULARY} action "
            f"tokens make {image.codebook_size + ACTION_VOCABULARY}"
        )
    told = yaml_sizes(path) if path is not None else {}
    head_dim = int(told.get("head_dim", hidden // told["heads"] if told.get("heads") else HEAD_DIM))
    numbers = [name.removeprefix(LAYERS).partition(".")[0] for name in state if name.startswith(LAYERS)]
    if head_dim < 1 or not numbers or not all(number.isdigit() for number in numbers):
        raise CheckpointError(f"{where}: no transformer of a known layout in it ({LAYERS}N.*)")
    first = f"{LAYERS}0."
    sizes: dict[str, Any] = {
        "hidden": hidden,
        "mlp": _shape(state, f"{first}mlp.gate_proj.weight", 2, where)[0],
        "layers": len(set(numbers)),
        "heads": _shape(state, f"{first}self_attn.q_proj.weight", 2, where)[0] // head_dim,
        "kv_heads": _shape(state, f"{first}self_attn.k_proj.weight", 2, where)[0] // head_dim,
        "head_dim": head_dim,
    }
    for name, value in sizes.items():
        if name in told and told[name] != value:
            raise CheckpointError(f"{path}: {name} is {told[name]:g}, but the weights have {value}")
    frames = int(told.get("positions", 0)) // block or PRESETS["mineworld-300m"].transformer.window
    transformer = TransformerConfig(
        **sizes,
        norm_eps=told.get("norm_eps", 1e-5),
        offsets=tuple(range(1, frames)),
        rotary="sequence",
        rotary_theta=(told.get("theta", 10000.0),),
        previous_frame=False,
        action_input=False,
        place_embedding=False,
    )
    return replace(
        WorldModelConfig(image, transformer, tick_rate=20.0, game="minecraft"),
        order=reading.order,
        stand_in=reading.stand_in,
        keep=min(reading.keep, frames // 2),
        action_lead=reading.action_lead,
        legacy_camera=reading.legacy_camera,
    )


def yaml_sizes(path: Path) -> dict[str, float]:
    """The transformer's sizes in MineWorld's YAML, by our names. CheckpointError for another YAML."""
    try:
        yaml: Any = import_module("yaml")
    except ImportError:
        raise CheckpointError(
            "reading a YAML needs one more package: pip install pyyaml, or leave --config out"
        ) from None
    text = read_text(path, CheckpointError, MAX_YAML_BYTES)
    try:
        values: Any = yaml.load(text, _plain_loader(yaml))
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:MOST_REASON]
        raise CheckpointError(f"{path}: not plain YAML ({reason})") from None
    for depth, name in enumerate(IN_YAML):
        values = values.get(name) if isinstance(values, dict) else None
        if not isinstance(values, dict):
            raise CheckpointError(f"{path}: no {'.'.join(IN_YAML[: depth + 1])} in it: is it the model's YAML?")
    names = {**SIZES, "rope_theta": "theta", "max_position_embeddings": "positions"}
    return {
        ours: _number(values[name], f"{path}: {name}") for name, ours in names.items() if values.get(name) is not None
    }


def _plain_loader(yaml: Any) -> Any:
    """A safe loader without aliases: nine lists, each of nine of the one before, are a billion of what is in them."""

    class Plain(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("an alias, which stands for another place, is not read")
            return super().compose_node(parent, index)

    return Plain


def _number(value: Any, where: str) -> float:
    """A number of YAML, which takes 1e-5 for a text."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and 0 < number < 1e9):
        raise CheckpointError(f"{where} must be a number above 0, got {quoted(value)}")
    return int(number) if number.is_integer() else number


def _shape(state: Mapping[str, Tensor], name: str, axes: int, where: str) -> tuple[int, ...]:
    if name not in state or state[name].ndim != axes:
        raise CheckpointError(f"{where}: no tensor {name} of {axes} axes in it: is it MineWorld's file?")
    return tuple(state[name].shape)
