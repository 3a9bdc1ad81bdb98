"""The baseline of the benchmark: decoding as the released MineWorld code does it, on the same weights.

Masked scaled_dot_product_attention over the whole cache, filled or not; key and value heads repeated; the schedule on
the host, one pass after the other; on a GPU the pass compiled by torch.compile. Computes what the eager backend does.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from worldmodel.engine.decoder import Array, Pass
from worldmodel.engine.host.eager import EagerBackend
from worldmodel.model.transformer import VisualActionTransformer


class BaselineBackend(EagerBackend):
    """compiled: whether each pass width is compiled (by default where the model lies on a GPU)."""

    name = "baseline"

    def __init__(self, model: VisualActionTransformer, compiled: bool | None = None) -> None:
        super().__init__(model, guided=False)
        self.compiled = self.keys.is_cuda if compiled is None else compiled
        self._call = torch.compile(self._pass, dynamic=False) if self.compiled else self._pass

    @torch.no_grad()
    def run(self, one: Pass) -> Array:
        device = self.keys.device
        targets = np.concatenate([np.arange(s.start, s.stop) for s in one.slots])
        arrays = (one.cos, one.sin, np.concatenate([one.past, one.own], 1), targets)
        inputs = [torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays]
        hidden = self._call(torch.from_numpy(one.x).to(device, self.keys.dtype)[None], *inputs)
        return self.model.logits(hidden[0, one.logits]).float().cpu().numpy()

    def _pass(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, targets: Tensor) -> Tensor:
        """x: (1, n, hidden); mask: bool (n, ring + n); targets: (n,) ring entries. -> (1, n, hidden)."""

        def attention(layer: int):  # noqa: ANN202
            def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                k, v = k[0].transpose(0, 1), v[0].transpose(0, 1)
                keys = torch.cat([self.keys[layer], k], 1).repeat_interleave(self.groups, 0)
                values = torch.cat([self.values[layer], v], 1).repeat_interleave(self.groups, 0)
                self.keys[layer].index_copy_(1, targets, k)
                self.values[layer].index_copy_(1, targets, v)
                out = F.scaled_dot_product_attention(q.transpose(1, 2), keys[None], values[None], attn_mask=mask)
                return out.transpose(1, 2)

            return attend

        return self.model.run(x, cos, sin, [attention(layer) for layer in range(len(self.model.layers))])
