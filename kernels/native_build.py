"""Compiles the decoder of cpu/ with the system's C++ compiler, once, into the user's cache folder.

A path is what it is compiled for: the best one whose instructions this processor has, and whose registers the system
gives. All paths give the same bits.
Knows no arrays and no models: native.py calls what is compiled here.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "cpu"
BROUGHT = "compiled"  # beside them: what a wheel brings (hatch_build.py), one library a path
COMPILERS = ("c++", "g++", "clang++")
# Products are not fused with sums, so that every path rounds alike; sums of what is no number may wrap around.
COMMON_FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fwrapv")
FLAGS = (*COMMON_FLAGS, "-fPIC", "-shared", "-pthread")
# What a test adds to them: the first access outside a table or the first undefined operation ends the process.
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-O0")
COMPILE_SECONDS = 600.0
_TILE_DATA = 18  # the tile registers, as XFEATURE_XTILE_DATA in Linux
_AVX512 = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni")


@dataclass(frozen=True, slots=True)
class CpuPath:
    """needs: the processor's flags, as Linux names them; flags: the compiler's; machine: which may have it; registers:
    those that Linux gives a process only if it asks for them, by their number there."""

    needs: frozenset[str]
    flags: tuple[str, ...]
    machine: str = "x86_64"  # "": any
    registers: int = 0  # none


TILES = "amx"  # the path with products by tiles
_VNNI = CpuPath(
    frozenset(name.replace("512vnni", "512_vnni") for name in _AVX512),
    (*(f"-m{name}" for name in _AVX512), "-mprefer-vector-width=512"),
)
PATHS = {
    TILES: CpuPath(
        _VNNI.needs | {"amx_tile", "amx_int8", "amx_bf16", "avx512_bf16"},
        (*_VNNI.flags, "-mavx512bf16", "-mamx-tile", "-mamx-int8", "-mamx-bf16"),
        registers=_TILE_DATA,
    ),
    "avx512-vnni": _VNNI,
    "avx2": CpuPath(frozenset(("avx2",)), ("-mavx2",)),
    "neon-dotprod": CpuPath(frozenset(("asimddp",)), ("-march=armv8.2-a+dotprod",), "aarch64"),
    "portable": CpuPath(frozenset(), (), ""),
}
"""The best one first."""


class NativeError(Exception):
    """Why there is no compiled decoder here, in one sentence."""


class NotReadyError(NativeError):
    """It is still being compiled."""


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """What the processor has, as Linux names it; nothing where the system does not say so."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    found = [line for line in lines if line.startswith(("flags", "Features"))]  # x86, ARM
    return frozenset(found[0].split(":", 1)[1].split()) if found else frozenset()


def usable_paths(flags: frozenset[str]) -> list[str]:
    """The best one first. flags: see cpu_flags."""
    return [name for name, path in PATHS.items() if path.needs <= flags]


def _ask_for_registers(number: int) -> int:
    """Asks Linux for them, for this process. -> 0, or the error's number."""
    arch_prctl, request_permission = 158, 0x1023  # the system call of x86-64, and ARCH_REQ_XCOMP_PERM
    libc = ctypes.CDLL(None, use_errno=True)
    return 0 if libc.syscall(arch_prctl, request_permission, number) == 0 else ctypes.get_errno()


def registers_problem(path: str) -> str:
    """Asks the system for the registers of a path. Why it does not give them, in half a sentence; "" if it does."""
    number = PATHS[path].registers
    error = _ask_for_registers(number) if number else 0
    return f"the system does not give its registers ({os.strerror(error)})" if error else ""


def own_paths() -> list[str]:
    """Those that this process can take, the best one first."""
    return [name for name in usable_paths(cpu_flags()) if not registers_problem(name)]


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "worldmodel" / "native"


def _find_compiler() -> str:
    for name in COMPILERS:
        if found := shutil.which(name):
            return found
    raise NativeError(f"there is no C++ compiler ({', '.join(COMPILERS)})")


def _library_name(compiler: str, path: str, flags: tuple[str, ...]) -> str:
    """Changes with the source, the compiler and the flags."""
    try:
        version = subprocess.run([compiler, "--version"], capture_output=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise NativeError(f"the C++ compiler {compiler} does not run ({_last_line(str(error))})") from None
    return f"{path}-{sources_digest((platform.machine(), compiler, version, flags))[:16]}.so"


def sources_digest(beside: tuple[object, ...]) -> str:
    """sha256 (hex) of the sources, and of what else decides about the compiled bytes."""
    digest = hashlib.sha256(repr(beside).encode())
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()


def _flags(path: str, extra: tuple[str, ...] = ()) -> tuple[str, ...]:
    return (*FLAGS, *PATHS[path].flags, *extra)


def _check_owner(path: Path) -> None:
    """Nobody else may have put there what is loaded into this process."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise NativeError(f"{path} is a link, belongs to another user or may be written by others")


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip()[-200:] if lines else "no message"


def _compile(compiler: str, flags: tuple[str, ...], library: Path) -> None:
    try:
        for left in library.parent.glob("*.tmp"):  # by a process that ended before its compiler
            with contextlib.suppress(FileNotFoundError):  # another clears it away, too, or has its library ready
                if time.time() - left.stat().st_mtime > COMPILE_SECONDS:
                    left.unlink()
        handle, name = tempfile.mkstemp(suffix=".tmp", dir=library.parent)
    except OSError as error:
        raise NativeError(f"{library.parent} cannot be written ({error.strerror})") from None
    os.close(handle)
    unfinished = Path(name)
    try:
        command = [compiler, *flags, "-o", name, str(SOURCES / "library.cpp")]
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


def compile_to(library: Path, path: str) -> None:
    """Writes the library of a path. NativeError if it cannot be compiled."""
    _compile(_find_compiler(), _flags(path), library)


class _Compilation(threading.Thread):
    """One that goes on in the background if nobody waits for its end."""

    def __init__(self, compiler: str, flags: tuple[str, ...], library: Path) -> None:
        super().__init__(daemon=True)
        self.arguments = (compiler, flags, library)
        self.problem: NativeError | None = None

    def run(self) -> None:
        try:
            _compile(*self.arguments)
        except NativeError as error:
            self.problem = error


_under_way: dict[Path, _Compilation] = {}


def build(path: str, seconds: float | None = None, extra: tuple[str, ...] = ()) -> Path:
    """The compiled library of a path. NativeError if it cannot be had, or not within so many seconds: then it is still
    compiled beside what goes on, and there another time. Safe to call from several processes at once.

    extra: flags of the compiler's beside the path's own."""
    if os.name != "posix":
        raise NativeError("the native engine is for Linux and macOS")
    brought = SOURCES.parent / BROUGHT / f"{path}.so"
    if brought.is_file() and not extra:
        return brought
    compiler, folder = _find_compiler(), cache_folder()
    flags = _flags(path, extra)
    library = folder / _library_name(compiler, path, flags)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(folder)
        if not library.exists() or library in _under_way:
            compilation = _under_way.get(library)
            if compilation is None:
                compilation = _under_way[library] = _Compilation(compiler, flags, library)
                compilation.start()
            compilation.join(seconds)
            if compilation.is_alive():
                raise NotReadyError(f"it is still being compiled after {seconds:g} s")
            del _under_way[library]
            if compilation.problem is not None:
                raise compilation.problem
        _check_owner(library)
    except OSError as error:
        raise NativeError(f"{folder} cannot be used ({error.strerror})") from None
    return library
