"""The device's ring cache: keys and values of the last frames at addresses that never change, and what is visible.

Position and masks are tensors that are computed on the device, so that a captured graph rolls the ring by itself.
The cache may be kept in int8, with a scale for each entry of each head: half the bytes that a pass reads of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worldmodel.config import WorldModelConfig
from worldmodel.model.layout import BlockLayout

CHUNK = 256  # entries that one part of a split attention reads; the ring's size is a multiple


@dataclass(frozen=True)
class Ring:
    """keys, values: (layers, kv_heads, entries, D), int8 if there are scales; key_scales, value_scales: float32
    (layers, kv_heads, entries), or None; dtype: what they are read as; block: int64 (), -1 when empty; targets: int64
    (length,) entries of the current block; age: int64 (entries,) blocks since the entry's block was current (0: it is;
    beyond the padding: never visible). slot, offset: int64 (entries,) the entry's frame slot and place within it."""

    keys: Tensor
    values: Tensor
    block: Tensor
    targets: Tensor
    age: Tensor
    slot: Tensor
    offset: Tensor
    window: int
    length: int
    dtype: torch.dtype
    key_scales: Tensor | None = None
    value_scales: Tensor | None = None

    @staticmethod
    def empty(
        config: WorldModelConfig,
        layout: BlockLayout,
        device: torch.device,
        dtype: torch.dtype,
        bits8: bool = False,
        guided: bool = False,
    ) -> Ring:
        """guided: with room for the idle lane of guided frames."""
        t, length = config.transformer, layout.length
        used = (t.window + 1 + guided) * length
        entries = -(-used // CHUNK) * CHUNK
        index = torch.arange(entries, device=device)
        stored = torch.int8 if bits8 else dtype
        keys = torch.zeros(t.layers, t.kv_heads, entries, t.head_dim, dtype=stored, device=device)
        scales = torch.zeros(t.layers, t.kv_heads, entries, device=device) if bits8 else None
        ring = Ring(
            keys,
            torch.zeros_like(keys),
            torch.full((), -1, dtype=torch.int64, device=device),
            torch.zeros(length, dtype=torch.int64, device=device),
            torch.zeros(entries, dtype=torch.int64, device=device),
            index // length,
            index % length,
            t.window,
            length,
            dtype,
            scales,
            None if scales is None else torch.zeros_like(scales),
        )
        ring.reset()
        return ring

    @property
    def slots(self) -> int:
        """Frames that there is room for: the window and the frame that is leaving it."""
        return self.window + 1

    @property
    def idle_targets(self) -> Tensor:
        """int64 (length,): entries of the idle lane, behind those of the frames."""
        return torch.arange(self.slots * self.length, (self.slots + 1) * self.length, device=self.block.device)

    def write(self, layer: int, targets: Tensor, keys: Tensor, values: Tensor) -> None:
        """Stores entries. targets: int64 (n,); keys, values: (n, kv_heads, D)."""
        for cache, scales, rows in ((self.keys, self.key_scales, keys), (self.values, self.value_scales, values)):
            rows = rows.transpose(0, 1)
            if scales is not None:
                rows, scale = quantise(rows)
                scales[layer].index_copy_(1, targets, scale)
            cache[layer].index_copy_(1, targets, rows)

    def read(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer, (kv_heads, entries, D) of `dtype`."""
        if self.key_scales is None or self.value_scales is None:
            return self.keys[layer], self.values[layer]
        pairs = ((self.keys, self.key_scales), (self.values, self.value_scales))
        keys, values = ((cache[layer] * scales[layer].unsqueeze(-1)).to(self.dtype) for cache, scales in pairs)
        return keys, values

    def reset(self) -> None:
        self.block.fill_(-1)

    def advance(self) -> None:
        """The next block becomes the current one."""
        self.block.add_(1)
        current = self.block % self.slots
        self.targets.copy_(current * self.length + torch.arange(self.length, device=self.block.device))
        age = (current - self.slot) % self.slots
        # Padding, and slots that no block has filled since `reset`, are older than anything visible.
        self.age.copy_(torch.where((self.slot < self.slots) & (age <= self.block), age, self.slots))

    def bias(self, stop: int, outro: int = 0, rows: int = 1) -> Tensor:
        """Additive mask of a pass, 0 or -inf in the cache's dtype: (rows if outro else 1, entries).

        The current block's rows see the window's earlier blocks and their own block's first `stop` slots. The first
        `outro` of the rows belong to the block before: they see their own window, and not the current block.
        """
        own = ((self.age >= 1) & (self.age < self.window)) | ((self.age == 0) & (self.offset < stop))
        if not outro:
            return self._additive(own[None])
        before = (self.age >= 1) & (self.age <= self.window)
        first = torch.arange(rows, device=self.age.device)[:, None] < outro
        return self._additive(torch.where(first, before, own))

    def lanes_bias(self, stop: int, outro: int, rows: int, image: int) -> Tensor:
        """Additive mask of a guided pass: (2 outro + 2 rows, entries). The rows are both lanes' outros, then both
        lanes' rows of the current block; the action's lane comes first and sees what `bias` says. The idle lane has its
        own outro of the block before (offsets from `image` on) and its own current block, in idle_targets."""
        own = ((self.age >= 1) & (self.age < self.window)) | ((self.age == 0) & (self.offset < stop))
        before = (self.age >= 1) & (self.age <= self.window)
        ending, idle = self.offset >= image, self.slot == self.slots
        shared = ~((self.age == 1) & ending) & (self.age > 0)
        idle_own = torch.where(idle, ending | (self.offset < stop), own & shared)
        idle_before = torch.where(idle, ending, before & shared)
        counts = ((before, outro), (idle_before, outro), (own, rows), (idle_own, rows))
        return self._additive(torch.cat([seen.expand(count, -1) for seen, count in counts]))

    def block_bias(self, own: Tensor) -> Tensor:
        """The same for rows that are the current block's first n slots; own: bool (n, n) [query, key]."""
        visible = ((self.age >= 1) & (self.age < self.window)).repeat(len(own), 1)
        visible[:, self.targets[: len(own)]] = own
        return self._additive(visible)

    def _additive(self, visible: Tensor) -> Tensor:
        zero = torch.zeros((), dtype=self.dtype, device=visible.device)
        return torch.where(visible, zero, float("-inf"))


def quantise(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(..., D) -> int8 (..., D) and float32 scales (...): symmetric, the row's largest magnitude becomes 127."""
    rows = rows.float()
    scales = rows.abs().amax(-1) / 127
    values = rows / torch.where(scales > 0, scales, 1.0).unsqueeze(-1)
    return values.round().clamp(-127, 127).to(torch.int8), scales
