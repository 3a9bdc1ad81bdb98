"""Engines in a process that was forked from another, as `multiprocessing` and gymnasium's AsyncVectorEnv do on Linux.

A fork takes the memory along, but not the threads: what waits for one of the parent's threads waits for ever.
"""

from __future__ import annotations

import os

import torch

from worldmodel.types import WorldModelError

_forked = False  # after this module was imported
_ran_in = 0  # the process that built an engine last; 0: none did
_WAY_OUT = 'start processes with "spawn", as AsyncVectorEnv(..., context="spawn") does'


def _note_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def forked() -> bool:
    """Is this process a fork of one in which PyTorch may have had threads?"""
    return _forked


def enter(device: torch.device) -> None:
    """To be called before a model is loaded and an engine is built. WorldModelError in a fork where that would hang;
    in any other fork, PyTorch computes in this thread alone: its OpenMP threads may have been the parent's."""
    global _ran_in
    if _ran_in not in (0, os.getpid()):
        raise WorldModelError(f"this process is a fork of one that has run a model, and would hang: {_WAY_OUT}")
    if _forked and device.type == "cuda":
        raise WorldModelError(f"CUDA does not work in a forked process: {_WAY_OUT}")
    if _forked:
        torch.set_num_threads(1)
    _ran_in = os.getpid()
