"""The operations of a frame by our own CUDA kernels. Each can be left to the library instead (`use`)."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from kernels import operations
from kernels.launch import Launcher
from kernels.sampling_device import Settings
from kernels.weight_only import StoredWeight
from worldmodel.config import WorldModelConfig
from worldmodel.engine.cuda.ops import LibraryOps
from worldmodel.engine.cuda.ring import Ring

KERNELS = ("attention", "rotary_cache", "sampling", "swiglu", "rgb", "linear8")


def usable(config: WorldModelConfig, dtype: torch.dtype) -> tuple[str, ...]:
    """The kernels that fit a model: attention is written for bfloat16 and heads of 64, sampling for 8192
    codes, linear8 (8-bit weights) for sizes that are multiples of 64."""
    misfits = set()
    if dtype != torch.bfloat16 or config.transformer.head_dim != operations.HEAD_DIM:
        misfits.add("attention")
    image = config.image_tokenizer
    if max(image.parts) > operations.MAX_CODES:
        misfits.add("sampling")
    t = config.transformer
    sizes = (t.hidden, t.heads * t.head_dim, t.kv_heads * t.head_dim, t.mlp, sum(image.parts))
    if dtype != torch.bfloat16 or any(size % 64 for size in sizes):
        misfits.add("linear8")
    return tuple(name for name in KERNELS if name not in misfits)


def _entries(ring: Ring, layer: int) -> operations.Entries:
    scales = (None if part is None else part[layer] for part in (ring.key_scales, ring.value_scales))
    return operations.Entries(ring.keys[layer], ring.values[layer], *scales)


class KernelOps(LibraryOps):
    """use: names in KERNELS; the others stay with the library. ValueError for an unknown name."""

    def __init__(self, launch: Launcher, use: Collection[str] = KERNELS) -> None:
        unknown = set(use) - set(KERNELS)
        if unknown:
            raise ValueError(f"unknown kernels {sorted(unknown)}; known are {', '.join(KERNELS)}")
        self.launch, self.use = launch, frozenset(use)
        self.needs_bias = "attention" not in self.use

    def masked(self) -> LibraryOps:
        return KernelOps(self.launch, self.use - {"attention"})

    def linear(self, x: Tensor, weight: Tensor | StoredWeight, added: Tensor | None = None) -> Tensor:
        if isinstance(weight, StoredWeight) and "linear8" in self.use:
            return operations.linear8(self.launch, x, weight, added)
        return super().linear(x, weight, added)

    def rotate_and_store(
        self, qkv: Tensor, cos: Tensor, sin: Tensor, targets: Tensor, ring: Ring, layer: int
    ) -> Tensor:
        if "rotary_cache" not in self.use:
            return super().rotate_and_store(qkv, cos, sin, targets, ring, layer)
        return operations.rotate_and_store(self.launch, qkv, cos, sin, targets, _entries(ring, layer))

    def attention(self, q: Tensor, ring: Ring, layer: int, bias: Tensor | None, stop: int, outro: int) -> Tensor:
        if "attention" not in self.use:
            return super().attention(q, ring, layer, bias, stop, outro)
        entries, frames = _entries(ring, layer), None if ring.gathered is None else ring.gathered.read_by(outro)
        return operations.attention(self.launch, q, entries, ring.block, ring.length, ring.window, stop, outro, frames)

    def swiglu(self, gate_up: Tensor) -> Tensor:
        return operations.swiglu(self.launch, gate_up) if "swiglu" in self.use else super().swiglu(gate_up)

    def uniforms(self, settings: Settings, count: int) -> Tensor:
        """Nothing where the sampling kernel draws its own."""
        return settings.reals if "sampling" in self.use else super().uniforms(settings, count)

    def sample(self, logits: Tensor, settings: Settings, drawn: Tensor, places: Tensor, known: Tensor) -> None:
        if "sampling" in self.use:
            operations.sample(self.launch, logits, settings, places, known)
        else:
            super().sample(logits, settings, drawn, places, known)

    def to_rgb(self, pixels: Tensor, picture: Tensor) -> None:
        if "rgb" in self.use:
            operations.to_rgb(self.launch, pixels, picture)
        else:
            super().to_rgb(pixels, picture)
