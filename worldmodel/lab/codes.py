"""Quantisers of several sub-codes, with one integer a place on the outside.

A sub-code is FSQ (levels), l2-normalised EMA VQ (size, dim) or binary (bits). "product": each sub-code looks at latents
of its own (FQGAN). "residual": the first looks at the latents, each later one at what those before left over, brought
to unit size by a running mean. What is decoded is the sub-codes' vectors side by side, not their sum: a decoder can
add, but it cannot take a sum apart.

Same interface as worldmodel/tokenizers/quantizers.py. The integer is the mixed-radix number of the sub-codes, the first
one's digit the lowest, so that token stores stay (T, places). It knows no images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldmodel.model import parts as token_parts
from worldmodel.tokenizers.quantizers import BinaryQuantizer, FiniteScalarQuantizer, VectorQuantizer

COMPOSITIONS = ("product", "residual")
SPREAD_DECAY = 0.99  # of the running size of a residual


@dataclass(frozen=True, slots=True)
class SubCode:
    """One of: levels (FSQ), size and dim (VQ on the unit sphere), bits (binary). late: not quantised in training.
    ValueError for none or several."""

    levels: tuple[int, ...] = ()
    size: int = 0
    dim: int = 8
    bits: int = 0
    late: bool = False

    def __post_init__(self) -> None:
        if (bool(self.levels) + bool(self.size) + bool(self.bits)) != 1:
            raise ValueError(f"a sub-code has levels, or size, or bits: exactly one of them, got {self}")

    @property
    def code_dim(self) -> int:
        return len(self.levels) or self.bits or self.dim

    @property
    def codebook_size(self) -> int:
        return math.prod(self.levels) if self.levels else self.size or 2**self.bits

    def build(self) -> Quantizer:
        if self.levels:
            return FiniteScalarQuantizer(self.levels)
        return VectorQuantizer(self.size, self.dim) if self.size else BinaryQuantizer(self.bits)


def fsq(*levels: int) -> tuple[SubCode, ...]:
    return (SubCode(levels=levels),)


def vq(size: int, dim: int) -> SubCode:
    return SubCode(size=size, dim=dim)


Quantizer = FiniteScalarQuantizer | VectorQuantizer | BinaryQuantizer


def split(indices: Tensor, radices: Sequence[int]) -> Tensor:
    """(...) -> their mixed-radix digits (..., len(radices)), the lowest first."""
    return torch.stack(token_parts.split(indices.long(), radices), -1)


def join(digits: Tensor, radices: Sequence[int]) -> Tensor:
    """The inverse of `split`."""
    places = torch.tensor([math.prod(radices[:i]) for i in range(len(radices))], device=digits.device)
    return (digits.long() * places).sum(-1)


class Codes(nn.Module):
    """latent_dim: of what comes in; code_dim: of what goes out; radices: sizes of the sub-codes.

    orthogonal: weight of FQGAN's disentanglement, the squared cosine of a place's first two sub-codes (arXiv
    2411.16681). ValueError for an unknown composition, or dims that do not fit it.
    """

    spread: Tensor

    def __init__(self, parts: Sequence[SubCode], compose: str = "product", orthogonal: float = 0.0) -> None:
        super().__init__()
        dims = [part.code_dim for part in parts]
        if compose not in COMPOSITIONS:
            raise ValueError(f"sub-codes are composed as one of {COMPOSITIONS}, got {compose!r}")
        if (compose == "residual" or orthogonal > 0) and len(set(dims)) != 1:
            raise ValueError(f"sub-codes that are residual or orthogonal need one dimension, got {dims}")
        self.dims, self.residual, self.orthogonal = dims, compose == "residual", orthogonal
        self.late = [part.late for part in parts]
        self.radices = tuple(part.codebook_size for part in parts)
        self.codebook_size = math.prod(self.radices)
        self.latent_dim = dims[0] if self.residual else sum(dims)
        self.code_dim = sum(dims)
        self.parts = nn.ModuleList([part.build() for part in parts])
        self.register_buffer("spread", torch.ones(len(parts)))

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """latents: (..., latent_dim) -> (quantised (..., code_dim), indices (...) int64, loss)."""
        vectors, digits, loss = [], [], latents.new_zeros((), dtype=torch.float32)
        given = [latents] * len(self.dims) if self.residual else latents.split(self.dims, -1)
        left = latents.float()
        for number, (part, own) in enumerate(zip(self.parts, given, strict=True)):
            if self.residual and number:
                if self.training:
                    self.spread[number].lerp_(left.detach().square().mean().sqrt(), 1 - SPREAD_DECAY)
                own = left / self.spread[number].clamp_min(1e-4)
            quantised, index, own_loss = part(own)
            if self.late[number] and self.training:
                quantised = part.bound(own)  # type: ignore[operator]
            left = part.bound(own) - quantised.detach()  # type: ignore[operator]
            vectors.append(quantised)
            digits.append(index)
            loss = loss + own_loss
        if self.orthogonal:
            loss = loss + self.orthogonal * F.cosine_similarity(vectors[0], vectors[1], dim=-1).square().mean()
        return torch.cat(vectors, -1), join(torch.stack(digits, -1), self.radices), loss

    def decode(self, indices: Tensor) -> Tensor:
        """indices: (...) -> quantised vectors (..., code_dim)."""
        digits = split(indices, self.radices).unbind(-1)
        return torch.cat([part.decode(own) for part, own in zip(self.parts, digits, strict=True)], -1)  # type: ignore[operator]

    def neighbours(self, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One code near each code: one of its sub-codes, drawn at random, is a near one."""
        digits = split(indices, self.radices)
        which = torch.randint(len(self.radices), indices.shape, generator=generator, device=indices.device)
        near = [part.neighbours(own, generator) for part, own in zip(self.parts, digits.unbind(-1), strict=True)]  # type: ignore[operator]
        chosen = F.one_hot(which, len(self.radices)).bool()
        return join(torch.where(chosen, torch.stack(near, -1), digits), self.radices)
