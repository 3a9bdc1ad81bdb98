"""Quantisers of the image tokenizer: finite scalar quantisation (FSQ), binary and vector quantisation (VQ).

All share one interface, so that the autoencoder knows none of them: `forward` maps latents to
(quantised latents, indices, auxiliary loss), `decode` maps indices to quantised latents, and
`neighbours` draws a code near each code (for latent perturbation). They do not know images.

Sources: FSQ, Mentzer et al. 2023 (arXiv 2309.15505); binary spherical quantisation, Zhao et al. 2024 (arXiv
2406.07548); VQ with EMA codebook, van den Oord et al. 2017
(arXiv 1711.00937, appendix A); l2-normalised low-dimensional codes, ViT-VQGAN (arXiv 2110.04627).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BITS_ENTROPY = 0.1  # weight of the binary codes' entropy term
BEYOND = 1 + 1e-3  # how far the tanh of FSQ reaches past the outermost levels


class FiniteScalarQuantizer(nn.Module):
    """Rounds each latent channel to one of a few levels; the code is the mixed-radix number of the levels.

    levels: levels per channel, e.g. (8, 8, 8, 8) gives 4096 codes. There is no codebook to collapse.
    """

    _half: Tensor
    _offset: Tensor
    _shift: Tensor
    _places: Tensor
    _sizes: Tensor

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        if not levels or min(levels) < 2:
            raise ValueError(f"FSQ needs at least one channel and two levels a channel, got levels={levels}")
        self.levels = tuple(levels)
        self.code_dim = len(levels)
        self.codebook_size = math.prod(levels)
        with torch.device("cpu"):  # where a module is made for its shapes alone, arithmetic would cost a second
            sizes = torch.tensor(levels, dtype=torch.float32)
            half = (sizes - 1) / 2
            # An even number of levels has no level at zero: shift the tanh so that a latent of 0 lies in the middle of
            # a level. Of two levels none has a middle within the tanh's reach: there the latent's sign decides.
            offset = torch.where(sizes % 2 == 0, 0.5, 0.0)
            shift = torch.where(sizes == 2, 0.0, torch.atanh(offset / (half * BEYOND)))
            places = torch.tensor([math.prod(levels[:i]) for i in range(len(levels))], dtype=torch.int64)
            whole = torch.tensor(levels, dtype=torch.int64)
        buffers = {"_half": half, "_offset": offset, "_shift": shift, "_places": places, "_sizes": whole}
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer.to(torch.get_default_device()), persistent=False)

    def _bound(self, latents: Tensor) -> Tensor:
        return torch.tanh(latents + self._shift) * (self._half * BEYOND) - self._offset

    def bound(self, latents: Tensor) -> Tensor:
        """What is rounded: latents (..., code_dim) squashed to about [-1, 1], where the levels lie."""
        return (self._bound(latents.float()) + self._offset) / self._half

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """latents: (..., code_dim) -> (quantised, same shape, in [-1, 1]; indices (...) int64; loss, zero)."""
        bounded = self._bound(latents.float())
        rounded = bounded + (bounded.round() - bounded).detach()  # straight-through gradient
        digits = (rounded.detach() + self._offset + self._half).round().long()
        indices = (digits * self._places).sum(-1)
        return (rounded + self._offset) / self._half, indices, latents.new_zeros(())

    def _digits(self, indices: Tensor) -> Tensor:
        return indices.long().unsqueeze(-1) // self._places % self._sizes

    def decode(self, indices: Tensor) -> Tensor:
        """indices: (...) -> quantised latents (..., code_dim) in [-1, 1]."""
        return self._digits(indices).float() / self._half - 1

    def neighbours(self, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One code near each code: a random channel moves by one level (reflected at the ends)."""
        digits = self._digits(indices)
        channel = torch.randint(self.code_dim, indices.shape, generator=generator, device=indices.device)
        sign = torch.randint(2, indices.shape, generator=generator, device=indices.device) * 2 - 1
        sizes = self._sizes[channel]
        old = digits.gather(-1, channel.unsqueeze(-1)).squeeze(-1)
        new = old + sign
        new = torch.where((new < 0) | (new >= sizes), old - sign, new)
        return indices + (new - old) * self._places[channel]


class BinaryQuantizer(nn.Module):
    """The signs of latents on a sphere of radius sqrt(bits), so that each is about 1. The loss asks for sure bits that
    are used alike (the entropy term of BSQ, a bit at a time)."""

    _places: Tensor

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.code_dim, self.codebook_size = bits, 2**bits
        self.register_buffer("_places", 2 ** torch.arange(bits), persistent=False)

    def bound(self, latents: Tensor) -> Tensor:
        """What the signs are taken of: (..., bits) on the sphere."""
        return F.normalize(latents.float(), dim=-1) * self.code_dim**0.5

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """latents: (..., bits) -> (quantised, -1 or 1; indices (...) int64; loss)."""
        bounded = self.bound(latents)
        signs = torch.where(bounded > 0, 1.0, -1.0)
        indices = ((signs > 0) * self._places).sum(-1)
        share = torch.sigmoid(4 * bounded).flatten(0, -2)
        loss = BITS_ENTROPY * (_bit_entropy(share).mean() - _bit_entropy(share.mean(0)).mean())
        return bounded + (signs - bounded).detach(), indices, loss

    def decode(self, indices: Tensor) -> Tensor:
        """indices: (...) -> signs (..., bits)."""
        return (indices.long().unsqueeze(-1) // self._places % 2).float() * 2 - 1

    def neighbours(self, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One code near each code: a random bit is the other."""
        bit = torch.randint(self.code_dim, indices.shape, generator=generator, device=indices.device)
        return indices ^ self._places[bit]


def _bit_entropy(share: Tensor) -> Tensor:
    share = share.clamp(1e-6, 1 - 1e-6)
    return -(share * share.log() + (1 - share) * (1 - share).log())


class VectorQuantizer(nn.Module):
    """Nearest-neighbour quantisation with l2-normalised codes, EMA updates and revival of dead codes.

    codebook_size: K; code_dim: D. Latents and codes lie on the unit sphere, so the nearest code is the
    one of the largest dot product. A code that is used less than `dead_below` times a batch (moving
    average) is replaced by a random latent of the batch.
    """

    codebook: Tensor
    usage: Tensor
    sums: Tensor

    def __init__(
        self,
        codebook_size: int,
        code_dim: int,
        decay: float = 0.99,
        commitment: float = 0.25,
        dead_below: float = 0.03,
        near: int = 16,
    ) -> None:
        super().__init__()
        if codebook_size < 2 or code_dim < 1:
            raise ValueError(f"VQ needs codebook_size >= 2 and code_dim >= 1, got {codebook_size} and {code_dim}")
        self.codebook_size = codebook_size
        self.code_dim = code_dim
        self.decay, self.commitment, self.dead_below, self.near = decay, commitment, dead_below, near
        codebook = F.normalize(torch.randn(codebook_size, code_dim), dim=-1)
        self.register_buffer("codebook", codebook)
        self.register_buffer("usage", torch.ones(codebook_size))
        self.register_buffer("sums", codebook.clone())

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """latents: (..., D) -> (quantised on the unit sphere, indices (...) int64, commitment loss)."""
        flat = self.bound(latents).reshape(-1, self.code_dim)
        indices = (flat @ self.codebook.t()).argmax(-1)
        if self.training:
            self._update(flat.detach(), indices)
        codes = self.codebook[indices]
        loss = self.commitment * F.mse_loss(flat, codes)
        quantised = flat + (codes - flat).detach()
        return quantised.view(latents.shape), indices.view(latents.shape[:-1]), loss

    @torch.no_grad()
    def _update(self, flat: Tensor, indices: Tensor) -> None:
        counts = torch.bincount(indices, minlength=self.codebook_size).to(flat)
        sums = torch.zeros_like(self.sums).index_add_(0, indices, flat)
        self.usage.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        dead = self.usage < self.dead_below
        if dead.any():
            fresh = flat[torch.randint(len(flat), (int(dead.sum()),), device=flat.device)]
            self.sums[dead] = fresh
            self.usage[dead] = 1.0
        self.codebook.copy_(F.normalize(self.sums, dim=-1))

    def bound(self, latents: Tensor) -> Tensor:
        """What is compared with the codes: latents (..., D) on the unit sphere."""
        return F.normalize(latents.float(), dim=-1)

    def decode(self, indices: Tensor) -> Tensor:
        """indices: (...) -> codes (..., D)."""
        return self.codebook[indices.long()]

    def neighbours(self, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One of the `near` nearest codes of each code, itself excluded."""
        near = min(self.near, self.codebook_size - 1)
        flat = indices.reshape(-1)
        similarity = self.codebook[flat] @ self.codebook.t()
        ranked = similarity.topk(near + 1, dim=-1).indices[:, 1:]
        pick = torch.randint(near, (len(flat), 1), generator=generator, device=indices.device)
        return ranked.gather(-1, pick).view(indices.shape)


class NearestQuantizer(VectorQuantizer):
    """Vector quantisation by Euclidean distance: latents and codes as they are, of any length (arXiv 1711.00937)."""

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As VectorQuantizer.forward."""
        flat = self.bound(latents).reshape(-1, self.code_dim)
        indices = torch.cdist(flat, self.codebook).argmin(-1)
        if self.training:
            self._update(flat.detach(), indices)
        codes = self.codebook[indices]
        loss = self.commitment * F.mse_loss(flat, codes)
        quantised = flat + (codes - flat).detach()
        return quantised.view(latents.shape), indices.view(latents.shape[:-1]), loss

    @torch.no_grad()
    def _update(self, flat: Tensor, indices: Tensor) -> None:
        super()._update(flat, indices)
        self.codebook.copy_(self.sums / self.usage.clamp_min(1e-6).unsqueeze(-1))  # the mean, not its direction

    def bound(self, latents: Tensor) -> Tensor:
        """What is compared with the codes: the latents."""
        return latents.float()

    def neighbours(self, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One of the `near` nearest codes of each code, itself excluded."""
        near, flat = min(self.near, self.codebook_size - 1), indices.reshape(-1)
        ranked = torch.cdist(self.codebook[flat], self.codebook).topk(near + 1, dim=-1, largest=False).indices[:, 1:]
        pick = torch.randint(near, (len(flat), 1), generator=generator, device=indices.device)
        return ranked.gather(-1, pick).view(indices.shape)
