"""What training does to the tokens that a model is given, so that it gets by with its own mistakes in play. The targets
stay true."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from worldmodel.tokenizers.image import ImageTokenizer


class Quantizer(Protocol):
    """Any quantiser: one code near each code."""

    def neighbours(self, indices: Tensor, generator: torch.Generator | None = None) -> Tensor: ...


def add_noise(tokens: Tensor, tokenizer: ImageTokenizer, most: float, generator: torch.Generator) -> Tensor:
    """Replaces a share of the tokens by a near code; the share differs by frame, uniform in 0..most."""
    share = torch.rand(*tokens.shape[:2], 1, generator=generator, device=tokens.device) * most
    return noisy(tokens, tokenizer.quantizer, share, generator)


def noisy(tokens: Tensor, quantizer: Quantizer, share: Tensor, generator: torch.Generator) -> Tensor:
    """Replaces a share of the tokens by a near code. tokens: (B, T, places); share: (B, T, 1)."""
    wrong = torch.rand(tokens.shape, generator=generator, device=tokens.device) < share
    return torch.where(wrong, quantizer.neighbours(tokens, generator), tokens)


def make_stale(tokens: Tensor, order: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Begins some frames with the tokens that the frame before has there: a random number of them, the first in decode
    order. tokens: (B, T, places); order: int64 (places,), the places in decode order; share: of the frames after the
    first.

    In recorded play a frame that begins like the one before goes on like it, so that a model which has once sampled
    "still the same" stays with it, whatever is pressed. Given such a beginning and the true frame as its target, it
    learns to go by the action (scheduled sampling, Bengio et al. 2015, arXiv 1506.03099, with the one mistake that
    matters here in the place of the model's own samples)."""
    rank = torch.argsort(order)
    chosen = torch.rand(*tokens.shape[:2], 1, generator=generator, device=tokens.device) < share
    chosen[:, 0] = False
    count = torch.randint(1, len(order) + 1, chosen.shape, generator=generator, device=tokens.device)
    return torch.where(chosen & (rank < count), tokens.roll(1, 1), tokens)
