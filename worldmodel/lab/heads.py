"""How a place's code is predicted, and the prior that learns along with a tokenizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldmodel.lab.autoencoder import transformer_layer
from worldmodel.lab.codes import join, split

HEADS = ("softmax", "chained", "bits", "digits")
DIGIT = 8  # values of a digit of the head "digits"
MOST_SOFTMAX = 1 << 14  # codes of one softmax: more do not fit a small model
PRIOR_WIDTH, PRIOR_HEADS, PRIOR_LAYERS = 128, 4, 3
DIGIT_SEED = 1_000_003  # between the random numbers of a place's digits


def head_radices(head: str, radices: Sequence[int]) -> tuple[int, ...]:
    """Sizes of the digits that a head predicts, of codes with sub-codes of `radices`. ValueError where it cannot."""
    codes = math.prod(radices)
    if head == "chained":
        return tuple(radices)
    if head == "bits":
        if codes & (codes - 1):
            raise ValueError(f"bit heads need a power of two codes, got {codes}")
        return (2,) * (codes.bit_length() - 1)
    if head == "digits":
        count = round(math.log(codes, DIGIT))
        if DIGIT**count != codes:
            raise ValueError(f"digits of base {DIGIT} need a power of it for codes, got {codes}")
        return (DIGIT,) * count
    if head != "softmax":
        raise ValueError(f"a head is one of {HEADS}, got {head!r}")
    if codes > MOST_SOFTMAX:
        raise ValueError(f'one softmax over {codes} codes is too large (at most {MOST_SOFTMAX}): "chained" or "bits"')
    return (codes,)


def is_chained(head: str) -> bool:
    return head in ("chained", "digits")


class DigitHead(nn.Module):
    """Hidden vectors (..., hidden) -> distributions over codes. chained: each digit is predicted given those before."""

    def __init__(self, hidden: int, radices: Sequence[int], chained: bool) -> None:
        super().__init__()
        self.radices, self.chained = tuple(radices), chained and len(radices) > 1
        self.out = nn.ModuleList([nn.Linear(hidden, size, bias=False) for size in radices])
        later = len(radices) - 1 if self.chained else 0
        self.given = nn.ModuleList([nn.Embedding(size, hidden) for size in radices[:later]])
        self.mix = nn.ModuleList([nn.Linear(hidden, hidden) for _ in range(later)])
        for module in (*self.out, *self.given):
            nn.init.normal_(module.weight, std=0.02)  # type: ignore[arg-type]

    def _read(self, hidden: Tensor, number: int, before: list[Tensor]) -> Tensor:
        """Logits of digit `number`, given the digits before it."""
        if number and self.chained:
            known = sum((table(digit) for table, digit in zip(self.given, before, strict=False)), hidden)
            hidden = hidden + F.silu(self.mix[number - 1](known))
        return self.out[number](hidden)

    def loss(self, hidden: Tensor, codes: Tensor) -> Tensor:
        """Nats of each code: hidden (..., hidden), codes (...) -> (...)."""
        digits = list(split(codes, self.radices).unbind(-1))
        total = torch.zeros(codes.shape, device=codes.device)
        for number, digit in enumerate(digits):
            logits = self._read(hidden, number, digits).float()
            total = total + F.cross_entropy(logits.flatten(0, -2), digit.flatten(), reduction="none").view(digit.shape)
        return total

    def draw(self, hidden: Tensor, pick: Callable[[Tensor, int], Tensor]) -> Tensor:
        """Codes (...), digit by digit. pick: logits (..., size) and the digit's number -> (...)."""
        digits: list[Tensor] = []
        for number in range(len(self.radices)):
            digits.append(pick(self._read(hidden, number, digits), number))
        return join(torch.stack(digits, -1), self.radices)


class Prior(nn.Module):
    """A tiny autoregressive transformer over one frame's code vectors, in the order in which they are stored."""

    def __init__(self, tokens: int, code_dim: int, radices: Sequence[int], chained: bool) -> None:
        super().__init__()
        self.enter = nn.Linear(code_dim, PRIOR_WIDTH)
        self.start = nn.Parameter(torch.zeros(PRIOR_WIDTH))
        self.place = nn.Parameter(0.02 * torch.randn(tokens, PRIOR_WIDTH))
        self.layers = nn.ModuleList([transformer_layer(PRIOR_WIDTH, PRIOR_HEADS) for _ in range(PRIOR_LAYERS)])
        self.norm = nn.LayerNorm(PRIOR_WIDTH)
        self.head = DigitHead(PRIOR_WIDTH, radices, chained)

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, tokens, code_dim) -> hidden (B, tokens, width): each place has seen those before it."""
        x = torch.cat([self.start.expand(len(vectors), 1, -1), self.enter(vectors[:, :-1])], 1) + self.place
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device)
        for layer in self.layers:
            x = layer(x, src_mask=mask, is_causal=True)
        return self.norm(x)

    def loss(self, vectors: Tensor, codes: Tensor) -> Tensor:
        """Nats of each code (B, tokens)."""
        return self.head.loss(self(vectors), codes)

    @torch.no_grad()
    def draw(self, vectors: Tensor) -> Tensor:
        """A code for each place, drawn given the true ones before it: (B, tokens, code_dim) -> (B, tokens)."""

        def pick(logits: Tensor, _: int) -> Tensor:
            share = logits.float().softmax(-1)
            return torch.multinomial(share.flatten(0, -2), 1).view(share.shape[:-1])

        return self.head.draw(self(vectors), pick)
