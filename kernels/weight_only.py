"""Weight-only formats: matrices kept in bf16, int8 or fp8, inputs and sums in the dtype of the input.

A decode pass at batch 1 is bound by the bytes of its weights, so fewer bytes are time, and inputs gain nothing from
being rounded too. One scale an output channel, from the channel's largest magnitude (symmetric; fp8 is e4m3:
Micikevicius et al., arXiv 2209.05433). int8 and fp8 values are exact in bf16, so that the scale is applied once,
after the product. PyTorch; it knows matrices, not worlds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

DTYPES = {"bf16": torch.bfloat16, "int8": torch.int8, "fp8": torch.float8_e4m3fn}
"""Formats by name. bf16 has no scales."""


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """values: (out, in) in the format's dtype; scales: float32 (out,), or None. The weight is values * scales."""

    values: Tensor
    scales: Tensor | None

    @property
    def bytes(self) -> int:
        return self.values.nbytes + (0 if self.scales is None else self.scales.nbytes)


def store(weight: Tensor, format: str) -> StoredWeight:
    """weight: float (out, in), finite -> rounded to the nearest value of the format.

    ValueError for an unknown format or a weight that is not finite.
    """
    if format not in DTYPES:
        raise ValueError(f"unknown weight format {format!r}; known are {', '.join(DTYPES)}")
    if not weight.isfinite().all():
        raise ValueError(f"a weight of shape {tuple(weight.shape)} has values that are not finite")
    if format == "bf16":
        return StoredWeight(weight.to(torch.bfloat16), None)
    weight = weight.float()
    dtype = DTYPES[format]
    largest = torch.iinfo(dtype).max if format == "int8" else torch.finfo(dtype).max
    scales = weight.abs().amax(1) / largest
    # A channel so small that its scale is 0 (or too small to divide by) is kept as zeros.
    scales = torch.where(scales < torch.finfo(torch.float32).tiny, 0.0, scales)
    values = weight / torch.where(scales == 0, torch.inf, scales).unsqueeze(1)
    # A quotient may come out an ulp beyond the largest value: int8 would wrap around, and fp8 become NaN.
    values = values.clamp(-largest, largest)
    return StoredWeight((values.round() if format == "int8" else values).to(dtype), scales)


def linear(x: Tensor, weight: StoredWeight) -> Tensor:
    """x: float (..., in) -> (..., out) in x's dtype."""
    y = F.linear(x, weight.values.to(x.dtype))
    return y if weight.scales is None else (y * weight.scales).to(x.dtype)
