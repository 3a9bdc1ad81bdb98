"""What this device could do at best: measured copy bandwidth and matrix rate, and the time that a frame must take.

A decode pass reads every weight of the layers and the cached context once, and multiplies its rows with them: the
roofline model (Williams et al., 2009) says that it takes at least the longer of the two.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from kernels.native import int8_operations
from worldmodel.config import WorldModelConfig
from worldmodel.model.layout import BlockLayout
from worldmodel.tokenizers.image import ImageTokenizer

COPY_BYTES = {"cpu": 1 << 28, "cuda": 1 << 30}
MATRIX_SIZE = {"cpu": 1536, "cuda": 8192}
CPU = torch.device("cpu")
REPEATS = 5
PRODUCT_SECONDS = 0.02  # of one measurement: threads start in microseconds


@dataclass(frozen=True, slots=True)
class Roofline:
    """bandwidth: bytes a second of a copy, read and written; matrix_rate: operations a second of a square product, in
    the dtype of the weights."""

    bandwidth: float
    matrix_rate: float


@dataclass(frozen=True, slots=True)
class PassCost:
    """The least that one decode pass moves (bytes) and computes (flops)."""

    bytes: float
    flops: float

    def seconds(self, roofline: Roofline) -> float:
        return max(self.bytes / roofline.bandwidth, self.flops / roofline.matrix_rate)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def best_seconds(call: Callable[[], object], device: torch.device, repeats: int = REPEATS) -> float:
    """The shortest of a few calls, after one that warms up."""
    call()
    times = []
    for _ in range(repeats):
        synchronise(device)
        began = time.perf_counter()
        call()
        synchronise(device)
        times.append(time.perf_counter() - began)
    return min(times)


def measure_roofline(device: torch.device, dtype: torch.dtype) -> Roofline:
    kind = device.type if device.type in COPY_BYTES else "cpu"
    source = torch.ones(COPY_BYTES[kind], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    bandwidth = 2 * source.numel() / best_seconds(lambda: target.copy_(source), device)
    return Roofline(bandwidth, measure_products(device, dtype))


def measure_products(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a square product."""
    n = MATRIX_SIZE[device.type if device.type in MATRIX_SIZE else "cpu"]
    a, b = torch.ones(n, n, dtype=dtype, device=device), torch.ones(n, n, dtype=dtype, device=device)
    return 2 * n**3 / best_seconds(lambda: torch.matmul(a, b), device)


def measure_native_products(path: str, threads: int) -> float:
    """Operations a second of int8 products as a path of the native engine makes them, by so many threads at once."""
    rounds = 1
    while (seconds := best_seconds(partial(int8_operations, path, threads, rounds), CPU)) < PRODUCT_SECONDS:
        rounds *= 2
    return int8_operations(path, threads, rounds) / seconds


def pass_costs(config: WorldModelConfig, weight_bytes: float, cache_bytes: float) -> list[PassCost]:
    """Every pass of a frame with a full context. weight_bytes, cache_bytes: bytes of one number of either."""
    t, layout = config.transformer, BlockLayout(config.decode_order())
    head = sum(config.image_tokenizer.parts) * t.hidden
    layers = t.layers * t.hidden * (2 * (t.heads + t.kv_heads) * t.head_dim + 3 * t.mlp)
    context = t.attended * layout.length
    cached = layout.length * 2 * t.layers * t.kv_heads * t.head_dim  # numbers of a frame
    costs = []
    for index, part in enumerate(layout.group_slots):
        group = part.stop - part.start
        rows = group + (layout.outro if index == 0 else 0)
        flops = 2 * (layers * rows + head * group) + 4 * rows * context * t.heads * t.head_dim * t.layers
        frames = t.attended if index else len(t.first_offsets)
        costs.append(PassCost((layers + head) * weight_bytes + frames * cached * cache_bytes, flops))
    return costs


def picture_flops(tokenizer: ImageTokenizer) -> int:
    """Floating-point operations that decode one picture (counted by PyTorch, on the meta device)."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        config = tokenizer.config
        ImageTokenizer(config).decoder(torch.empty(1, config.code_dim, config.grid_height, config.grid_width))
    return counter.get_total_flops()
