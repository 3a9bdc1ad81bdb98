"""A model's own guided play as what another is trained to predict, so that it plays alike in one lane (distillation of
guided models, Meng et al. 2023, arXiv 2210.03142, with soft targets, Hinton et al. 2015, arXiv 1503.02531)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from worldmodel.config import WorldModelConfig
from worldmodel.model.beside import Beside
from worldmodel.model.loading import load_config
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.types import WorldModelError


def check_teacher(init: Path | None, config: WorldModelConfig, guidance: float) -> None:
    """WorldModelError unless a model of `config` that starts from the checkpoint `init` can learn its guided play."""
    told = f"--guidance {guidance:g}"
    if config.decode_order().released:
        raise WorldModelError(f"{told} cannot be had with the order {config.order!r}: leave it at 0")
    if init is None:
        raise WorldModelError(f"{told} is learned from a checkpoint's guided play: name it with --init")
    theirs = load_config(init)
    for what in ("transformer", "image_tokenizer", "order"):
        if getattr(theirs, what) != getattr(config, what):
            raise WorldModelError(
                f"{told} is learned from {init}, whose {what} is another: leave the options out that change it"
            )


class GuidedTeacher:
    """Frozen weights and how strongly they are guided. No module: neither trained nor saved."""

    def __init__(self, model: VisualActionTransformer, guidance: float) -> None:
        self.model = model.requires_grad_(False).eval()
        self.guidance = guidance
        self._beside: dict[int, Beside] = {}

    @torch.no_grad()
    def logits(self, tokens: Tensor, actions: Tensor) -> Tensor:
        """tokens (B, T, places), actions (B, T, 11) -> (B, T - 1, image, sum(parts)) of frames 1.., as a sampler's
        guidance makes them (see engine/guidance.py): a step without an action is not guided."""
        frames = tokens.shape[1]
        if frames not in self._beside:
            self._beside[frames] = Beside(self.model, frames, tokens.device)
        beside, inputs = self._beside[frames], []
        true = self.model(tokens, actions, inputs=inputs)
        guided = (actions[:, :-1] != beside.idle).any(-1)[..., None, None]
        return torch.where(guided, true + self.guidance * (true - beside.logits(tokens, inputs)), true)
