"""Compiles the .cu files and launches their kernels on torch's current stream, so that a graph capture holds them.

CuPy compiles with NVRTC, once, and keeps the binaries in its cache folder (~/.cupy/kernel_cache). Knows arrays, not
worlds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).resolve().parent
FILES = tuple(sorted(path.stem for path in FOLDER.glob("*.cu")))
OPTIONS = ("--std=c++17",)


class Launcher(Protocol):
    """Launches `function` of `file`.cu. grid: blocks in x, y, z; block: threads; arguments: tensors (passed as their
    address) and ints (int32); scalar: the dtype that the kernel's `scalar` is."""

    def __call__(
        self, file: str, function: str, grid: Sequence[int], block: int, *arguments: Tensor | int, scalar: torch.dtype
    ) -> None: ...


def source(file: str, scalar: torch.dtype = torch.bfloat16) -> str:
    """The text that is compiled. scalar: bfloat16 or float32."""
    assert scalar in (torch.bfloat16, torch.float32), f"kernels are written for bfloat16 and float32, not {scalar}"
    define = "#define USE_FLOAT\n" if scalar == torch.float32 else ""
    return define + (FOLDER / "common.cuh").read_text() + (FOLDER / f"{file}.cu").read_text()


def functions(file: str) -> list[str]:
    """The kernels in a file."""
    return re.findall(r'extern "C" __global__ void (\w+)\(', (FOLDER / f"{file}.cu").read_text())


def has_cupy() -> bool:
    return find_spec("cupy") is not None


class CupyLauncher:
    """Kernels by CuPy. `prepare` compiles and loads before a capture: nothing may be loaded inside one."""

    def __init__(self) -> None:
        import cupy  # pyright: ignore[reportMissingImports] - only where there is a GPU

        self.cupy: Any = cupy
        self._kernels: dict[tuple[str, str, torch.dtype], Any] = {}

    def prepare(self, files: Sequence[str], scalar: torch.dtype) -> None:
        for file in files:
            module = self.cupy.RawModule(code=source(file, scalar), options=OPTIONS, backend="nvrtc")
            for function in functions(file):
                self._kernels[file, function, scalar] = module.get_function(function)

    def __call__(
        self, file: str, function: str, grid: Sequence[int], block: int, *arguments: Tensor | int, scalar: torch.dtype
    ) -> None:
        if (file, function, scalar) not in self._kernels:
            self.prepare([file], scalar)
        packed = tuple(np.uint64(a.data_ptr()) if isinstance(a, Tensor) else np.int32(a) for a in arguments)
        # Taken anew at every launch: during a capture, torch's current stream is the one that is captured.
        with self.cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
            self._kernels[file, function, scalar](tuple(grid), (block,), packed)
