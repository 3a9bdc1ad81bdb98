"""What training does to the tokens that a model is given, so that it gets by with its own mistakes in play. The targets
stay true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from worldmodel.model.parts import joined
from worldmodel.model.transformer import VisualActionTransformer
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


@torch.no_grad()
def own_draws(
    model: VisualActionTransformer, tokens: Tensor, actions: Tensor, generators: Sequence[torch.Generator]
) -> Tensor:
    """What the model itself draws for each token, given the true ones before it: tokens (B, T, places) with every frame
    but the first so drawn. generators: one a clip."""
    places = torch.from_numpy(model.layout.places).to(tokens.device)
    own = tokens.clone()
    for clip, (logits, generator) in enumerate(zip(model(tokens, actions).float(), generators, strict=True)):
        scores, digits, base = logits.flatten(0, -2), list[Tensor](), 0
        for size in model.parts:
            share = scores[:, base : base + size].softmax(-1)
            digits.append(torch.multinomial(share, 1, generator=generator)[:, 0])
            if model.chain is not None and base + size < scores.shape[-1]:
                behind = model.chain[:, base + size - model.parts[0] :]
                scores[:, base + size :] += F.embedding(base + digits[-1], behind)
            base += size
        own[clip, 1:, places] = joined(digits, model.parts).view(logits.shape[:-1])
    return own


def give_own(tokens: Tensor, own: Tensor, most: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Gives some frames of a clip as the model draws them: a share of them, uniform in 0..most. tokens, own: (T,
    places). Returns the inputs and which frames after the first are as they were, bool (T - 1,): only those are to be
    predicted, for within a frame what is drawn must hang together with what was drawn before it, right or wrong.

    Parallel scheduled sampling (Duckworth et al. 2019, arXiv 1906.04331), of whole frames: in play all frames before
    are the model's own, and wrong where it is unsure."""
    drawn = torch.rand(len(tokens), generator=generator, device=tokens.device)
    share = torch.rand((), generator=generator, device=tokens.device) * most
    chosen = drawn < share
    chosen[0] = False
    return torch.where(chosen[:, None], own, tokens), ~chosen[1:]
