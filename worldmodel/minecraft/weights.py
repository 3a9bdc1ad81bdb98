"""MineWorld's released weights, as a checkpoint of ours: `worldmodel import-mineworld`.

A `.ckpt` is a PyTorch file with the transformer in Llama's layout (`transformer.model.*`, `transformer.lm_head.weight`)
and the image tokenizer in that of the diffusers library's VQModel (`tokenizer.model.*`); the tokenizer's own file
(`vae.ckpt`) has the latter as `model.*`. Such files are read with weights_only=True, the YAML with a safe loader:
nothing in them is run. Tensors stay in their file until each is written, so that memory holds no second copy.

Sources: the names in microsoft/mineworld's and huggingface/diffusers' own files; arXiv 2504.08388 for the sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worldmodel.checkpoint import (
    CheckpointError,
    Streamed,
    config_to_dict,
    read_weights_only,
    shapes_of,
    stream_checkpoint,
    tensors_by_name,
)
from worldmodel.config import (
    MINEWORLD_PYRAMID,
    PRESETS,
    PYRAMID_GROUPS,
    ImageTokenizerConfig,
    TransformerConfig,
    WorldModelConfig,
)
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.parsing import quoted, read_json, read_text
from worldmodel.tokenizers.action import ACTION_VOCABULARY, TOKENS_PER_ACTION
from worldmodel.tokenizers.image import ImageTokenizer

STATE = "state_dict"
TRANSFORMER, LAYERS, TOKENIZER = "transformer.", "transformer.model.layers.", "tokenizer."
RESAVE = "; what else it holds is not read: save its tensors alone, with torch.save({'state_dict': state}, FILE)"
KINDS = (torch.float32, torch.float16, torch.bfloat16)
MAX_YAML_BYTES = 64 << 10  # the released one has one thousand; its loader is slow
SHOWN = 8  # names of tensors that an error lists of each kind
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
class Files:
    """model: the .ckpt; tokenizer: the image tokenizer's own, or None for the one in the model's; tokenizer_config: its
    config.json; config: the model's YAML. Of what is not given, the shapes tell the sizes."""

    model: Path
    tokenizer: Path | None = None
    tokenizer_config: Path | None = None
    config: Path | None = None


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


def import_weights(files: Files, reading: Reading, out: Path, drop_extra: bool = False) -> WorldModelConfig:
    """Writes the checkpoint `out` and returns its configuration. All names and shapes are compared before anything is
    written. drop_extra: leaves tensors out that are none of the model's.

    CheckpointError for a file that cannot be read, that holds anything but weights, or whose tensors are not the
    model's: missing, extra and misshapen ones are listed.
    """
    state = read_state(files.model)
    if files.tokenizer is not None:
        inside = read_state(files.tokenizer)
        state = {name: tensor for name, tensor in state.items() if not name.startswith(TOKENIZER)}
        state |= {f"{TOKENIZER}{name}": tensor for name, tensor in inside.items()}
    where = " and ".join(str(path) for path in (files.model, files.tokenizer) if path is not None)
    image = image_config(state, files.tokenizer_config, reading, where)
    config = model_config(state, files.config, image, reading, where)
    wanted = wanted_names(config)
    found = {name: tensor.shape for name, tensor in state.items()}
    if problem := differences(found, {name: shape for name, (shape, _) in wanted.items()}, drop_extra):
        raise CheckpointError(f"{where}: {problem}")
    for name in wanted:
        if state[name].dtype not in KINDS:
            raise CheckpointError(f"{where}: {name} is {state[name].dtype}, a floating-point type is needed")
    tensors = [part for name, (_, parts) in wanted.items() for part in parts(state[name])]
    sampling = {"temperature": 1.0, "top_p": 0.8}  # of the paper's evaluation
    stream_checkpoint(out, {"model": config_to_dict(config), "sampling": sampling}, tensors)
    return config


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a .ckpt: its "state_dict", or all of it. Nothing is read of them but their shapes."""
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    held = read_weights_only(path, RESAVE)
    if isinstance(held, dict) and STATE in held:
        held = held[STATE]
    return tensors_by_name(held, path)


def differences(found: Mapping[str, Any], wanted: Mapping[str, tuple[int, ...]], drop_extra: bool) -> str:
    """What is wrong with the tensors of a file, by name; "" if nothing is."""
    missing = [name for name in wanted if name not in found]
    extra = [] if drop_extra else [name for name in found if name not in wanted]
    misshapen = [
        f"{name} {tuple(found[name])} instead of {shape}"
        for name, shape in wanted.items()
        if name in found and tuple(found[name]) != shape
    ]
    parts = [_listed(what, names) for what, names in (("missing", missing), ("misshapen", misshapen)) if names]
    if extra:
        parts.append(f"{_listed('extra', extra)} (--drop-extra leaves them out)")
    return "; ".join(parts)


def _listed(what: str, names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {what} tensors: {', '.join(names[:SHOWN])}{more}"


# The image tokenizer


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


# The transformer


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
        raise CheckpointError(
            f"{path}: not plain YAML ({str(error).splitlines()[0] or type(error).__name__})"
        ) from None
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


Parts = Callable[[Tensor], list[Streamed]]


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
