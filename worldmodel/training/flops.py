"""What a training step computes, and the share of the device's peak that is used (MFU: Chowdhery et al. 2022, arXiv
2204.02311).

Forward and backward pass, as the model needs them: what activation checkpointing computes twice counts once.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from worldmodel.config import WorldModelConfig
from worldmodel.model.layout import BlockLayout
from worldmodel.tokenizers.action import TOKENS_PER_ACTION
from worldmodel.training.run.stopping import processes

PASSES = 3  # of a product: forward, and backward to its input and to its weight
# bf16 products without sparsity, operations a second, as NVIDIA's data sheets give them; the first name that fits.
PEAKS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "RTX 5090": 209e12,
    "RTX 4090": 165e12,
}


def seen_entries(config: WorldModelConfig, frames: int) -> int:
    """Pairs of a query and a key that it sees, over a clip of so many frames."""
    layout, offsets = BlockLayout(config.decode_order()), np.asarray(config.transformer.offsets)
    if layout.order.released:  # one causal sequence
        entries = frames * (layout.image + TOKENS_PER_ACTION) - 1
        return entries * (entries + 1) // 2
    earlier = sum(int((offsets <= frame).sum()) for frame in range(frames))
    return frames * int(layout.mask.sum()) + earlier * layout.length**2


def clip_flops(config: WorldModelConfig, frames: int) -> float:
    """Floating-point operations of a training step, a clip of so many frames. Products alone."""
    t, layout = config.transformer, BlockLayout(config.decode_order())
    slots = frames * (layout.image + TOKENS_PER_ACTION if layout.order.released else layout.length)
    layers = t.layers * t.hidden * (2 * (t.heads + t.kv_heads) * t.head_dim + 3 * t.mlp)
    inputs = (frames - 1) * (t.previous_frame * layout.image + t.action_input) * t.hidden**2
    head = (frames - 1) * layout.image * t.hidden * sum(config.image_tokenizer.parts)
    attention = 2 * t.layers * t.heads * t.head_dim * seen_entries(config, frames)  # scores, and values
    return PASSES * 2.0 * (slots * layers + inputs + head + attention)


def clip_tokens(config: WorldModelConfig, frames: int) -> int:
    """Image and action tokens of a clip."""
    return frames * (config.image_tokenizer.tokens_per_frame + TOKENS_PER_ACTION)


def peak_of(device: torch.device) -> float | None:
    """The device's bf16 operations a second, where they are known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for known, peak in PEAKS.items() if known in name), None)


class Meter:
    """Tokens a second of all processes and, where the device's peak is known, the share of it that is used (MFU), since
    it was last read. batch: clips a step, of `frames` frames; done: steps so far."""

    def __init__(self, config: WorldModelConfig, batch: int, frames: int, device: torch.device, done: int) -> None:
        self.tokens, self.flops = batch * clip_tokens(config, frames), batch * clip_flops(config, frames)
        self.peak = peak_of(device)
        self.done, self.since, self.left_out = done, time.monotonic(), 0.0

    def leave_out(self, seconds: float) -> None:
        """Time in which nothing was trained."""
        self.left_out += seconds

    def read(self, done: int) -> dict[str, float]:
        """done: steps, which are over on the device, too."""
        now = time.monotonic()
        pace = (done - self.done) / max(1e-9, now - self.since - self.left_out)  # steps a second
        self.done, self.since, self.left_out = done, now, 0.0
        values = {"tokens_per_second": pace * self.tokens}
        return values if self.peak is None else {**values, "mfu": pace * self.flops / (self.peak * processes())}
