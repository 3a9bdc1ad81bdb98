"""The device's ring cache: keys and values of the last frames at addresses that never change, and what is visible.

Position and masks are tensors that are computed on the device, so that a captured graph rolls the ring by itself.
The cache may be kept in int8, with a scale for each entry of each head: half the bytes that a pass reads of it.

A pass reads "positions". Where a frame attends to all that the ring keeps (the last n frames), they are the ring's
entries, as they lie. Else they are gathered, by frame: the current one and those that it attends to come first, and
behind them those that only a frame's first pass reads, for the last rows of the frame before.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from worldmodel.config import WorldModelConfig
from worldmodel.model.layout import BlockLayout

CHUNK = 256  # entries that one part of a split attention reads; the ring's size is a multiple


@dataclass(frozen=True)
class Gathered:
    """reach: int64, the age of each position, `slots` where it is never visible; entries: int64, the ring's entry that
    it reads now; frames: int32, the same by frame and without the idle lane, for a kernel that gathers by itself:
    age << 2 | attended_before << 1 | attended; inner: how many frames a pass without an outro reads."""

    reach: Tensor
    entries: Tensor
    frames: Tensor
    inner: int

    def read_by(self, outro: int) -> Tensor:
        """The frames that a pass reads."""
        return self.frames if outro else self.frames[: self.inner]


@dataclass(frozen=True)
class Ring:
    """keys, values: (layers, kv_heads, entries, D), int8 if there are scales; key_scales, value_scales: float32
    (layers, kv_heads, entries), or None; dtype: what they are read as; block: int64 (), -1 when empty; targets: int64
    (length,) entries of the current block.

    Of each position, int64: age, blocks since its block was current (0: it is; `slots`: never visible); slot, its frame
    slot; offset, its place in the block. current: int64 (length,) positions of the current block; inner: how many a
    pass without an outro reads. attended, attended_before: bool (slots + 1,) by age, whether the current block attends
    to it, and the one before. gathered: where positions are not simply the entries, or None."""

    keys: Tensor
    values: Tensor
    block: Tensor
    targets: Tensor
    age: Tensor
    slot: Tensor
    offset: Tensor
    current: Tensor
    attended: Tensor
    attended_before: Tensor
    inner: int
    window: int
    length: int
    dtype: torch.dtype
    key_scales: Tensor | None = None
    value_scales: Tensor | None = None
    gathered: Gathered | None = None

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
        slots = t.window + 1
        entries = _whole_chunks((slots + guided) * length)
        stored = torch.int8 if bits8 else dtype
        keys = torch.zeros(t.layers, t.kv_heads, entries, t.head_dim, dtype=stored, device=device)
        scales = torch.zeros(t.layers, t.kv_heads, entries, device=device) if bits8 else None
        targets = torch.zeros(length, dtype=torch.int64, device=device)
        ages = torch.arange(slots + 1, device=device)
        attended = torch.isin(ages, torch.tensor(t.offsets, device=device))
        before = torch.isin(ages, torch.tensor([1, *(offset + 1 for offset in t.offsets)], device=device))
        if t.attended == t.window:
            index = torch.arange(entries, device=device)
            slot, offset, current, inner, gathered = index // length, index % length, targets, entries, None
        else:
            first = [age for age in t.first_offsets if age not in t.offsets]
            seen = [0, *t.offsets]
            # The idle lane's frame (slot `slots`) and the padding (entry 0) have no age at which they would be visible.
            parts = (_positions([*seen, *([slots] if guided else [])], length, slots), _positions(first, length, slots))
            reach, offset = (torch.cat(part).to(device) for part in zip(*parts, strict=True))
            slot = torch.where((reach == slots) & (offset >= 0), slots, 0)
            offset, current, inner = offset.clamp_min(0), torch.arange(length, device=device), len(parts[0][0])
            rules = [age << 2 | int(before[age]) << 1 | int(attended[age]) for age in (*seen, *first)]
            gathered = Gathered(
                reach, slot * length + offset, torch.tensor(rules, dtype=torch.int32, device=device), t.attended
            )
        ring = Ring(
            keys,
            torch.zeros_like(keys),
            torch.full((), -1, dtype=torch.int64, device=device),
            targets,
            torch.full_like(slot, slots),
            slot,
            offset,
            current,
            attended,
            before,
            inner,
            t.window,
            length,
            dtype,
            scales,
            None if scales is None else torch.zeros_like(scales),
            gathered,
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

    def read(self, layer: int, positions: int | None = None) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer, of `dtype`: (kv_heads, entries, D), or (kv_heads, positions, D) of the first
        positions."""
        gathered = self.gathered if positions is not None else None

        def part(cache: Tensor) -> Tensor:
            return cache[layer] if gathered is None else cache[layer].index_select(1, gathered.entries[:positions])

        if self.key_scales is None or self.value_scales is None:
            return part(self.keys), part(self.values)
        pairs = ((self.keys, self.key_scales), (self.values, self.value_scales))
        keys, values = ((part(cache) * part(scales).unsqueeze(-1)).to(self.dtype) for cache, scales in pairs)
        return keys, values

    def reset(self) -> None:
        self.block.fill_(-1)

    def advance(self) -> None:
        """The next block becomes the current one."""
        self.block.add_(1)
        current = self.block % self.slots
        self.targets.copy_(current * self.length + torch.arange(self.length, device=self.block.device))
        if self.gathered is None:
            age = torch.where(self.slot < self.slots, (current - self.slot) % self.slots, self.slots)
        else:
            age = self.gathered.reach
            self.slot.copy_(torch.where(age < self.slots, (current - age) % self.slots, self.slot))
            self.gathered.entries.copy_(self.slot * self.length + self.offset)
        # Slots that no block has filled since `reset` are older than anything visible, as the padding is.
        self.age.copy_(torch.where(age <= self.block, age, self.slots))

    def bias(self, stop: int, outro: int = 0, rows: int = 1) -> Tensor:
        """Additive mask of a pass, 0 or -inf in the cache's dtype: (rows if outro else 1, positions).

        The current block's rows see the blocks that it attends to and their own block's first `stop` slots. The first
        `outro` of the rows belong to the block before: they see what that attends to, and not the current block.
        """
        age, own = self._own(stop, outro)
        if not outro:
            return self._additive(own[None])
        first = torch.arange(rows, device=self.age.device)[:, None] < outro
        return self._additive(torch.where(first, self.attended_before[age], own))

    def lanes_bias(self, stop: int, outro: int, rows: int, image: int) -> Tensor:
        """Additive mask of a guided pass: (2 outro + 2 rows, positions). The rows are both lanes' outros, then both
        lanes' rows of the current block; the action's lane comes first and sees what `bias` says. The idle lane has its
        own outro of the block before (offsets from `image` on) and its own current block, in idle_targets."""
        age, own = self._own(stop, outro)
        before, offset = self.attended_before[age], self.offset[: len(age)]
        ending, idle = offset >= image, self.slot[: len(age)] == self.slots
        shared = ~((age == 1) & ending) & (age > 0)
        idle_own = torch.where(idle, ending | (offset < stop), own & shared)
        idle_before = torch.where(idle, ending, before & shared)
        counts = ((before, outro), (idle_before, outro), (own, rows), (idle_own, rows))
        return self._additive(torch.cat([seen.expand(count, -1) for seen, count in counts]))

    def block_bias(self, own: Tensor) -> Tensor:
        """The same for rows that are the current block's first n slots; own: bool (n, n) [query, key]."""
        visible = self.attended[self.age[: self.inner]].repeat(len(own), 1)
        visible[:, self.current[: len(own)]] = own
        return self._additive(visible)

    def _own(self, stop: int, outro: int) -> tuple[Tensor, Tensor]:
        """Of the positions that a pass reads: their ages, and whether the current block's rows see them."""
        age = self.age if outro else self.age[: self.inner]
        return age, self.attended[age] | ((age == 0) & (self.offset[: len(age)] < stop))

    def _additive(self, visible: Tensor) -> Tensor:
        zero = torch.zeros((), dtype=self.dtype, device=visible.device)
        return torch.where(visible, zero, float("-inf"))


def _whole_chunks(count: int) -> int:
    return -(-count // CHUNK) * CHUNK


def _positions(ages: list[int], length: int, never: int) -> tuple[Tensor, Tensor]:
    """Age and place in the block of the positions of whole frames, padded to whole chunks: `never` and -1."""
    padding = (0, _whole_chunks(len(ages) * length) - len(ages) * length)
    age, offset = torch.tensor(ages).repeat_interleave(length), torch.arange(length).repeat(len(ages))
    return F.pad(age, padding, value=never), F.pad(offset, padding, value=-1)


def quantise(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(..., D) -> int8 (..., D) and float32 scales (...): symmetric, the row's largest magnitude becomes 127."""
    rows = rows.float()
    scales = rows.abs().amax(-1) / 127
    values = rows / torch.where(scales > 0, scales, 1.0).unsqueeze(-1)
    return values.round().clamp(-127, 127).to(torch.int8), scales
