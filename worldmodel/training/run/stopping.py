"""What a training says when it is broken off, for which processes, and what it needs. Light: no torch."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from worldmodel.types import WorldModelError

TRAIN_EXTRA = {  # modules and packages of pyproject.toml's `train`
    "matplotlib": "matplotlib",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "torchmetrics": "torchmetrics",
}


def require_extra() -> None:
    """WorldModelError unless the packages of the `train` extra are installed: playing needs none of them."""
    missing = [package for module, package in TRAIN_EXTRA.items() if find_spec(module) is None]
    if missing:
        raise WorldModelError(f"this needs more packages: pip install {' '.join(missing)}")


def processes() -> int:
    """How many of us torchrun has started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Our number among them."""
    return int(os.environ.get("RANK", 0))


def say_stopped(interrupt: BaseException | None = None, at: str = "") -> None:
    """Says that a run was broken off, and the way on. at: how far it came; by default, what `interrupt` notes."""
    if rank() > 0:
        return
    noted = "".join(getattr(interrupt, "__notes__", ())) or at
    sys.stderr.write(f"stopped{f' at {noted}' if noted else ''}; run it again to go on\n")
