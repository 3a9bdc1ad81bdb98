"""The training mask as a rule, for FlexAttention (Dong et al. 2024, arXiv 2412.05496): no mask is stored, and blocks of
it in which nothing is seen are skipped. Twin of WindowAttention, whose dense mask a test compares it with."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

if TYPE_CHECKING:
    from worldmodel.model.transformer import VisualActionTransformer

Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def seen_rule(model: VisualActionTransformer, frames: int, device: torch.device) -> Rule:
    """(batch, head, query, key) -> whether the query's slot of a clip sees the key's: in its own frame those whose rank
    is not greater, in frames that lie `offsets` before it all."""
    length = model.layout.length
    rank = torch.from_numpy(model.layout.rank).to(device)
    reached = torch.zeros(frames, dtype=torch.bool, device=device)
    reached[[offset for offset in model.config.transformer.offsets if offset < frames]] = True

    def seen(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        back = query // length - key // length
        own = (back == 0) & (rank[key % length] <= rank[query % length])
        return own | ((back > 0) & reached[back.clamp_min(0)])

    return seen


@cache
def _compiled() -> Callable[..., Tensor]:
    return torch.compile(flex_attention, dynamic=False)


class FlexAttention:
    """An Attention (see transformer.py) over whole clips of `frames` frames. On a CPU, which it is slow on, it is not
    compiled."""

    def __init__(self, model: VisualActionTransformer, frames: int, device: torch.device) -> None:
        entries = frames * model.layout.length
        self.rule = seen_rule(model, frames, device)
        self.mask = create_block_mask(self.rule, None, None, entries, entries, device)
        self.attend = flex_attention if device.type == "cpu" else _compiled()

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        kind = q.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else q.dtype
        q, k, v = (x.to(dtype).transpose(1, 2) for x in (q, k, v))  # (B, H, T, D)
        out = self.attend(q, k, v, block_mask=self.mask, enable_gqa=q.shape[1] != k.shape[1])
        assert isinstance(out, Tensor), "no log-sum-exp was asked for"
        return out.transpose(1, 2)
