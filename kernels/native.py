"""Compiles the decoder of cpu/ with the system's C++ compiler, once, into the user's cache folder, and calls it.

A path is what it is compiled for: the best one whose instructions this processor has. All paths give the same bits.
Knows arrays, not worlds.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SOURCES = Path(__file__).resolve().parent / "cpu"
COMPILERS = ("c++", "g++", "clang++")
# Products are not fused with sums, so that every path rounds alike; sums of what is no number may wrap around.
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fwrapv", "-fPIC", "-shared", "-pthread")
COMPILE_SECONDS = 600.0
_AVX512 = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni")


@dataclass(frozen=True, slots=True)
class CpuPath:
    """needs: the processor's flags, as Linux names them; flags: the compiler's."""

    needs: frozenset[str]
    flags: tuple[str, ...]


PATHS = {
    "avx512-vnni": CpuPath(
        frozenset(name.replace("512vnni", "512_vnni") for name in _AVX512),
        (*(f"-m{name}" for name in _AVX512), "-mprefer-vector-width=512"),
    ),
    "avx2": CpuPath(frozenset(("avx2",)), ("-mavx2",)),
    "portable": CpuPath(frozenset(), ()),
}
"""The best one first."""


class NativeError(Exception):
    """Why there is no compiled decoder here, in one sentence."""


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """What the processor has, as Linux names it; nothing where the system does not say so."""
    if platform.machine() not in ("x86_64", "AMD64") or not cpuinfo.is_file():
        return frozenset()
    lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")]
    return frozenset(lines[0].split(":", 1)[1].split()) if lines else frozenset()


def usable_paths(flags: frozenset[str]) -> list[str]:
    """The best one first. flags: see cpu_flags."""
    return [name for name, path in PATHS.items() if path.needs <= flags]


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "worldmodel" / "native"


def _find_compiler() -> str:
    for name in COMPILERS:
        if found := shutil.which(name):
            return found
    raise NativeError(f"there is no C++ compiler ({', '.join(COMPILERS)})")


def _library_name(compiler: str, path: str) -> str:
    """Changes with the source, the compiler and the flags."""
    try:
        version = subprocess.run([compiler, "--version"], capture_output=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise NativeError(f"the C++ compiler {compiler} does not run ({_last_line(str(error))})") from None
    digest = hashlib.sha256(repr((platform.machine(), compiler, version, FLAGS, PATHS[path].flags)).encode())
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return f"{path}-{digest.hexdigest()[:16]}.so"


def _check_owner(path: Path) -> None:
    """Nobody else may have put there what is loaded into this process."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise NativeError(f"{path} is a link, belongs to another user or may be written by others")


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip()[-200:] if lines else "no message"


def _compile(compiler: str, path: str, library: Path) -> None:
    try:
        handle, name = tempfile.mkstemp(suffix=".tmp", dir=library.parent)
    except OSError as error:
        raise NativeError(f"{library.parent} cannot be written ({error.strerror})") from None
    os.close(handle)
    unfinished = Path(name)
    try:
        command = [compiler, *FLAGS, *PATHS[path].flags, "-o", name, str(SOURCES / "decoder.cpp")]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=COMPILE_SECONDS)
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if "error" in line]
            raise NativeError(f"{compiler} does not compile the decoder ({_last_line((errors or [done.stderr])[0])})")
        unfinished.chmod(0o700)
        unfinished.replace(library)
    except subprocess.TimeoutExpired:
        raise NativeError(f"{compiler} was not ready after {COMPILE_SECONDS:g} s") from None
    except OSError as error:
        raise NativeError(f"the decoder cannot be compiled ({error})") from None
    finally:
        unfinished.unlink(missing_ok=True)


class _Compilation(threading.Thread):
    """One that goes on in the background if nobody waits for its end."""

    def __init__(self, compiler: str, path: str, library: Path) -> None:
        super().__init__(daemon=True)
        self.arguments = (compiler, path, library)
        self.problem: NativeError | None = None

    def run(self) -> None:
        try:
            _compile(*self.arguments)
        except NativeError as error:
            self.problem = error


_under_way: dict[Path, _Compilation] = {}


def build(path: str, seconds: float | None = None) -> Path:
    """The compiled library of a path. NativeError if it cannot be had, or not within so many seconds: then it is still
    compiled beside what goes on, and there another time. Safe to call from several processes at once."""
    if os.name != "posix":
        raise NativeError("the native engine is for Linux and macOS")
    compiler, folder = _find_compiler(), cache_folder()
    library = folder / _library_name(compiler, path)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(folder)
        if not library.exists() or library in _under_way:
            compilation = _under_way.get(library)
            if compilation is None:
                compilation = _under_way[library] = _Compilation(compiler, path, library)
                compilation.start()
            compilation.join(seconds)
            if compilation.is_alive():
                raise NativeError(f"it is still being compiled after {seconds:g} s")
            del _under_way[library]
            if compilation.problem is not None:
                raise compilation.problem
        _check_owner(library)
    except OSError as error:
        raise NativeError(f"{folder} cannot be used ({error.strerror})") from None
    return library


def _pointer(kind: type) -> Any:
    return ctypes.POINTER(kind)


_INT, _FLOAT = ctypes.c_int32, ctypes.c_float


class Model(ctypes.Structure):
    """As in cpu/model.h."""

    _fields_ = (
        *((name, _INT) for name in ("hidden", "mlp", "layers", "heads", "kv_heads", "head_dim")),
        *((name, _INT) for name in ("image", "length", "tail", "window", "passes", "offsets")),
        *((name, _INT) for name in ("main", "detail", "inputs", "lanes", "players", "threads", "int8")),
        ("epsilon", _FLOAT),
        *((name, _pointer(_FLOAT)) for name in ("embedding", "start", "place", "no_previous", "previous", "action")),
        ("chain", _pointer(_FLOAT)),
        *((name, _pointer(_INT)) for name in ("sources", "places", "tail_places", "ends", "offset")),
        ("weights", _pointer(_pointer(_FLOAT))),
    )


class Sampling(ctypes.Structure):
    """As in cpu/sampling.h."""

    _fields_ = (
        ("greedy", _INT),
        ("top_k", _INT),
        ("sharpness", _FLOAT),
        ("guidance", _FLOAT),
        ("top_p", ctypes.c_double),
        ("seed", ctypes.c_uint64),
        ("frame", ctypes.c_uint64),
    )


class Frame(ctypes.Structure):
    """As in cpu/model.h."""

    _fields_ = (
        ("block", ctypes.c_int64),
        ("previous", _pointer(_INT)),
        ("actions", _pointer(_INT)),
        ("lanes", _INT),
        ("player", _INT),
        *((name, _pointer(_FLOAT)) for name in ("cosine", "sine", "outro_cosine", "outro_sine")),
        ("sampling", Sampling),
        ("forced", _pointer(_INT)),
        ("tokens", _pointer(_INT)),
        ("scores", _pointer(_FLOAT)),
    )


def pointer(array: NDArray[np.float32] | NDArray[np.int32] | None) -> Any:
    """The address of an array that the caller keeps alive; None for none."""
    if array is None:
        return None
    assert array.flags.c_contiguous, "an array as C has it"
    assert array.dtype in (np.float32, np.int32), f"float32 or int32, not {array.dtype}"
    return array.ctypes.data_as(_pointer(_FLOAT if array.dtype == np.float32 else _INT))


@cache
def load(library: Path) -> ctypes.CDLL:
    """NativeError if it does not load."""
    try:
        loaded = ctypes.CDLL(str(library))
    except OSError as error:
        raise NativeError(f"{library} does not load ({error})") from None
    loaded.worldmodel_decoder.argtypes, loaded.worldmodel_decoder.restype = [_pointer(Model)], ctypes.c_void_p
    loaded.worldmodel_decode.argtypes = [ctypes.c_void_p, _pointer(Frame), _INT]
    loaded.worldmodel_decode.restype = None
    loaded.worldmodel_close.argtypes, loaded.worldmodel_close.restype = [ctypes.c_void_p], None
    return loaded


class CompiledDecoder:
    """A decoder of a loaded library, with its weights and its cache. Not for two threads at once.

    model: its numbers; tables: its fields that are arrays; weights: float32 matrices in the order of cpu/model.h. All
    are copied. MemoryError if there is no room.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        model: Model,
        tables: Mapping[str, NDArray[np.float32] | NDArray[np.int32] | None],
        weights: Sequence[NDArray[np.float32]],
    ) -> None:
        self._library = library
        for name, table in tables.items():
            setattr(model, name, pointer(table))
        addresses = (_pointer(_FLOAT) * len(weights))(*(pointer(matrix) for matrix in weights))
        model.weights = addresses
        handle = self._library.worldmodel_decoder(ctypes.byref(model))
        if not handle:
            raise MemoryError("there is no memory, or no thread, for the native decoder")
        self._handle = ctypes.c_void_p(handle)
        weakref.finalize(self, self._library.worldmodel_close, self._handle)

    def decode(self, frames: Sequence[Frame]) -> None:
        """Frames of different players, without the interpreter's lock."""
        assert len({frame.player for frame in frames}) == len(frames), "one frame a player"
        self._library.worldmodel_decode(self._handle, (Frame * len(frames))(*frames), len(frames))
