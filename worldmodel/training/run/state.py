"""What is kept of a run between two calls: `state.pt`, or, where the model is spread over processes, a folder
`state-STEP` to which each process writes its part (torch.distributed.checkpoint, as safetensors: nothing is unpickled).

Either is read by any number of processes. A folder counts once it has its `values.json`, which is written last.
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor, distribute_tensor

from worldmodel.checkpoint import CheckpointError
from worldmodel.parsing import read_json
from worldmodel.torch_files import STATE_FILE, load_state, save_state
from worldmodel.training.optimizers import Optimizers
from worldmodel.training.run.stopping import processes, rank
from worldmodel.writing import written

VALUES = "values.json"
MAX_VALUES_BYTES = 1 << 24
FOLDER = re.compile(r"state-(\d+)")


class Stateful(Protocol):
    def state_dict(self) -> Any: ...

    def load_state_dict(self, state_dict: Any, /) -> Any: ...


class WholeState:
    """One file, which the first process writes. together: whether all processes save."""

    together: bool = False

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / STATE_FILE
        self.read = self.path  # what a load looked at

    def load(self, parts: Mapping[str, Stateful]) -> dict[str, Any] | None:
        """Fills the parts, and gives what else was saved; None if nothing was. CheckpointError for what cannot be read;
        the parts' own errors for what does not fit them."""
        state = load_state(self.path)
        if state is not None:
            for key, part in parts.items():
                part.load_state_dict(state[key])
        return state

    def save(self, values: Mapping[str, Any], parts: Mapping[str, Stateful]) -> None:
        """values: plain ones by name, "step" among them."""
        if rank() == 0:
            save_state(self.path, {**values, **{key: part.state_dict() for key, part in parts.items()}})


class SpreadState(WholeState):
    """Reads either, and writes what `spread` says: a part from each process, or one file. What is saved are modules,
    and lists of optimizers (`parts`), spread alike."""

    def __init__(self, folder: Path, spread: bool) -> None:
        super().__init__(folder)
        self.together = spread

    def load(self, parts: Mapping[str, Stateful]) -> dict[str, Any] | None:
        step, newest = max(_whole_folders(self.folder), default=(-1, None))
        state = load_state(self.path) if newest is None or self.path.exists() else None
        if newest is None and state is None:
            return None
        homes = _homes(parts)
        if newest is None or (state is not None and int(state["step"]) >= step):
            assert state is not None, "one of them is there"
            _fill(parts, {name: _spread(t, homes[name]) for name, t in _flat({k: state[k] for k in parts}).items()})
            return state
        values = read_json(newest / VALUES, CheckpointError, MAX_VALUES_BYTES)
        self.read = newest
        reader = HuggingFaceStorageReader(str(newest))
        stored: dict[str, Any] = reader.read_metadata().state_dict_metadata
        tensors = {name: _empty(tuple(entry.size), homes[name]) for name, entry in stored.items()}
        with warnings.catch_warnings():  # that one process reads alone is no surprise
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            load(tensors, storage_reader=reader, no_dist=processes() == 1)
        _fill(parts, {**tensors, **{name: torch.tensor(float(n)) for name, n in values["numbers"].items()}})
        return values

    def save(self, values: Mapping[str, Any], parts: Mapping[str, Stateful]) -> None:
        if self.together:
            self._save_spread(values, parts)
        else:
            super().save(values, parts)
        if rank() == 0:  # what is older goes, now that the new one is whole
            for step, path in _whole_folders(self.folder):
                if not self.together or step != values["step"]:
                    shutil.rmtree(path, ignore_errors=True)
            if self.together:
                self.path.unlink(missing_ok=True)

    def _save_spread(self, values: Mapping[str, Any], parts: Mapping[str, Stateful]) -> None:
        path = self.folder / f"state-{values['step']}"
        if rank() == 0:
            shutil.rmtree(path, ignore_errors=True)
        torch.distributed.barrier()
        tensors = _flat({key: part.state_dict() for key, part in parts.items()})
        numbers = {name: tensor.item() for name, tensor in tensors.items() if tensor.ndim == 0}
        writer = HuggingFaceStorageWriter(str(path), save_distributed=True)
        save({name: t for name, t in tensors.items() if t.ndim}, storage_writer=writer)  # all wait for all
        if rank() == 0:
            with written(path / VALUES) as file:
                file.write_text(json.dumps({**values, "numbers": numbers}))


def _whole_folders(folder: Path) -> list[tuple[int, Path]]:
    """(step, folder) of each that is whole."""
    found = [(FOLDER.fullmatch(path.name), path) for path in folder.glob("state-*")]
    return [(int(match[1]), path) for match, path in found if match and (path / VALUES).is_file()]


def _flat(states: Mapping[str, Any]) -> dict[str, Tensor]:
    """State dicts of the parts -> tensors by name; of an optimizer, what it keeps of parameter N."""
    tensors: dict[str, Tensor] = {}
    for part, state in states.items():
        if isinstance(state, dict):
            tensors |= {f"{part}.{name}": tensor for name, tensor in state.items()}
            continue
        for number, one in enumerate(state):
            for index, kept in one["state"].items():
                tensors |= {f"{part}.{number}.{index}.{name}": tensor for name, tensor in kept.items()}
    return tensors


def _fill(parts: Mapping[str, Stateful], tensors: Mapping[str, Tensor]) -> None:
    """The other way round. What an optimizer keeps beside them are its options."""
    for part, holder in parts.items():
        own = {name.removeprefix(f"{part}."): t for name, t in tensors.items() if name.startswith(f"{part}.")}
        state = holder.state_dict()
        if isinstance(state, dict):
            holder.load_state_dict(own)
            continue
        for one in state:
            one["state"] = {}
        for name, tensor in own.items():
            number, index, kept = name.split(".", 2)
            state[int(number)]["state"].setdefault(int(index), {})[kept] = tensor
        holder.load_state_dict(state)


class _Homes(dict[str, Tensor]):
    """Tensors by name; of what an optimizer keeps, the parameter that it is kept of."""

    def __missing__(self, name: str) -> Tensor:
        return self[name.rpartition(".")[0]]


def _homes(parts: Mapping[str, Any]) -> _Homes:
    homes = _Homes()
    for part, holder in parts.items():
        if not isinstance(holder, Optimizers):
            homes |= {f"{part}.{name}": tensor for name, tensor in holder.state_dict().items()}
            continue
        for number, optimizer in enumerate(holder.parts):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            homes |= {f"{part}.{number}.{index}": p for index, p in enumerate(parameters)}
    return homes


def _empty(shape: tuple[int, ...], home: Tensor) -> Tensor:
    return torch.empty_like(home) if home.shape == shape else torch.empty(shape)


def _spread(tensor: Tensor, home: Tensor) -> Tensor:
    """A whole tensor as its home is spread; a number stays one."""
    if isinstance(home, DTensor) and tensor.shape == home.shape:
        whole = tensor.to(home.device)
        return distribute_tensor(whole, home.device_mesh, home.placements, src_data_rank=None)
    return tensor
