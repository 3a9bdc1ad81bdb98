"""The optimizers of a transformer: Muon for the layers' matrices (Jordan et al. 2024, as in torch.optim.Muon) or AdamW,
and AdamW for the rest."""

from __future__ import annotations

from typing import Literal, Protocol

import torch

from worldmodel.model.transformer import VisualActionTransformer

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


class Optimizers:
    """Two optimizers, stepped and saved together: of the layers' matrices, and of everything else."""

    def __init__(self, model: VisualActionTransformer, options: Rates) -> None:
        matrices = [p for p in model.layers.parameters() if p.ndim == 2]
        chosen = {id(p) for p in matrices}
        rest = [p for p in model.parameters() if id(p) not in chosen]
        rate, decay = options.learning_rate, options.weight_decay
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
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
