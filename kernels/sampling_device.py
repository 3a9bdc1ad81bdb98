"""Sampling on a device, as tensor operations without a host sync: what a CUDA graph can hold. Twin of sampling.py.

Philox in int64 arithmetic (a product of two 32-bit words wraps around, and its words are cut out of it). The settings
lie in tensors, so that they change without a new capture. Knows arrays, not worlds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.sampling import M0, M1, MASK, ROUNDS, W0, W1, Sampler


@dataclass(frozen=True)
class Settings:
    """reals: float64 (3,): 1 / temperature, top_p, guidance; integers: int64 (4,): greedy, top_k, seed, frame."""

    reals: Tensor
    integers: Tensor

    @staticmethod
    def empty(device: torch.device) -> Settings:
        return Settings(torch.ones(3, dtype=torch.float64, device=device), torch.zeros(4, dtype=torch.int64).to(device))

    def set(self, sampler: Sampler, seed: int, frame: int) -> None:
        """Host to device; the tensors stay where they are."""
        cold = 1.0 if sampler.greedy else 1 / sampler.temperature
        self.reals.copy_(torch.tensor([cold, sampler.top_p, sampler.guidance], dtype=torch.float64))
        signed = [(value + 2**63) % 2**64 - 2**63 for value in (seed, frame)]
        self.integers.copy_(torch.tensor([int(sampler.greedy), sampler.top_k, *signed]))


def philox_device(settings: Settings, positions: Tensor) -> Tensor:
    """First words of Philox4x32-10, as int64 in 0..2**32-1. positions: int64 (N,) -> (N,)."""
    seed, frame = settings.integers[2], settings.integers[3]
    c0, c1, c2 = positions & MASK, (frame & MASK).expand_as(positions), ((frame >> 32) & MASK).expand_as(positions)
    c3 = torch.zeros_like(c0)
    k0, k1 = seed & MASK, (seed >> 32) & MASK
    for _ in range(ROUNDS):
        p0, p1 = c0 * M0, c2 * M1
        c0, c1, c2, c3 = ((p1 >> 32) & MASK) ^ c1 ^ k0, p1 & MASK, ((p0 >> 32) & MASK) ^ c3 ^ k1, p0 & MASK
        k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    return c0


def uniforms_device(settings: Settings, positions: Tensor) -> Tensor:
    """float32 in [0, 1) with 24 random bits each. positions: int64 (N,) -> (N,)."""
    return (philox_device(settings, positions) >> 8).float() * 2.0**-24


def guide_device(logits: Tensor, idle: Tensor, settings: Settings) -> Tensor:
    """Both float32 (N, codes). Twin of sampling.guide."""
    return logits + settings.reals[2].float() * (logits - idle)


def sample_device(logits: Tensor, settings: Settings, drawn: Tensor) -> Tensor:
    """logits: float32 (N, codes); drawn: (N,) uniforms -> int64 (N,). Twin of sampling.sample."""
    codes = logits.shape[-1]
    (heat, top_p, _), (greedy, top_k) = settings.reals.unbind(), settings.integers[:2].unbind()
    weights = torch.exp((logits - logits.amax(-1, keepdim=True)) * heat.float())
    total = weights.double().sum(-1, keepdim=True)
    ranked = weights.sort(-1, descending=True).values
    count = (ranked.double().cumsum(-1) < top_p * total).sum(-1, keepdim=True) + 1
    count = torch.where(top_p == 1, codes, count).clamp_max(codes)
    count = torch.where(top_k > 0, torch.minimum(count, top_k), count)
    kept = weights >= ranked.gather(-1, count - 1)
    running = (weights.double() * kept).cumsum(-1)
    pick = (running <= drawn.double()[:, None] * running[:, -1:]).sum(-1)
    last = codes - 1 - kept.flip(-1).int().argmax(-1)
    return torch.where(greedy > 0, logits.argmax(-1), torch.minimum(pick, last))
