"""The sequences of a released order in PyTorch: the plain twin that the native ones are compared with. Any device."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from kernels.sampling import Sampler, sample
from worldmodel.engine.decoder import Array
from worldmodel.engine.released import Rows, sequence_entries
from worldmodel.model.released import angles
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.types import Tokens


class EagerSequences:
    """Sequences (engine/released.py) of (layers, kv_heads, entries, D) each, in the model's dtype on its device, two a
    player."""

    def __init__(self, model: VisualActionTransformer, players: int = 1) -> None:
        self.model, self.config = model.eval(), model.config
        t, self.table = model.config.transformer, model.embed_tokens.weight
        self.device, entries = self.table.device, sequence_entries(model.config)
        shape = (2 * players, t.layers, t.kv_heads, entries, t.head_dim)
        self.keys = torch.zeros(shape, dtype=self.table.dtype, device=self.device)
        self.values = torch.zeros_like(self.keys)
        self.cos, self.sin = angles(model.config, entries, self.device)
        self.beside = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None

    def clear(self, cache: int) -> None:
        self.keys[cache].zero_()
        self.values[cache].zero_()

    def read(self, rows: Rows, ahead: bool = False) -> None:
        """As Sequences.read; on a GPU, what is read ahead runs beside what comes."""
        if self.beside is None or not ahead:
            self._run(rows)
            return
        self.beside.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.beside):
            self._run(rows)

    def wait(self) -> None:
        if self.beside is not None:
            torch.cuda.current_stream(self.device).wait_stream(self.beside)

    def draw(self, rows: Rows, places: NDArray[np.int64], sampler: Sampler, seed: int, frame: int) -> Tokens:
        return sample(self.score(rows, len(places)), sampler, seed, frame, places)

    @torch.inference_mode()
    def score(self, rows: Rows, count: int) -> Array:
        return self.model.logits(self._run(rows)[-count:]).float().cpu().numpy()

    @torch.inference_mode()
    def _run(self, rows: Rows) -> Tensor:
        """All layers. -> (n, hidden)."""
        t, end = self.config.transformer, int(rows.positions[-1]) + 1
        at = torch.from_numpy(rows.positions.astype(np.int64)).to(self.device)
        x = F.embedding(torch.from_numpy(rows.tokens.astype(np.int64)).to(self.device), self.table)[None]
        seen = torch.arange(end, device=self.device) <= at[:, None]
        n, groups = len(rows.tokens), t.heads // t.kv_heads
        mask = seen.repeat(groups, 1)
        all_keys, all_values = self.keys[rows.cache], self.values[rows.cache]

        def attention(layer: int):  # noqa: ANN202
            def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                all_keys[layer][:, at], all_values[layer][:, at] = k[0].transpose(0, 1), v[0].transpose(0, 1)
                keys, values = all_keys[layer][None, :, :end], all_values[layer][None, :, :end]
                # Query heads that share a key head are packed as rows: (1, Hkv, G * n, D).
                packed = q[0].view(n, t.kv_heads, groups, -1).permute(1, 2, 0, 3).reshape(1, t.kv_heads, -1, t.head_dim)
                out = F.scaled_dot_product_attention(packed, keys, values, attn_mask=mask)
                return out.view(t.kv_heads, groups, n, -1).permute(2, 0, 1, 3).reshape(1, n, t.heads, -1)

            return attend

        cos, sin = self.cos[at], self.sin[at]
        return self.model.run(x, cos, sin, [attention(layer) for layer in range(t.layers)])[0]
