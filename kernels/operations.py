"""The kernels as functions of tensors: shapes are checked, grids are chosen. Each names its plain PyTorch twin.

launch: kernels.launch.CupyLauncher, or the tests' emulator.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.launch import Launcher
from kernels.sampling_device import Settings
from kernels.weight_only import DTYPES, StoredWeight

CODES_OF_A_THREAD = 8  # MOST in sampling.cu
MAX_CODES = CODES_OF_A_THREAD * 1024
HEAD_DIM = 64  # D in attention.cu
MOST_PAIRS = 128  # MOST_PAIRS in rotary_cache.cu
TILE_ROWS, TILE_KEYS = 64, 64  # ROWS and KEYS in attention.cu
BLOCKS_WANTED = 132  # a block for each multiprocessor of an H100; fewer keys a block on a smaller GPU do no harm


@dataclass(frozen=True, slots=True)
class Entries:
    """The ring cache of a layer. keys, values: (Hkv, entries, D); scales: float32 (Hkv, entries) if those are int8."""

    keys: Tensor
    values: Tensor
    key_scales: Tensor | None = None
    value_scales: Tensor | None = None

    @property
    def arguments(self) -> tuple[Tensor, ...]:
        """As the kernels take them; where there are no scales, any address will do."""
        tensors = (self.keys, self.values, self.key_scales, self.value_scales)
        return tuple(self.keys if tensor is None else tensor for tensor in tensors)

    @property
    def bits8(self) -> int:
        return int(self.key_scales is not None)


def sample(launch: Launcher, logits: Tensor, settings: Settings, places: Tensor, known: Tensor) -> None:
    """known[places] becomes what is sampled. logits: float32 (n, codes); places: int64 (n,). Twin: sample_device."""
    n, codes = logits.shape
    assert codes <= MAX_CODES, f"the kernel samples among at most {MAX_CODES} codes, not {codes}"
    assert logits.dtype == torch.float32, f"logits are float32, not {logits.dtype}"
    assert logits.is_contiguous(), "logits lie row by row"
    threads = -(-codes // (32 * CODES_OF_A_THREAD)) * 32
    arguments = (logits, settings.reals, settings.integers, places, known, codes)
    launch("sampling", "sample", (n, 1, 1), threads, *arguments, scalar=torch.float32)


def rotate_and_store(
    launch: Launcher, qkv: Tensor, cos: Tensor, sin: Tensor, targets: Tensor, cache: Entries
) -> Tensor:
    """qkv: (n, (H + 2 Hkv) D); cos, sin: float32 (n, D/2); targets: int64 (n,) -> q (n, H, D). Twin:
    LibraryOps.rotate_and_store."""
    kv, entries, D = cache.keys.shape
    assert D // 2 <= MOST_PAIRS, f"the kernel takes heads of at most {2 * MOST_PAIRS}, not {D}"
    n, heads = len(qkv), qkv.shape[1] // D - 2 * kv
    cos, sin, qkv = cos.contiguous(), sin.contiguous(), qkv.contiguous()
    q = torch.empty(n, heads, D, dtype=qkv.dtype, device=qkv.device)
    arguments = (qkv, cos, sin, targets, q, *cache.arguments, heads, kv, entries, cache.bits8)
    launch("rotary_cache", "rotate_and_store", (n, heads + 2 * kv, 1), D // 2, *arguments, scalar=qkv.dtype)
    return q


def swiglu(launch: Launcher, gate_up: Tensor) -> Tensor:
    """(n, 2 size) -> (n, size). Twin: LibraryOps.swiglu."""
    n, size = len(gate_up), gate_up.shape[1] // 2
    out = torch.empty(n, size, dtype=gate_up.dtype, device=gate_up.device)
    launch("swiglu", "swiglu", (-(-size // 256), n, 1), 256, gate_up, out, size, scalar=gate_up.dtype)
    return out


def to_rgb(launch: Launcher, pixels: Tensor, picture: Tensor) -> None:
    """pixels: float32 (3, H, W) in [-1, 1] -> picture: uint8 (H s, W s, 3) for a whole s. Twin: to_rgb_reference."""
    _, height, width = pixels.shape
    scale = picture.shape[0] // height
    assert picture.shape == (height * scale, width * scale, 3), f"{tuple(picture.shape)} is no multiple of the pixels"
    pixels = pixels.float().contiguous()
    grid = (-(-width * scale // 128), height * scale, 1)
    launch("rgb", "to_rgb", grid, 128, pixels, picture, height, width, scale, scalar=torch.float32)


def to_rgb_reference(pixels: Tensor, scale: int) -> Tensor:
    """Twin of `to_rgb`: -> uint8 (H s, W s, 3)."""
    rgb = ((pixels.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
    return rgb.repeat_interleave(scale, 0).repeat_interleave(scale, 1)


def attention(
    launch: Launcher,
    q: Tensor,
    cache: Entries,
    block: Tensor,
    length: int,
    window: int,
    stop: int,
    outro: int,
    frames: Tensor | None = None,
) -> Tensor:
    """q: bfloat16 (n, H, 64); block: int64 () the current one; length, window: of the ring; stop, outro: as in
    Ring.bias; frames: int32, those that are read (Gathered.read_by), or None for all of the ring -> (n, H 64). Twin:
    LibraryOps.attention."""
    n, heads, D = q.shape
    kv, entries, _ = cache.keys.shape
    assert (q.dtype, D) == (torch.bfloat16, HEAD_DIM), f"the kernel takes bfloat16 heads of 64, not {q.dtype} of {D}"
    assert entries % TILE_KEYS == 0, f"the ring's {entries} entries are no multiple of {TILE_KEYS}"
    positions = entries if frames is None else len(frames) * length
    rows = n * heads // kv
    tiles = -(-rows // TILE_ROWS)
    part_keys = -(-positions * kv * tiles // (BLOCKS_WANTED * TILE_KEYS)) * TILE_KEYS
    parts = -(-positions // part_keys)
    partial = torch.empty(kv, rows, parts, D, dtype=torch.float32, device=q.device)
    extremes = torch.empty(kv, rows, parts, 2, dtype=torch.float32, device=q.device)
    mixed = torch.empty(n, heads * D, dtype=q.dtype, device=q.device)
    group = heads // kv
    gathered = block if frames is None else frames  # where none are gathered, any address will do
    sizes = (n, group, entries, positions, part_keys, length, window, stop, outro, cache.bits8, int(frames is not None))
    arguments = (q.contiguous(), *cache.arguments, block, gathered, partial, extremes, *sizes)
    launch("attention", "attend", (parts, kv, tiles), 128, *arguments, scalar=q.dtype)
    launch("attention", "combine", (rows, kv, 1), D, partial, extremes, mixed, n, group, parts, scalar=q.dtype)
    return mixed


def linear8(launch: Launcher, x: Tensor, weight: StoredWeight, added: Tensor | None = None) -> Tensor:
    """x: bfloat16 (n, inputs) -> (n, outputs), plus `added`. Twin: weight_only.linear."""
    (n, inputs), outputs = x.shape, len(weight.values)
    assert x.dtype == torch.bfloat16, f"the kernel takes bfloat16, not {x.dtype}"
    assert weight.scales is not None, "the kernel takes 8-bit weights"
    assert inputs % 64 == 0, f"the kernel takes multiples of 64 inputs, not {inputs}"
    assert outputs % 16 == 0, f"the kernel makes multiples of 16 outputs, not {outputs}"
    x, y = x.contiguous(), torch.empty(n, outputs, dtype=x.dtype, device=x.device)
    other = y if added is None else added.contiguous()
    sizes = (n, inputs, outputs, int(weight.values.dtype == DTYPES["fp8"]), int(added is not None))
    grid = (outputs // 16, -(-n // 32), 1)
    launch("linear8", "linear8", grid, 256, x, weight.values, weight.scales, other, y, *sizes, scalar=x.dtype)
    return y
