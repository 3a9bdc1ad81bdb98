"""Weights as a page fetches them: a safetensors file with matrices in 8 or 16 bits, tables in 16, the rest in 32. What
they are worth as float32 is exactly what the page's compiled code is given."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from kernels.native import SPAN
from kernels.wasm_build import MOST_MEMORY, TARGET
from worldmodel.engine.host.native_model import picture_weights
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.types import WorldModelError

SCALE = ".scale"  # behind a matrix's name: (out, spans) float32, one for each SPAN inputs
TABLES = ("embed_tokens.weight", "start", "no_previous", "place", "position", "bias")
CODEBOOK = "codebook"  # (codes, channels) float32
MODULE = TARGET.name
MOST_PARAMETERS = MOST_MEMORY // 6  # which are there as float32 and, beside that, in 8 bits, while a decoder is made
FLOATS = ("chain",)  # what is no matrix that rows are multiplied with

Array = NDArray[np.float32]
Bits = Literal[8, 16]
Stored = dict[str, torch.Tensor]


def quantise_spans(matrix: Array) -> tuple[NDArray[np.int8], Array]:
    """(out, in) -> values in -127..127 and their scales (out, spans). As kernels/cpu does, which finds these very
    values and scales again when it is given values times scale."""
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


def stored(weights: Mapping[str, torch.Tensor], bits: Bits) -> Stored:
    """By name; bits: of the matrices. WorldModelError for what 16 bits do not hold."""
    made: Stored = {}
    for name, weight in weights.items():
        array = weight.detach().float().cpu().numpy()
        is_matrix = weight.ndim == 2 and name not in TABLES + FLOATS
        if is_matrix and bits == 8:
            values, scale = quantise_spans(array)
            made[name], made[name + SCALE] = torch.from_numpy(np.ascontiguousarray(values)), torch.from_numpy(scale)
        elif is_matrix or name in TABLES:
            made[name] = torch.from_numpy(_halves(array))
        else:
            made[name] = torch.from_numpy(np.ascontiguousarray(array))
    return made


def values(kept: Stored) -> Stored:
    """What stored weights are worth, as float32."""
    made: Stored = {}
    for name, weight in kept.items():
        if name.endswith(SCALE):
            continue
        made[name] = weight.float()
        if name + SCALE in kept:
            made[name] *= kept[name + SCALE].repeat_interleave(SPAN, 1)[:, : weight.shape[1]]
    return made


def module_file() -> bytes:
    """The compiled decoders (kernels/wasm_build.py)."""
    return TARGET.read_bytes()


def transformer_file(model: VisualActionTransformer, bits: Bits) -> bytes:
    return save(stored(dict(model.named_parameters()), bits))


def pictures_file(tokenizer: ImageTokenizer, bits: Bits) -> bytes:
    """Its image decoder, and the codebook of a tokenizer that has one. WorldModelError for another kind of decoder."""
    kept = stored(picture_weights(tokenizer), bits)
    if not tokenizer.config.channel_levels:
        kept[CODEBOOK] = tokenizer.quantizer.decode(torch.arange(tokenizer.config.codebook_size)).float().contiguous()
    return save(kept)


def with_stored_values(model: VisualActionTransformer, bits: Bits) -> VisualActionTransformer:
    """A copy whose weights are what a page computes with: the native engine then plays the page's game."""
    worth, copy = values(stored(dict(model.named_parameters()), bits)), deepcopy(model)
    with torch.no_grad():
        for name, parameter in copy.named_parameters():
            parameter.copy_(worth[name])
    return copy


def _halves(array: Array) -> NDArray[np.float16]:
    largest = float(np.abs(array).max(initial=0))
    if largest > np.finfo(np.float16).max:
        raise WorldModelError(f"a weight of {largest:g} does not fit 16 bits: this checkpoint cannot be exported")
    return array.astype(np.float16)
