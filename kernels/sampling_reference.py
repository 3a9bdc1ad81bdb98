"""PyTorch twin of sampling.py, one token at a time and by the plain definition: what every fast sampler must equal."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kernels.sampling import Sampler, uniforms


def sample_reference(logits: Tensor, sampler: Sampler, seed: int, frame: int, positions: Tensor) -> Tensor:
    """logits: (N, codes); positions: (N,) -> int32 (N,). Twin of `sample`."""
    chosen = []
    for row, position in zip(logits, positions.tolist(), strict=True):
        if sampler.greedy:
            chosen.append(int(row.argmax()))
            continue
        probabilities = torch.softmax(row.double() / sampler.temperature, -1)
        ranked, codes = probabilities.sort(descending=True)
        mass, keep = 0.0, set()
        for rank, (probability, code) in enumerate(zip(ranked.tolist(), codes.tolist(), strict=True)):
            if mass >= sampler.top_p or (sampler.top_k and rank >= sampler.top_k):
                break
            mass += probability
            keep.add(code)
        target = float(uniforms(seed, frame, np.array([position]))[0]) * mass
        running = 0.0
        for code in sorted(keep):
            running += float(probabilities[code])
            if running > target:
                break
        chosen.append(code)
    return torch.tensor(chosen, dtype=torch.int32)
