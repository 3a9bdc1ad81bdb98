"""Memory of a training step, used again by the next."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt(3)
NEVER, NONE = -1, 0


def keep_memory() -> bool:
    """From now on this process keeps the memory that it has freed: blocks of any size are cut from one area, of which
    nothing is given back. A training step on a CPU makes and drops gigabytes; given back, every page of them is a fault
    and a page of zeros at the next step (benchmarks/README.md says what that costs). Returns whether that could be
    asked for: of glibc it can."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, NONE)) and bool(mallopt(M_TRIM_THRESHOLD, NEVER))
