"""What a model needs of a device's memory, and what is free: known before anything is loaded."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

from worldmodel.checkpoint import shapes_of
from worldmodel.config import WorldModelConfig
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.types import WorldModelError


def count_parameters(config: WorldModelConfig) -> int:
    """Of the transformer; nothing is allocated."""
    return sum(tensor.numel() for tensor in shapes_of(lambda: VisualActionTransformer(config)).values())


def count_tokenizer(config: WorldModelConfig) -> int:
    """Of the image tokenizer; nothing is allocated."""
    return sum(tensor.numel() for tensor in shapes_of(lambda: ImageTokenizer(config.image_tokenizer)).values())


def needed_bytes(config: WorldModelConfig, dtype: torch.dtype, engine: str, parameters: int) -> int:
    """Memory that the weights, the image tokenizer's too, the cache and the input tables take at least."""
    t = config.transformer
    entries = t.window * (config.image_tokenizer.tokens_per_frame + 1)
    turns = 2 if config.decode_order().released else 1  # caches
    cache = turns * 2 * t.layers * t.kv_heads * t.head_dim * entries * dtype.itemsize
    rows = sum(config.image_tokenizer.parts) + config.action_tokenizer().size
    tables = rows * t.hidden * 4 * (1 + t.previous_frame + t.action_input)
    copies = {"openvino": 2, "native": 1.25}.get(engine, 1)  # which hold the weights a second time, or in 8 bits
    pictures = count_tokenizer(config) * 4  # it stays in float32
    return int(parameters * dtype.itemsize * copies) + pictures + cache + tables


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
    known = [free for free in (_system_free(), group_free()) if free is not None]
    return min(known, default=None)


def _system_free() -> int | None:
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


# Of a control group (v2, v1): its limit, what it uses, and what of that is files' pages that can be dropped.
_GROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def group_free(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """What is left of the limit that a container sets for this process (Linux control groups); None without one.

    groups: where they are mounted; own: which of them this process is in. A group is bound by those above it, too.
    """
    lines = own.read_text().splitlines() if own.is_file() else []
    found = []
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mount = groups / "memory" if controllers else groups
        path = mount / name.lstrip("/")
        found += [_free_in(folder) for folder in (path, *path.parents) if folder.is_relative_to(mount)]
    return min((free for free in found if free is not None), default=None)


def _free_in(group: Path) -> int | None:
    for limit, used, files in _GROUP_FILES:
        with suppress(OSError, ValueError):  # not there, or "max"
            stat = (group / "memory.stat").read_text() if (group / "memory.stat").is_file() else ""
            dropped = [int(line.split()[1]) for line in stat.splitlines() if line.startswith(f"{files} ")]
            return max(0, int((group / limit).read_text()) - int((group / used).read_text()) + sum(dropped))
    return None
