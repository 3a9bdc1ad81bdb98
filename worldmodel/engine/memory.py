"""What a model needs of a device's memory, and what is free: known before anything is loaded."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

from worldmodel.config import WorldModelConfig
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.types import WorldModelError


def count_parameters(config: WorldModelConfig) -> int:
    """Of the transformer; nothing is allocated. (Slow the first time; a checkpoint knows: stored_parameters.)"""
    with torch.device("meta"):
        return sum(p.numel() for p in VisualActionTransformer(config).parameters())


def needed_bytes(config: WorldModelConfig, dtype: torch.dtype, engine: str, parameters: int) -> int:
    """Memory that the weights, the cache and the input tables take at least."""
    t = config.transformer
    entries = t.window * (config.image_tokenizer.tokens_per_frame + 1)
    cache = 2 * t.layers * t.kv_heads * t.head_dim * entries * dtype.itemsize
    tables = config.action_tokenizer().vocabulary * t.hidden * 4 * (1 + t.previous_frame + t.action_input)
    copies = 2 if engine == "openvino" else 1  # its graphs hold the weights a second time
    return parameters * dtype.itemsize * copies + cache + tables


def memory_problem(config: WorldModelConfig, device: torch.device, engine: str, parameters: int) -> str:
    """Why the model does not fit into the memory that is free now; "" if it does, or if the system does not say."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    needed, free = needed_bytes(config, dtype, engine, parameters), free_bytes(device)
    if free is None or needed <= free:
        return ""
    return f"the model needs {needed / 1e9:.1f} GB of memory on {device}, {free / 1e9:.1f} GB are free"


def check_memory(config: WorldModelConfig, device: torch.device, engine: str, parameters: int) -> None:
    """WorldModelError if the model does not fit."""
    if problem := memory_problem(config, device, engine, parameters):
        raise WorldModelError(f"{problem}: close other programs, take a smaller model, or another --device")


def free_bytes(device: torch.device) -> int | None:
    """Free memory of the device; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None
