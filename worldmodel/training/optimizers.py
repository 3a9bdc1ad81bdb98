"""The optimizers of a transformer: Muon for the layers' matrices (Jordan et al. 2024, as in torch.optim.Muon) or AdamW,
and AdamW for the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.training.run.common import computes_bf16

Kind = Literal["muon", "adamw"]
BETAS = (0.9, 0.95)


class Rates(Protocol):
    """Of WorldTraining."""

    @property
    def optimizer(self) -> Kind: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...


def orthogonal(
    matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float, dtype: torch.dtype
) -> Tensor:
    """(n, rows, columns) -> of that shape, each matrix with its singular values near 1: Newton-Schulz iterations, with
    the coefficients of Jordan et al. 2024."""
    a, b, c = coefficients
    x = matrices.to(dtype)
    wide = x if x.shape[1] <= x.shape[2] else x.mT.contiguous()
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if x.shape[1] <= x.shape[2] else wide.mT


class BatchedMuon(torch.optim.Muon):
    """Its twin, torch.optim.Muon with adjust_lr_fn="match_rms_adamw", for matrices of which many have one shape: those
    are computed at once, in half the time on a CPU. Its state is the twin's; parameters in parts (FSDP) are left to the
    twin."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        assert closure is None, "Optimizers takes none"
        for group in self.param_groups:
            given = [p for p in group["params"] if p.grad is not None]
            if any(isinstance(p, DTensor) for p in given):
                super().step()
                return
            for shape in dict.fromkeys(p.shape for p in given):
                self._update(group, [p for p in given if p.shape == shape])

    def _update(self, group: dict[str, Any], alike: list[Tensor]) -> None:
        ahead = []
        for p in alike:
            assert p.grad is not None, "given has those that have one"
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            mean = self.state[p]["momentum_buffer"]
            mean.lerp_(p.grad, 1 - group["momentum"])
            ahead.append(p.grad.lerp(mean, group["momentum"]) if group["nesterov"] else mean)
        # Where bf16 would have to be emulated, float32 is tens of times as fast.
        dtype = torch.bfloat16 if computes_bf16(alike[0].device) else torch.float32
        made = orthogonal(torch.stack(ahead), group["ns_coefficients"], group["ns_steps"], group["eps"], dtype)
        rate = group["lr"] * 0.2 * math.sqrt(max(alike[0].shape))
        for p, update in zip(alike, made, strict=True):
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.add_(update, alpha=-rate)


class Optimizers:
    """Two optimizers, stepped and saved together: of the layers' matrices, and of everything else."""

    def __init__(self, model: VisualActionTransformer, options: Rates) -> None:
        matrices = [p for p in model.layers.parameters() if p.ndim == 2]
        chosen = {id(p) for p in matrices}
        rest = [p for p in model.parameters() if id(p) not in chosen]
        rate, decay = options.learning_rate, options.weight_decay
        self.parts: list[torch.optim.Optimizer] = [
            BatchedMuon(matrices, rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
            if options.optimizer == "muon"
            else torch.optim.AdamW(matrices, rate, betas=BETAS, weight_decay=decay),
            torch.optim.AdamW(rest, rate, betas=BETAS, weight_decay=0.0),
        ]

    def step(self, rate: float) -> None:
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, state: list[dict]) -> None:
        """ValueError for what other optimizers have kept."""
        for part, values in zip(self.parts, state, strict=True):
            kept = {name for values in values["state"].values() for name in values}
            if kept and ("momentum_buffer" in kept) != isinstance(part, torch.optim.Muon):
                raise ValueError("it is of another --optimizer")
            part.load_state_dict(values)
