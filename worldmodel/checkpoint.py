"""Checkpoints: a folder with `config.json` and `model.safetensors`. Nothing is ever unpickled.

Tensor names start with `tokenizer.` (the image tokenizer) or `transformer.`; a folder may hold the
tokenizer alone. The weights carry checksums of their parts (`CHECKSUMS`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from worldmodel.checks import check_value, field_types
from worldmodel.parsing import parse_json, quoted, read_json
from worldmodel.types import WorldModelError
from worldmodel.writing import written

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
SHORT_HASH = 8  # digits of a weights hash that tell checkpoints apart in names and tables
FORMAT = 1
MAX_CONFIG_BYTES = 1 << 20
CHECKSUMS = "sha256"  # the entry of a weights file's header: JSON, part -> tensors_sum

T = TypeVar("T")
Module = TypeVar("Module", bound=nn.Module)


class CheckpointError(WorldModelError):
    """A checkpoint folder that cannot be used; says which file and why."""


def config_to_dict(config: Any) -> dict[str, Any]:
    return dataclasses.asdict(config)


def config_from_dict(cls: type[T], values: Any, where: str) -> T:
    """Plain JSON values -> a (nested) config dataclass. CheckpointError for unknown or bad entries."""
    if not isinstance(values, dict):
        raise CheckpointError(f"{where}: expected an object with the fields of {cls.__name__}, got {quoted(values)}")
    values = cls.upgraded(values) if hasattr(cls, "upgraded") else values  # type: ignore[attr-defined]
    hints = field_types(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise CheckpointError(f"{where}: unknown {cls.__name__} fields {quoted(unknown)}; made by a newer version?")
    converted = {}
    for name, value in values.items():
        kind = hints[name]
        if dataclasses.is_dataclass(kind):
            converted[name] = config_from_dict(kind, value, f"{where}: {name}")  # type: ignore[arg-type]
        else:
            converted[name] = tuple(value) if isinstance(value, list) else value
    try:
        for name, value in converted.items():
            check_value(name, value, hints[name])  # here too: not every configuration checks itself
        return cls(**converted)
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from None


def read_config(folder: Path) -> dict[str, Any]:
    """config.json as a dict. CheckpointError if the folder is no checkpoint or of a newer format."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise CheckpointError(f"{folder} is no checkpoint: it has no {CONFIG_FILE} (give the folder that holds it)")
    config = read_json(path, CheckpointError, MAX_CONFIG_BYTES)
    version = config.get("format") if isinstance(config, dict) else None
    if version != FORMAT:
        raise CheckpointError(f"{path}: format {quoted(version)}, this version reads format {FORMAT}")
    return config


def write_checkpoint(
    folder: Path, config: dict[str, Any], modules: dict[str, nn.Module], dtype: torch.dtype | None = None
) -> None:
    """Writes weights, then configuration, each atomically. dtype: stored type of floating tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for prefix, module in modules.items():
        for name, tensor in module.state_dict().items():
            stored = tensor.detach().cpu().to(dtype) if dtype and tensor.is_floating_point() else tensor.detach().cpu()
            tensors[f"{prefix}.{name}"] = stored.contiguous().clone()
    sums = {
        prefix: tensors_sum({name: t for name, t in tensors.items() if owner(name) == prefix}) for prefix in modules
    }
    with written(folder / WEIGHTS_FILE) as file:
        save_file(tensors, file, {CHECKSUMS: json.dumps(sums, sort_keys=True)})
    write_config(folder, config)


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """config.json, atomically."""
    with written(folder / CONFIG_FILE) as file:
        file.write_text(json.dumps({"format": FORMAT, **config}, indent=1) + "\n")


@dataclasses.dataclass(frozen=True, slots=True)
class Streamed:
    """A tensor of a checkpoint that is made when it is written. make: gives it, of this shape and type."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]


_STORED_TYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}


def stream_checkpoint(folder: Path, config: dict[str, Any], tensors: Sequence[Streamed]) -> None:
    """As write_checkpoint, a tensor at a time: no more than one is in memory. The names begin with their part's.

    CheckpointError for a type that is not stored. The file is in the safetensors format, whose header comes first: its
    checksums are written over when they are known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = sorted(tensors, key=lambda tensor: tensor.name)
    sums = {owner(tensor.name): hashlib.sha256() for tensor in tensors}

    def header() -> bytes:
        known = json.dumps({part: digest.hexdigest() for part, digest in sums.items()}, sort_keys=True)
        entries: dict[str, Any] = {"__metadata__": {CHECKSUMS: known}}
        at = 0
        for tensor in tensors:
            if tensor.dtype not in _STORED_TYPES:
                raise CheckpointError(f"{tensor.name} is {tensor.dtype}, which is no type of weights")
            size = math.prod(tensor.shape) * tensor.dtype.itemsize
            entries[tensor.name] = {
                "dtype": _STORED_TYPES[tensor.dtype],
                "shape": list(tensor.shape),
                "data_offsets": [at, at + size],
            }
            at += size
        text = json.dumps(entries).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    with written(folder / WEIGHTS_FILE) as temporary, temporary.open("wb") as file:
        file.write(header())
        for tensor in tensors:
            values = tensor.make().contiguous()
            assert values.shape == tensor.shape, f"{tensor.name} was to be {tensor.shape}"
            assert values.dtype == tensor.dtype, f"{tensor.name} was to be {tensor.dtype}"
            raw = values.flatten().view(torch.uint8).numpy().data
            sums[owner(tensor.name)].update(f"{tensor.name} {values.dtype} {tuple(values.shape)}\n".encode())
            sums[owner(tensor.name)].update(raw)
            file.write(raw)
        file.seek(0)
        file.write(header())
    write_config(folder, config)


def owner(name: str) -> str:
    """The part of a checkpoint that a tensor of its file belongs to."""
    return name.partition(".")[0]


def tensors_sum(tensors: dict[str, Tensor]) -> str:
    """sha256 (hex) over tensors as they are stored, with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


class _ShapesAlone(TorchFunctionMode):
    """Random initialisation is left out: on the meta device it fills nothing, but loads a second's worth of modules."""

    LEFT_OUT = (Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_)

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func in self.LEFT_OUT:  # those of nn.init ask before they call a tensor's
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def shapes_of(make: Callable[[], nn.Module]) -> dict[str, Tensor]:
    """The tensors of a module that is not made: on the meta device, without memory."""
    with torch.device("meta"), _ShapesAlone():
        return make().state_dict()


def load_module(folder: Path, prefix: str, make: Callable[[], Module]) -> Module:
    """Makes a module and fills it with the tensors named `prefix.*`, in eval mode and without gradients.

    CheckpointError as load_weights: nothing is allocated before the file's shapes are known to be the module's.
    """
    with _weights_file(folder) as file:
        _check_shapes(folder / WEIGHTS_FILE, file, prefix, shapes_of(make))
    module = make()
    load_weights(folder, prefix, module)
    return module.eval().requires_grad_(False)


def load_weights(folder: Path, prefix: str, module: nn.Module) -> None:
    """Fills `module` with the tensors named `prefix.*`. CheckpointError for missing or misshapen ones, for numbers that
    are not finite, and for a file that was altered since it was written (older ones carry no checksum)."""
    path = folder / WEIGHTS_FILE
    expected = module.state_dict()
    with _weights_file(folder) as file:
        _check_shapes(path, file, prefix, expected)
        stored = _tensors(path, file, prefix)
    module.load_state_dict({name: _fitting(path, prefix, name, stored.pop(name), expected[name]) for name in expected})


def load_fitting(folder: Path, prefix: str, module: nn.Module) -> dict[str, Tensor | None]:
    """As load_weights, of those tensors alone that have the same name and shape. Returns the others, which the module
    keeps: what was stored under their names in another shape, or None. CheckpointError if nothing fits."""
    path, expected = folder / WEIGHTS_FILE, module.state_dict()
    with _weights_file(folder) as file:
        stored = {name: tensor for name, tensor in _tensors(path, file, prefix).items() if name in expected}
    fits = [name for name, tensor in stored.items() if tensor.shape == expected[name].shape]
    if not fits:
        raise CheckpointError(f"{path}: nothing of its {prefix} has the shape of the one that is trained")
    loaded = {name: _fitting(path, prefix, name, stored.pop(name), expected[name]) for name in fits}
    module.load_state_dict(loaded, strict=False)
    return {name: stored.get(name) for name in expected if name not in loaded}


def _tensors(path: Path, file: Any, prefix: str) -> dict[str, Tensor]:
    """All that are named `prefix.*`, without the prefix. CheckpointError if they were altered."""
    names = [name for name in file.keys() if name.startswith(f"{prefix}.")]  # noqa: SIM118
    stored = {name: file.get_tensor(name) for name in names}
    noted = (file.metadata() or {}).get(CHECKSUMS)
    if noted is not None:
        known = parse_json(noted, f"{path}: {CHECKSUMS}", CheckpointError)
        if not isinstance(known, dict) or known.get(prefix) != tensors_sum(stored):
            raise CheckpointError(f"{path}: its {prefix} was altered since it was written: copy it again")
    return {name.removeprefix(f"{prefix}."): tensor for name, tensor in stored.items()}


def _fitting(path: Path, prefix: str, name: str, stored: Tensor, wanted: Tensor) -> Tensor:
    """A stored tensor as a module takes it."""
    if stored.is_floating_point() != wanted.is_floating_point():
        raise CheckpointError(f"{path}: {prefix}.{name} is {stored.dtype}, {wanted.dtype} is needed")
    loaded = stored.to(wanted.dtype)
    if not torch.isfinite(loaded).all():
        raise CheckpointError(f"{path}: {prefix}.{name} holds numbers that are not finite (NaN or infinity)")
    return loaded


@contextmanager
def _weights_file(folder: Path) -> Iterator[Any]:
    """The open weights of a checkpoint. CheckpointError if there are none, or half of them."""
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {WEIGHTS_FILE}")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error})") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from None


def _check_shapes(path: Path, file: Any, prefix: str, expected: dict[str, Tensor]) -> None:
    """Compares the file's header with a module's tensors: before memory is taken."""
    have = {name.removeprefix(prefix + ".") for name in file.keys() if name.startswith(prefix + ".")}  # noqa: SIM118
    if have != set(expected):
        odd = sorted(have ^ set(expected))[:4]
        raise CheckpointError(f"{path}: its {prefix} tensors do not fit its configuration (first: {quoted(odd)})")
    for name, tensor in expected.items():
        shape = tuple(file.get_slice(f"{prefix}.{name}").get_shape())
        if shape != tuple(tensor.shape):
            raise CheckpointError(
                f"{path}: {prefix}.{name} has shape {shape}, its configuration says {tuple(tensor.shape)}"
            )


def stored_parameters(folder: Path, prefix: str) -> int:
    """How many numbers the tensors named `prefix.*` hold, from the file's header alone. CheckpointError without it."""
    with _weights_file(folder) as file:
        names = [name for name in file.keys() if name.startswith(f"{prefix}.")]  # noqa: SIM118
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)


def weights_hash(folder: Path) -> str:
    """sha256 (hex) of the weights file."""
    with (folder / WEIGHTS_FILE).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def module_hash(module: nn.Module, dtype: torch.dtype = torch.float32) -> str:
    """sha256 (hex) over a module's tensors as `dtype`, by name: names a module wherever it is stored."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().to(dtype).contiguous().numpy().tobytes())
    return digest.hexdigest()


def tokenizer_hash(tokenizer: nn.Module) -> str:
    """Names an image tokenizer in a recording. Over float16: a run's tokenizer and its shipped half are the same."""
    return module_hash(tokenizer, torch.float16)
