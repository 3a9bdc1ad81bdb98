"""Compiles the .cu files with a C++ compiler behind emulator/cuda_emulator.h, and launches them on the CPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import torch

from kernels.launch import functions, source

HEADER = Path(__file__).resolve().parent / "emulator/cuda_emulator.h"
COMPILER = shutil.which("g++") or shutil.which("c++")


class EmulatedLauncher:
    """A kernels.launch.Launcher. folder: for the libraries; `launched` counts the launches by function."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._libraries: dict[tuple[str, torch.dtype], ctypes.CDLL] = {}
        self.launched: dict[str, int] = {}

    def _library(self, file: str, scalar: torch.dtype) -> ctypes.CDLL:
        if (file, scalar) not in self._libraries:
            name = self.folder / f"{file}_{str(scalar).removeprefix('torch.')}"
            entries = "".join(f"ENTRY({function})\n" for function in functions(file))
            text = f'#include "{HEADER}"\n{source(file, scalar)}\n{entries}'
            name.with_suffix(".cpp").write_text(text)
            # No fused multiply-add, so that a product is rounded as in PyTorch's CPU operations.
            flags = ["-O1", "-std=c++17", "-shared", "-fPIC", "-ffp-contract=off", "-fno-strict-aliasing"]
            command = [COMPILER, *flags, str(name.with_suffix(".cpp")), "-o", str(name.with_suffix(".so"))]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            self._libraries[file, scalar] = ctypes.CDLL(str(name.with_suffix(".so")))
        return self._libraries[file, scalar]

    def __call__(self, file, function, grid, block, *arguments, scalar) -> None:
        held = [ctypes.c_uint64(a.data_ptr()) if isinstance(a, torch.Tensor) else ctypes.c_int32(a) for a in arguments]
        pointers = (ctypes.c_void_p * len(held))(*(ctypes.addressof(value) for value in held))
        sizes = [ctypes.c_uint(size) for size in (*grid, block)]
        getattr(self._library(file, scalar), f"launch_{function}")(*sizes, pointers)
        self.launched[function] = self.launched.get(function, 0) + 1
