"""Memory of a training step, used again by the next."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt(3)
KEPT = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1}  # blocks of any size are cut from one area, of which nothing is given back
USUAL = {M_MMAP_MAX: 65536, M_TRIM_THRESHOLD: 128 * 1024}


def keep_memory(kept: bool = True) -> bool:
    """From now on this process keeps the memory that it has freed, or gives it back as usual. A training step on a CPU
    makes and drops gigabytes; given back, every page of them is a fault and a page of zeros at the next step
    (benchmarks/README.md says what that costs). Returns whether that could be asked for: of glibc it can."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    wanted = KEPT if kept else USUAL
    return mallopt is not None and all(mallopt(name, value) for name, value in wanted.items())
