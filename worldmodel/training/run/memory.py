"""Memory of a training step, used again by the next."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt(3)
NEVER, NONE = -1, 0


def keep_memory() -> bool:
    """From now on this process keeps the memory that it has freed. A training step on a CPU makes and drops gigabytes;
    given back each time, every page of them is a fault and a page of zeros at the next step: half of its time on a
    virtual machine (benchmarks/README.md). Returns whether that could be asked for: of glibc it can."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if hasattr(ctypes, "CDLL") else None
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, NONE)) and bool(mallopt(M_TRIM_THRESHOLD, NEVER))
