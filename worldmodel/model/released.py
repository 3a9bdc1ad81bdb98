"""The one sequence that MineWorld's released weights read: frame, action, frame, action, ..., each token once.

Token i of a frame is read off the token before it, a frame's first token off the last one of the action before it. What
our own orders add (a start token, a mask by groups) is not there. Pure functions of a model; no cache, no sampling.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from worldmodel.tokenizers.action import TOKENS_PER_ACTION

if TYPE_CHECKING:
    from worldmodel.config import WorldModelConfig
    from worldmodel.model.transformer import VisualActionTransformer


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


def sequence_logits(model: VisualActionTransformer, tokens: Tensor, actions: Tensor, first: int = 1) -> Tensor:
    """One pass over whole clips, as VisualActionTransformer.forward.

    tokens: (B, T, places) int64; actions: (B, T, 11) int64, action t leads from frame t to t + 1 (the last one is not
    read). Returns logits (B, T - first, image, codes) of frames first..T-1, slots in decode order. ValueError for a
    clip that is longer than the context.
    """
    B, T, P = tokens.shape
    longest = model.config.transformer.window
    if longest < T:
        raise ValueError(f"a clip of {T} frames is longer than the context of {longest}")
    block = P + TOKENS_PER_ACTION
    x = torch.cat([model.embed_codes(tokens), model.embed_actions(actions)], 2).flatten(1, 2)[:, : T * block - 1]
    cos, sin = angles(model.config, longest * block, x.device)
    hidden = model.run(x, cos[: x.shape[1]], sin[: x.shape[1]], [causal] * len(model.layers))
    starts = torch.arange(first, T, device=x.device)[:, None] * block - 1
    places = torch.from_numpy(model.layout.places).to(x.device)
    return model.logits(hidden[:, (starts + places).flatten()]).view(B, T - first, P, -1)
