"""Attention over whole clips for training on a CPU, by the compiled code of cpu/clip_attention.h. Products are in bf16.
Twin: WindowAttention (worldmodel/model/transformer.py). Knows tensors, not models."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SIZE_STEP = 32  # what a head's size must be a multiple of
_NUMBERS = ("clips", "frames", "length", "heads", "kv_heads", "size", "offsets", "threads")
_ADDRESSES = (
    *("offset", "seen", "kept", "query", "key", "value", "out", "log_rows"),
    *("out_gradient", "query_gradient", "key_gradient", "value_gradient"),
)


class _ClipAttention(ctypes.Structure):
    """As in cpu/clip_attention.h."""

    _fields_ = (*((name, ctypes.c_int32) for name in _NUMBERS), *((name, ctypes.c_void_p) for name in _ADDRESSES))


@dataclass(frozen=True, slots=True)
class ClipMask:
    """frames: of each clip; offsets: int32 (n,), how far back the frames lie that are seen; seen: uint8 (length,
    length), whether a slot sees another one of its own frame; kept: uint8 (length,), whether it is seen from later
    frames."""

    frames: int
    offsets: NDArray[np.int32]
    seen: NDArray[np.uint8]
    kept: NDArray[np.uint8]


def _call(library: ctypes.CDLL, mask: ClipMask, query: Tensor, kv_heads: int, **tensors: Tensor) -> None:
    clips, entries, heads, size = query.shape
    length = len(mask.seen)
    assert entries == mask.frames * length, "whole frames"
    assert size % SIZE_STEP == 0, f"a head's size must be a multiple of {SIZE_STEP}"
    assert heads % kv_heads == 0, "query heads share key heads"
    assert all(tensor.is_contiguous() for tensor in tensors.values()), "arrays as C has them"
    addresses = {name: tensor.data_ptr() for name, tensor in tensors.items()}
    numbers = (clips, mask.frames, length, heads, kv_heads, size, len(mask.offsets), torch.get_num_threads())
    given = _ClipAttention(
        **dict(zip(_NUMBERS, numbers, strict=True)),
        offset=mask.offsets.ctypes.data,
        seen=mask.seen.ctypes.data,
        kept=mask.kept.ctypes.data,
        **addresses,
        query=query.data_ptr(),
    )
    library.worldmodel_clip_attention(ctypes.byref(given))


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, library: ctypes.CDLL, mask: ClipMask) -> Tensor:
        q, k, v = (x.to(torch.bfloat16).contiguous() for x in (query, key, value))
        clips, _, heads, _ = q.shape
        rows = heads // k.shape[2] * len(mask.seen)
        padded = -(-rows // SIZE_STEP) * SIZE_STEP
        out = torch.empty_like(q)
        logs = torch.empty(clips, k.shape[2], mask.frames, padded)
        _call(library, mask, q, k.shape[2], key=k, value=v, out=out, log_rows=logs)
        ctx.save_for_backward(q, k, v, out, logs)
        ctx.given, ctx.dtypes = (library, mask), (query.dtype, key.dtype, value.dtype)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, logs = ctx.saved_tensors
        library, mask = ctx.given
        made = [torch.empty(x.shape, dtype=torch.float32) for x in (q, k, v)]
        named = dict(zip(("query_gradient", "key_gradient", "value_gradient"), made, strict=True))
        gradient = gradients[0].to(torch.bfloat16).contiguous()
        _call(library, mask, q, k.shape[2], key=k, value=v, out=out, log_rows=logs, out_gradient=gradient, **named)
        return (*(x.to(dtype) for x, dtype in zip(made, ctx.dtypes, strict=True)), None, None)


def clip_attention(library: ctypes.CDLL, mask: ClipMask, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """query (B, frames * length, heads, D), key, value (B, frames * length, kv_heads, D), on a CPU, of any float type
    -> as query, of value's type. library: see native.py."""
    out = _Attention.apply(query, key, value, library, mask)
    assert isinstance(out, Tensor), "one result"
    return out.to(value.dtype)
