"""A transformer whose matrices are kept in another weight format (kernels/weight_only.py)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from kernels.weight_only import StoredWeight, linear, store
from worldmodel.model.transformer import VisualActionTransformer


class StoredLinear(nn.Module):
    """A linear layer without bias over a stored weight. (..., in) -> (..., out)."""

    values: Tensor
    scales: Tensor | None

    def __init__(self, weight: StoredWeight) -> None:
        super().__init__()
        self.register_buffer("values", weight.values)
        self.register_buffer("scales", weight.scales)

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, StoredWeight(self.values, self.scales))


@torch.no_grad()
def with_stored_weights(model: VisualActionTransformer, format: str) -> VisualActionTransformer:
    """A copy whose matrices that every decode pass reads (the layers' and the head's) are kept in `format`.

    Norms and embeddings stay as they are: a pass reads a few rows of them. Change the model's dtype before, not after:
    `Module.to(dtype)` would convert the stored values too. ValueError for an unknown format.
    """
    model = copy.deepcopy(model)
    for parent in (*model.layers, model):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear) and (parent is not model or name == "lm_head"):
                setattr(parent, name, StoredLinear(store(child.weight, format)))
    return model


def matrix_bytes(model: VisualActionTransformer) -> int:
    """Bytes of the matrices that every decode pass reads: the layers' and the head's, scales included."""
    matrices = [m for m in model.layers.modules() if isinstance(m, nn.Linear | StoredLinear)]
    tensors = [t for m in [*matrices, model.lm_head] for t in (*m.parameters(), *m.buffers())]
    return sum(t.nbytes for t in tensors)
