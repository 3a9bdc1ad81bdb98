"""What a model would predict of each frame had nothing been done before it, beside its predictions of whole clips: the
second lane of guided play (see engine/guidance.py), of every frame at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from worldmodel.model.rotary import rotary_table, rotate
from worldmodel.model.transformer import MASKED, Layer, VisualActionTransformer, WindowAttention
from worldmodel.types import NO_ACTION


class Beside:
    """Prepared for clips of so many frames. A frame's lane has rows of its own [outro of the frame before, image], and
    sees those of the true pass of all earlier frames, but for the outro that its own replaces.

    idle: int64 (11,), the action that stands in for every frame's."""

    def __init__(self, model: VisualActionTransformer, frames: int, device: torch.device) -> None:
        self.model = model
        self.idle = torch.from_numpy(model.config.action_tokenizer().encode(NO_ACTION)).long().to(device)
        layout = model.layout
        self.image, self.outro = layout.image, layout.outro
        ages = torch.arange(1, frames, device=device)[:, None]  # of frames 1.. : their numbers
        offsets = [offset for offset in model.config.transformer.offsets if offset < frames]
        self.indices, self.biases = [], []
        # An outro is of the frame before: its offsets are one further back, and its own true image comes first.
        for rows, before in ((self.outro, [1, *(offset + 1 for offset in offsets)]), (self.image, offsets)):
            index = ages - torch.tensor(before, device=device)
            seen = (index >= 0)[:, None, :, None].expand(-1, rows, -1, layout.length).clone()
            seen[:, :, 0, self.image :] = False
            own = torch.zeros(rows, layout.length, dtype=torch.bool, device=device)
            own[:, : self.outro] = True
            if rows == self.image:
                own[:, self.outro :] = torch.from_numpy(layout.mask[: self.image, : self.image]).to(device)
            whole = torch.cat([seen.flatten(2), own.expand(frames - 1, -1, -1)], 2)
            self.indices.append(index.clamp_min(0))
            self.biases.append(torch.zeros(whole.shape, device=device).masked_fill(~whole, MASKED))
        tables = rotary_table(model.config, layout, np.arange(frames))
        cos, sin = (torch.from_numpy(table).to(device) for table in tables)
        self.true = cos.flatten(0, 1), sin.flatten(0, 1)
        self.turned = self._turned(cos), self._turned(sin)

    def _turned(self, table: Tensor) -> Tensor:
        """Angles of whole blocks (T, length, pairs) -> of the lanes' rows ((T - 1) * length, pairs)."""
        return torch.cat([table[:-1, self.image :], table[1:, : self.image]], 1).flatten(0, 1)

    @torch.no_grad()
    def logits(self, tokens: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        """tokens (B, T, places); inputs: what each layer was given in the true pass, (B, T * length, hidden) each ->
        logits (B, T - 1, image, sum(parts)) of frames 1.."""
        B, T, _ = tokens.shape
        model, still = self.model, self.idle.expand(B, T - 1, -1)
        ending = model.embed_outro(tokens[:, :-1], still)
        x = torch.cat([ending, model.embed_image(tokens[:, 1:], tokens[:, :-1], still)], 2).flatten(1, 2)
        for layer, given in zip(model.layers, inputs, strict=True):
            x = self._layer(cast(Layer, layer), x, given, B, T)
        return model.logits(model.norm(x.view(B, T - 1, -1, x.shape[-1])[:, :, self.outro :]))

    def _layer(self, layer: Layer, x: Tensor, given: Tensor, B: int, T: int) -> Tensor:
        h = layer.input_layernorm(given)
        shape = (B, T, self.image + self.outro, layer.kv_heads, layer.head_dim)
        keys = rotate(layer.k_proj(h).view(B, -1, *shape[3:]), *self.true).view(shape)
        values = layer.v_proj(h).view(shape)

        def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = (part.view(B, T - 1, self.image + self.outro, *part.shape[2:]) for part in (q, k, v))
            shares = q.split([self.outro, self.image], 2)
            made = [
                self._attend(share, torch.cat([keys[:, index].flatten(2, 3), k], 2), values, v, index, bias)
                for share, index, bias in zip(shares, self.indices, self.biases, strict=True)
            ]
            return torch.cat(made, 2).flatten(1, 2)

        return layer.forward(x, *self.turned, attention)

    @staticmethod
    def _attend(q: Tensor, k: Tensor, values: Tensor, v: Tensor, index: Tensor, bias: Tensor) -> Tensor:
        """q (B, T, rows, H, D), k (B, T, seen, Hkv, D) -> as q."""
        v = torch.cat([values[:, index].flatten(2, 3), v], 2)
        q, k, v = (part.to(WindowAttention.dtype(part)) for part in (q, k, v))
        B, T, rows, H, D = q.shape
        kv = k.shape[3]
        q = q.view(B, T, rows, kv, H // kv, D).permute(0, 1, 3, 4, 2, 5).flatten(3, 4)  # (B, T, Hkv, G * rows, D)
        scores = (q @ k.permute(0, 1, 3, 4, 2)).float() * D**-0.5
        scores = scores.view(B, T, kv, H // kv, rows, -1) + bias[None, :, None, None]
        share = torch.softmax(scores, -1).flatten(3, 4).to(v.dtype)
        made = (share @ v.transpose(2, 3)).view(B, T, kv, H // kv, rows, D)
        return made.permute(0, 1, 4, 2, 3, 5).reshape(B, T, rows, H, D)
