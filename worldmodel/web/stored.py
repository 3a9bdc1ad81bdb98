"""A transformer's weights as a page fetches them: a safetensors file with matrices in 8 or 16 bits, tables in 16, the rest
in 32. What they are worth as float32 is exactly what the page computes with."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from kernels.native import SPAN
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.web.graph import Array, Bits, halves

SCALE = ".scale"  # behind a matrix's name: (out, spans) float32, one for each SPAN inputs
TABLES = ("embed_tokens.weight", "start", "no_previous", "place")
FLOATS = ("chain",)  # what is no matrix that rows are multiplied with


def quantise_spans(matrix: Array) -> tuple[NDArray[np.int8], Array]:
    """(out, in) -> values in -127..127 and their scales (out, spans). As kernels/cpu does, which finds these very values
    and scales again when it is given values times scale."""
    outputs, inputs = matrix.shape
    padded = np.pad(matrix, ((0, 0), (0, -inputs % SPAN))).reshape(outputs, -1, SPAN)
    scale = np.abs(padded).max(-1) / np.float32(127)
    for _ in range(8):  # until its division by 127 undoes the multiplication
        again = scale * np.float32(127) / np.float32(127)
        if (again == scale).all():
            break
        scale = again
    values = np.rint(padded / np.where(scale > 0, scale, 1)[..., None])
    return np.clip(values, -127, 127).astype(np.int8).reshape(outputs, -1)[:, :inputs], scale


def stored_weights(model: VisualActionTransformer, bits: Bits) -> dict[str, torch.Tensor]:
    """By name; bits: of the matrices."""
    made: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        array = parameter.detach().float().cpu().numpy()
        if name in TABLES or (_is_matrix(name, parameter) and bits == 16):
            made[name] = torch.from_numpy(halves(array))
        elif _is_matrix(name, parameter) and bits == 8:
            values, scale = quantise_spans(array)
            made[name], made[name + SCALE] = torch.from_numpy(np.ascontiguousarray(values)), torch.from_numpy(scale)
        else:
            made[name] = torch.from_numpy(np.ascontiguousarray(array))
    return made


def weights_file(model: VisualActionTransformer, bits: Bits) -> bytes:
    """A safetensors file of stored_weights."""
    return save({name: tensor.contiguous() for name, tensor in stored_weights(model, bits).items()})


def with_stored_values(model: VisualActionTransformer, bits: Bits) -> VisualActionTransformer:
    """A copy whose weights are what a page computes with: the native engine then plays the page's game."""
    stored, copy = stored_weights(model, bits), deepcopy(model)
    with torch.no_grad():
        for name, parameter in copy.named_parameters():
            value = stored[name].float()
            if name + SCALE in stored:
                value = value * stored[name + SCALE].repeat_interleave(SPAN, 1)[:, : value.shape[1]]
            parameter.copy_(value)
    return copy


def _is_matrix(name: str, parameter: torch.Tensor) -> bool:
    return parameter.ndim == 2 and name not in TABLES + FLOATS
