"""PyTorch eager backend: the plain twin that every faster engine is compared with. Runs on any device."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from worldmodel.engine.decoder import Array, Pass, ring_entries
from worldmodel.model.transformer import VisualActionTransformer


class EagerBackend:
    """Keeps keys and values as (layers, kv_heads, ring, head_dim) in the model's dtype on its device."""

    name = "eager"

    def __init__(self, model: VisualActionTransformer, guided: bool = True) -> None:
        self.model = model.eval()
        self.ring = ring_entries(model, guided)
        t = model.config.transformer
        weight = model.embed_tokens.weight  # the head's may be stored in fewer bits than what passes through
        shape = (t.layers, t.kv_heads, self.ring, t.head_dim)
        self.keys = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        self.values = torch.zeros_like(self.keys)
        self.groups = t.heads // t.kv_heads

    @torch.inference_mode()
    def run(self, one: Pass) -> Array:
        device, dtype = self.keys.device, self.keys.dtype
        filled = np.flatnonzero(one.past.any(0))  # unfilled entries are never touched
        entries = torch.from_numpy(filled).to(device)
        mask = torch.from_numpy(np.concatenate([one.past[:, filled], one.own], 1)).to(device)
        targets = torch.from_numpy(np.concatenate([np.arange(s.start, s.stop) for s in one.slots])).to(device)

        def attention(layer: int):  # noqa: ANN202
            def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                k, v = k[0].transpose(0, 1), v[0].transpose(0, 1)  # (Hkv, n, D)
                keys = torch.cat([self.keys[layer][:, entries], k], 1).repeat_interleave(self.groups, 0)
                values = torch.cat([self.values[layer][:, entries], v], 1).repeat_interleave(self.groups, 0)
                self.keys[layer][:, targets] = k
                self.values[layer][:, targets] = v
                out = F.scaled_dot_product_attention(q.transpose(1, 2), keys[None], values[None], attn_mask=mask)
                return out.transpose(1, 2)

            return attend

        hidden = self.model.run(
            torch.from_numpy(one.x).to(device, dtype)[None],
            torch.from_numpy(one.cos).to(device),
            torch.from_numpy(one.sin).to(device),
            [attention(layer) for layer in range(len(self.model.layers))],
        )
        return self.model.logits(hidden[0, one.logits]).float().cpu().numpy()
