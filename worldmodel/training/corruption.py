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


def make_stale(tokens: Tensor, order: Tensor, shares: Tensor, generator: torch.Generator) -> Tensor:
    """Begins some frames with the tokens that the frame before has there: a random number of them, the first in decode
    order. tokens: (B, T, places); order: int64 (places,), the places in decode order; shares: (B, T) probabilities, 0
    for the first frame.

    In recorded play a frame that begins like the one before goes on like it, so that a model which has once sampled
    "still the same" stays with it, whatever is pressed. Given such a beginning and the true frame as its target, it
    learns to go by the action (scheduled sampling, Bengio et al. 2015, arXiv 1506.03099, with the one mistake that
    matters here in the place of the model's own samples)."""
    rank = torch.argsort(order)
    chosen = torch.rand(*tokens.shape[:2], 1, generator=generator, device=tokens.device) < shares[..., None]
    count = torch.randint(1, len(order) + 1, chosen.shape, generator=generator, device=tokens.device)
    return torch.where(chosen & (rank < count), tokens.roll(1, 1), tokens)


def outline_comes(outlined: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """In `share` of the windows, one of the frames from 1 on that have outlined patches: int64 (B,), its number; 0 for
    none. outlined: bool (B, T, places)."""
    drawn = torch.rand(outlined.shape[:2], generator=generator, device=outlined.device)
    drawn = drawn * outlined.any(-1)
    drawn[:, 0] = 0
    chosen = torch.rand(len(drawn), generator=generator, device=drawn.device) < share
    return drawn.argmax(1) * (chosen & (drawn.amax(1) > 0))


def forget_outline(tokens: Tensor, outlined: Tensor, until: Tensor, columns: int) -> Tensor:
    """Takes the outline of the block in reach out of the frames before `until`: an outlined patch gets the token of the
    nearest one in its row that is not. tokens: (B, T, places); outlined: bool, the same; until: (B,); columns: of
    patches in a frame.

    In recorded play the outline is there whenever something is in reach, so that a model which has once missed it, when
    the view comes down from the horizon, takes its absence for a reason to go without."""
    row = outlined.unflatten(-1, (-1, columns))
    column = torch.arange(columns, device=tokens.device)
    distance = (column[:, None] - column).abs() + columns * row[..., None, :]
    plain = tokens.unflatten(-1, (-1, columns)).gather(-1, distance.argmin(-1)).flatten(-2)
    early = torch.arange(tokens.shape[1], device=tokens.device) < until[:, None]
    return torch.where(early[..., None], plain, tokens)
