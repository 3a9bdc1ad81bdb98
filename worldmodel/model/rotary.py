"""Rotary position embedding: which pairs of a head turn by what, as tables, and the turning."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldmodel.config import WorldModelConfig
from worldmodel.model.layout import BlockLayout


def rotary_axes(
    config: WorldModelConfig, layout: BlockLayout
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """What turns each rotary pair: positions (length, pairs) in block 0, steps (pairs,) from block to block, and
    frequencies (pairs,). Pair p of slot s in block b turns by (positions[s, p] + b * steps[p]) * frequencies[p].

    "frame-row-column": a quarter of the pairs turn with the frame number, three eighths each with row and column.
    """
    transformer = config.transformer
    pairs = transformer.head_dim // 2
    if transformer.rotary == "sequence":
        # One axis, as MineWorld has it: raster positions, tail and action behind the picture.
        raster = np.concatenate([layout.places, layout.tail, layout.image + np.arange(layout.outro - len(layout.tail))])
        axes = [(raster, layout.length - len(layout.tail), pairs)]
    else:
        rows, columns = layout.coordinates.T
        time = pairs // 4
        row = (pairs - time) // 2
        axes = [(np.zeros_like(rows), 1, time), (rows, 0, row), (columns, 0, pairs - time - row)]
    positions = np.concatenate([np.repeat(p[:, None], count, 1) for p, _, count in axes], 1)
    steps = np.concatenate([np.full(count, step, np.int64) for _, step, count in axes])
    frequencies = [
        theta ** (-np.arange(count, dtype=np.float64) / count)
        for (_, _, count), theta in zip(axes, transformer.rotary_theta, strict=True)
    ]
    return positions, steps, np.concatenate(frequencies)


def rotary_table(
    config: WorldModelConfig, layout: BlockLayout, frames: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """cos and sin, each float32 (len(frames), length, head_dim/2), for the blocks of the given frame numbers.

    Angles are computed in float64, so that hour-long sessions lose no precision.
    """
    positions, steps, frequencies = rotary_axes(config, layout)
    angle = (positions + frames[:, None, None] * steps).astype(np.float64) * frequencies
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding, rotate-half. x: (B, T, H, D); cos, sin: (T, D/2) or (B, T, D/2)."""
    cos, sin = cos.unsqueeze(-2).to(x.dtype), sin.unsqueeze(-2).to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
