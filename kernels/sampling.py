"""Token sampling with counter-based randomness: temperature, top-k, top-p.

The random number of a token depends on (seed, frame, position) alone: same seed, same tokens, whatever else
runs, in any order and on any device. Generator: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy
as 1, 2, 3", SC 2011). Sampling inverts the cumulative distribution in code order over the kept codes, so that no
sort is needed where a device finds the threshold another way. NumPy; the PyTorch twin is in
sampling_reference.py. It knows arrays, not worlds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROUNDS = 10
M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85
MASK = 0xFFFFFFFF
COLDEST = 0.01
"""Below this temperature, the most likely code is always taken."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """temperature: below COLDEST is greedy; top_k: keep the k most likely codes (0: all); top_p: keep the smallest set
    of most likely codes whose probability reaches top_p; guidance: how far logits are moved away from others (see
    `guide`; 0: not at all). ValueError for values out of range."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 0.8
    guidance: float = 0.0

    def __post_init__(self) -> None:
        for name in ("temperature", "guidance"):
            value = getattr(self, name)
            if value is None or not 0 <= value <= 10:
                raise ValueError(f"{name} must lie in 0..10, got {value}")
        if not 0 <= self.top_k < 2**31:
            raise ValueError(f"top_k must lie in 0 (all)..2^31-1, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], got {self.top_p}")

    @property
    def greedy(self) -> bool:
        """Whether the most likely code is always taken. Just above, float32 weights would say the same."""
        return self.temperature < COLDEST


GREEDY = Sampler(temperature=0.0, top_p=1.0)


def philox(seed: int, frame: int, positions: NDArray[np.integer]) -> NDArray[np.uint32]:
    """Philox4x32-10, first word. Counter (position, frame low, frame high, 0), key (seed low, seed high).
    positions: (N,) -> uint32 (N,)."""
    mask = np.uint64(MASK)
    c0 = np.asarray(positions, np.uint64) & mask
    c1 = np.full_like(c0, frame & MASK)
    c2 = np.full_like(c0, (frame >> 32) & MASK)
    c3 = np.zeros_like(c0)
    k0, k1 = seed & MASK, (seed >> 32) & MASK
    shift = np.uint64(32)
    for _ in range(ROUNDS):
        p0, p1 = c0 * np.uint64(M0), c2 * np.uint64(M1)
        c0, c1, c2, c3 = (p1 >> shift) ^ c1 ^ np.uint64(k0), p1 & mask, (p0 >> shift) ^ c3 ^ np.uint64(k1), p0 & mask
        k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    return c0.astype(np.uint32)


def uniforms(seed: int, frame: int, positions: NDArray[np.integer]) -> NDArray[np.float32]:
    """float32 in [0, 1) with 24 random bits each. positions: (N,) -> (N,)."""
    return (philox(seed, frame, positions) >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def guide(logits: NDArray[np.float32], idle: NDArray[np.float32], guidance: float) -> NDArray[np.float32]:
    """Moves logits away from those of an idle step, so that what the action changes becomes likelier: classifier-free
    guidance (Ho & Salimans 2022, arXiv 2207.12598). Both (N, codes)."""
    return (logits + np.float32(guidance) * (logits - idle)).astype(np.float32, copy=False)


def sample(
    logits: NDArray[np.float32], sampler: Sampler, seed: int, frame: int, positions: NDArray[np.integer]
) -> NDArray[np.int32]:
    """logits: (N, codes); positions: (N,) places of the tokens -> codes int32 (N,)."""
    if sampler.greedy:
        return logits.argmax(-1).astype(np.int32)
    logits = logits.astype(np.float32, copy=False)
    weights = np.exp((logits - logits.max(-1, keepdims=True)) * np.float32(1 / sampler.temperature))
    totals = weights.sum(-1, dtype=np.float64)
    drawn = uniforms(seed, frame, positions)
    chosen = np.empty(len(logits), np.int32)
    for index, (row, total, uniform) in enumerate(zip(weights, totals, drawn, strict=True)):
        kept = _kept(row, float(total), sampler)
        cumulative = row[kept].cumsum(dtype=np.float64)
        pick = np.searchsorted(cumulative, float(uniform) * cumulative[-1], side="right")
        chosen[index] = kept[min(int(pick), len(kept) - 1)]
    return chosen


def sample_parts(
    logits: NDArray[np.float32],
    parts: Sequence[int],
    chain: NDArray[np.float32] | None,
    sampler: Sampler,
    seed: int,
    frame: int,
    positions: NDArray[np.integer],
    count: int,
) -> NDArray[np.int32]:
    """Codes that are mixed-radix numbers of parts, the first the lowest digit, each drawn as by `sample` from columns
    of its own: logits (N, sum(parts)). chain (sum of all but the last, sum of all but the first): what the values of
    each part add to the logits of those behind it. A part's random number is that of position + part * count, of
    `count` positions a frame."""
    logits = logits.astype(np.float32)
    codes, radix, base = np.zeros(len(logits), np.int32), 1, 0
    for number, size in enumerate(parts):
        digit = sample(logits[:, base : base + size], sampler, seed, frame, positions + number * count)
        codes, radix, row, base = codes + radix * digit, radix * size, base + digit, base + size
        if chain is not None and number + 1 < len(parts):
            logits[:, base:] += chain[row, base - parts[0] :]
    return codes


def _kept(row: NDArray[np.float32], total: float, sampler: Sampler) -> NDArray[np.intp]:
    """The codes that top-p and top-k keep, in code order. row: (codes,) weights that sum to `total`.

    All codes below (1 - top_p) / codes together have less than 1 - top_p: the kept set lies above, and is nearly always
    small, so that hardly anything needs to be sorted.
    """
    candidates = np.flatnonzero(row >= (1 - sampler.top_p) * total / len(row))
    if sampler.top_p == 1 and not sampler.top_k:
        return candidates
    ranked = -np.sort(-row[candidates])
    # The last code that is kept: the first at which the mass before it has reached top_p.
    count = int((ranked.cumsum(dtype=np.float64) < sampler.top_p * total).sum()) + 1
    if sampler.top_k:
        count = min(count, sampler.top_k)
    return candidates[row[candidates] >= ranked[min(count, len(ranked)) - 1]]
