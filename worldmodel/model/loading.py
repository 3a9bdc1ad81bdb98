"""Loads checkpoint folders into modules. The configuration is read and checked before any weight."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from kernels.sampling import Sampler
from worldmodel.checkpoint import (
    CheckpointError,
    config_from_dict,
    config_to_dict,
    load_module,
    read_config,
    tokenizer_hash,
    write_checkpoint,
)
from worldmodel.config import ImageTokenizerConfig, WorldModelConfig
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.tokenizers.action import TOKENS_PER_ACTION
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.types import StartScene
from worldmodel.writing import written

STARTS_FILE = "starts.safetensors"
MAX_STARTS_BYTES = 64 << 20
# Of a checkpoint's "sampling" before there was one guidance for all actions.
FORMER_SETTINGS = ("work_temperature", "move_guidance", "walk_guidance", "sprint_guidance")


@dataclass(frozen=True, slots=True)
class WorldModel:
    """config, image tokenizer and transformer of one checkpoint, in float32 and eval mode."""

    config: WorldModelConfig
    tokenizer: ImageTokenizer
    transformer: VisualActionTransformer


def load_tokenizer(folder: Path, known: str = "") -> ImageTokenizer:
    """The image tokenizer of a tokenizer's or a world model's folder.

    known: hash of the one that is needed (`tokenizer_hash`; "": any). CheckpointError if this is another.
    """
    config = read_config(folder)
    if "model" in config:
        tokenizer_config = config_from_dict(WorldModelConfig, config["model"], str(folder)).image_tokenizer
    elif "image_tokenizer" in config:
        tokenizer_config = config_from_dict(ImageTokenizerConfig, config["image_tokenizer"], str(folder))
    else:
        raise CheckpointError(f"{folder}: its config.json describes no image tokenizer")
    tokenizer = load_module(folder, "tokenizer", lambda: ImageTokenizer(tokenizer_config))
    if known and known != tokenizer_hash(tokenizer):
        raise CheckpointError(
            f"the recording was made with another image tokenizer ({known[:12]}) than that of {folder}: "
            "it needs the checkpoint that it was made with (--world)"
        )
    return tokenizer


def load_config(folder: Path) -> WorldModelConfig:
    config = read_config(folder)
    if "model" not in config:
        held = "an inverse dynamics model" if "idm" in config else "an image tokenizer"
        raise CheckpointError(f"{folder} holds {held} alone; a world model is needed here")
    return config_from_dict(WorldModelConfig, config["model"], str(folder))


def load_sampler(folder: Path) -> Sampler:
    """How a checkpoint's tokens are best drawn: the "sampling" of its config.json, as far as there is one.

    CheckpointError for a setting that no longer is one, where it was used.
    """
    sampling = read_config(folder).get("sampling", {})
    if isinstance(sampling, dict):
        used = [name for name in FORMER_SETTINGS if sampling.get(name)]
        if used:
            raise CheckpointError(
                f"{folder}: sampling: {' and '.join(used)}: there is one guidance for all actions now; take "
                f"{'it' if len(used) == 1 else 'them'} out of config.json and see which guidance does as well"
            )
        sampling = {name: value for name, value in sampling.items() if name not in FORMER_SETTINGS}
    return config_from_dict(Sampler, sampling, f"{folder}: sampling")


def load_world_model(folder: Path) -> WorldModel:
    config = load_config(folder)
    tokenizer = load_tokenizer(folder)
    return WorldModel(config, tokenizer, load_module(folder, "transformer", lambda: VisualActionTransformer(config)))


def check_codes(folder: Path, tokenizer: ImageTokenizer, trained_on: ImageTokenizer) -> None:
    """CheckpointError if the tokenizer of `folder` encodes otherwise than the one that a world was trained on."""
    for part in ("encoder", "quantizer"):
        mine, other = (getattr(module, part).state_dict() for module in (tokenizer, trained_on))
        if mine.keys() != other.keys() or any(not torch.equal(mine[name], other[name]) for name in mine):
            raise CheckpointError(f"{folder}: its {part} is not the one that the world model was trained with")


def save_world_model(
    folder: Path,
    config: WorldModelConfig,
    tokenizer: ImageTokenizer,
    transformer: VisualActionTransformer,
    dtype: torch.dtype | None = None,
    sampler: Sampler | None = None,
) -> None:
    modules = {"tokenizer": tokenizer, "transformer": transformer}
    sampling = {"sampling": config_to_dict(sampler)} if sampler is not None else {}
    write_checkpoint(folder, {"model": config_to_dict(config), **sampling}, modules, dtype)


def save_starts(folder: Path, starts: list[StartScene]) -> None:
    """All scenes have the same number of frames."""
    tokens = np.stack([start.tokens for start in starts]).astype(np.int32)
    actions = np.stack([start.actions for start in starts]).astype(np.int32)
    with written(folder / STARTS_FILE) as file:
        save_file({"tokens": tokens, "actions": actions}, file)


def load_starts(folder: Path, config: WorldModelConfig) -> list[StartScene]:
    """Start scenes of a checkpoint; an empty list if it has none. CheckpointError if they do not fit."""
    path = folder / STARTS_FILE
    if not path.is_file():
        return []
    if path.stat().st_size > MAX_STARTS_BYTES:
        raise CheckpointError(f"{path}: {path.stat().st_size} bytes is too large for start scenes")
    try:
        values = load_file(path)
        tokens, actions = values["tokens"], values["actions"]
    except (SafetensorError, KeyError) as error:
        raise CheckpointError(f"{path}: not a start-scene file ({error})") from None
    places, codes = config.image_tokenizer.tokens_per_frame, config.image_tokenizer.codebook_size
    n, frames = tokens.shape[:2] if tokens.ndim == 3 else (0, 0)
    fits = (
        tokens.shape == (n, frames, places)
        and actions.shape == (n, frames - 1, TOKENS_PER_ACTION)
        and n > 0
        and tokens.min() >= 0
        and tokens.max() < codes
        and (actions.size == 0 or (codes <= actions.min() and actions.max() < config.action_tokenizer().vocabulary))
    )
    if not fits:
        raise CheckpointError(f"{path}: tokens {tokens.shape} and actions {actions.shape} do not fit the model")
    return [StartScene(t.astype(np.int32), a.astype(np.int32)) for t, a in zip(tokens, actions, strict=True)]
