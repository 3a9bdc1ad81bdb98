"""MineWorld's released weights, as a checkpoint of ours: `worldmodel import-mineworld`.

A `.ckpt` is a PyTorch file with the transformer in Llama's layout (`transformer.model.*`, `transformer.lm_head.weight`)
and the image tokenizer in that of the diffusers library's VQModel (`tokenizer.model.*`); the tokenizer's own file
(`vae.ckpt`) has the latter as `model.*`. Such files are read with weights_only=True, the YAML with a safe loader:
nothing in them is run. Tensors stay in their file until each is written, so that memory holds no second copy.

Sources: the names in microsoft/mineworld's and huggingface/diffusers' own files; arXiv 2504.08388 for the sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worldmodel.checkpoint import CheckpointError, config_to_dict, stream_checkpoint
from worldmodel.config import WorldModelConfig
from worldmodel.minecraft.released_names import TOKENIZER, wanted_names
from worldmodel.minecraft.released_sizes import Reading, image_config, model_config
from worldmodel.torch_files import read_weights_only, tensors_by_name

STATE = "state_dict"
RESAVE = "; what else it holds is not read: save its tensors alone, with torch.save({'state_dict': state}, FILE)"
KINDS = (torch.float32, torch.float16, torch.bfloat16)
SHOWN = 8  # names of tensors that an error lists of each kind


@dataclass(frozen=True, slots=True)
class Files:
    """model: the .ckpt; tokenizer: the image tokenizer's own, or None for the one in the model's; tokenizer_config: its
    config.json; config: the model's YAML. Of what is not given, the shapes tell the sizes."""

    model: Path
    tokenizer: Path | None = None
    tokenizer_config: Path | None = None
    config: Path | None = None


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
