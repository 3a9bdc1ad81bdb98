"""The one sequence that MineWorld's released weights read: frame, action, frame, action, ..., each token once.

Token i of a frame is read off the token before it, a frame's first token off the last one of the action before it. What
our own orders add (a start token, a mask by groups) is not there. Here are its positions and its mask.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from worldmodel.config import WorldModelConfig


@lru_cache(maxsize=8)
def angles(config: WorldModelConfig, entries: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos and sin, float32 (entries, head_dim/2), of the positions 0..entries-1; computed in float64."""
    pairs = config.transformer.head_dim // 2
    exponents = torch.arange(pairs, dtype=torch.float64) / pairs
    angle = torch.arange(entries, dtype=torch.float64)[:, None] * config.transformer.rotary_theta[0] ** -exponents
    return angle.cos().float().to(device), angle.sin().float().to(device)


def causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """q (B, T, H, D), k and v (B, T, Hkv, D) -> (B, T, H, D): each position sees those up to its own."""
    groups = q.shape[2] // k.shape[2]
    q, k, v = (x.transpose(1, 2) for x in (q, k.repeat_interleave(groups, 2), v.repeat_interleave(groups, 2)))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
