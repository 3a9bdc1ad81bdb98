"""What predicts tokens: a tiny prior over one frame, and the world model, both with a head for sub-codes.

A head predicts a place's code as digits: one digit ("softmax"), the sub-codes one after another, each given those
before it ("chained"), or all bits at once ("bits"). It costs a place one pass, whatever the number of digits. The world
model is VisualActionTransformer with sums of digit embeddings for inputs; with one digit it is the same model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from kernels.sampling import Sampler, sample
from worldmodel.config import DOWNSAMPLING, ImageTokenizerConfig, TransformerConfig, WorldModelConfig
from worldmodel.engine.decoder import Array, FrameDecoder
from worldmodel.engine.eager import EagerBackend
from worldmodel.lab.autoencoder import transformer_layer
from worldmodel.lab.codes import join, split
from worldmodel.model.layout import BlockLayout
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.types import Tokens

HEADS = ("softmax", "chained", "bits")
MOST_SOFTMAX = 1 << 14  # codes of one softmax: more do not fit a small model
NOISE_LEVELS = 8  # that a world model can be told
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
    if head != "softmax":
        raise ValueError(f"a head is one of {HEADS}, got {head!r}")
    if codes > MOST_SOFTMAX:
        raise ValueError(f'one softmax over {codes} codes is too large (at most {MOST_SOFTMAX}): "chained" or "bits"')
    return (codes,)


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


def world_config(table: tuple[int, int], radices: Sequence[int], transformer: TransformerConfig) -> WorldModelConfig:
    """A configuration whose grid is the tokens' table, and whose image codes are the digits, all in one row."""
    rows, columns = table
    image = ImageTokenizerConfig(DOWNSAMPLING * rows, DOWNSAMPLING * columns, "vq", vq_codes=sum(radices))
    return WorldModelConfig(image, transformer)


class LabTransformer(VisualActionTransformer):
    """VisualActionTransformer over digits. `logits` gives the hidden vectors, which `head` turns into codes."""

    def __init__(self, config: WorldModelConfig, radices: Sequence[int], chained: bool, noise_told: bool) -> None:
        super().__init__(config)
        self.radices = tuple(radices)
        self.bases = tuple(int(base) for base in np.cumsum([0, *radices[:-1]]))
        del self.lm_head
        self.head = DigitHead(config.transformer.hidden, radices, chained)
        self.level = nn.Parameter(torch.zeros(NOISE_LEVELS, config.transformer.hidden)) if noise_told else None

    def embed_codes(self, tokens: Tensor) -> Tensor:
        digits = split(tokens, self.radices) + torch.tensor(self.bases, device=tokens.device)
        return self.embed_tokens(digits).sum(-2)

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden

    def loss(self, given: Tensor, actions: Tensor, true: Tensor, levels: Tensor | None = None) -> Tensor:
        """Nats of each token of frames 1..: given, true (B, T, places); levels (B, T) of noise, where that is told ->
        (B, T - 1, places), slots in decode order."""
        x = self.embed_blocks(given, actions)
        if self.level is not None:
            x = x + self.level[torch.zeros(given.shape[:2], dtype=torch.long) if levels is None else levels][:, :, None]
        hidden = self.through(x)[:, 1:, : self.layout.image]
        return self.head.loss(hidden, true[:, 1:, torch.from_numpy(self.layout.places)])


class ModuleInputs:
    """A LabTransformer's inputs for FrameDecoder, from the module's own embeddings."""

    chain = None

    def __init__(self, model: LabTransformer) -> None:
        self.model = model

    @torch.inference_mode()
    def image(
        self, layout: BlockLayout, part: slice, tokens: Tokens, previous: Tokens | None, action: Tokens | None
    ) -> Array:
        given = [None if a is None else torch.from_numpy(np.asarray(a, np.int64)) for a in (tokens, previous, action)]
        assert given[0] is not None, "a frame has tokens"
        return self._clean(self.model.embed_image(given[0], given[1], given[2])[part])

    @torch.inference_mode()
    def outro(self, layout: BlockLayout, tokens: Tokens, action: Tokens) -> Array:
        given = (torch.from_numpy(np.asarray(a, np.int64)) for a in (tokens, action))
        return self._clean(self.model.embed_outro(*given))

    def _clean(self, x: Tensor) -> Array:
        """Frames in play are told to be without noise."""
        return (x if self.model.level is None else x + self.model.level[0]).float().numpy()


class LabDecoder(FrameDecoder):
    """The one decode path, with a head for sub-codes behind it."""

    def __init__(self, model: LabTransformer) -> None:
        super().__init__(model.config, ModuleInputs(model), EagerBackend(model, guided=False))
        self.head = model.head

    @torch.inference_mode()
    def draw(self, score: Array, sampler: Sampler, seed: int, frame: int, places: NDArray[np.int64]) -> Tokens:
        def pick(logits: Tensor, number: int) -> Tensor:
            drawn = sample(logits.float().numpy(), sampler, seed + number * DIGIT_SEED, frame, places)
            return torch.from_numpy(drawn).long()

        return self.head.draw(torch.from_numpy(score), pick).numpy().astype(np.int32)
