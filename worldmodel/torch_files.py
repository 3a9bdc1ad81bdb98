"""Files in PyTorch's own format: published weights, and the state of a training (optimizer, step). Read with
weights_only=True: nothing is unpickled but tensors and plain values.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worldmodel.checkpoint import CheckpointError
from worldmodel.writing import written

STATE_FILE = "state.pt"


def read_published(path: Path, hint: str = "") -> dict[str, Tensor]:
    """Tensors by name of a published PyTorch file, read with weights_only=True: nothing else is unpickled.

    CheckpointError, which ends with the hint, if it holds anything else.
    """
    return tensors_by_name(read_weights_only(path, hint), path)


def read_weights_only(path: Path, hint: str = "") -> Any:
    """What a PyTorch file of tensors and plain values holds. The tensors of a file in the usual (zip) format stay in it
    until they are looked at. CheckpointError, which ends with the hint, for a file that asks for anything else."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from None
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: not a file of weights alone ({reason}){hint}") from None


def tensors_by_name(state: Any, where: object) -> dict[str, Tensor]:
    """The same, if it is nothing but tensors by name. CheckpointError, which begins with `where`."""
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{where}: holds {type(state).__name__}, not tensors by name")
    return state


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Training state, atomically, and on the disk when this returns: a power loss leaves it or the one before."""
    with written(path) as temporary, temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def load_state(path: Path) -> dict[str, Any] | None:
    """Training state, or None where there is none yet. CheckpointError for a file that is no whole one."""
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(state, dict):
            return state
        reason = f"it holds {type(state).__name__}"
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, OSError, ArithmeticError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise CheckpointError(
        f"{path} is no whole training state ({reason}): delete it to start again, with --init "
        f"{path.parent} from the weights beside it"
    )
