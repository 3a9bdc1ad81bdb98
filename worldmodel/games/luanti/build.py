"""Finds the game's programs and compiles the stepping library (shim.c) at first use.

It knows which Debian packages bring what; it starts nothing but the compiler.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from worldmodel.types import WorldModelError

SHIM_SOURCE = Path(__file__).with_name("shim.c")
GAME_NAMES = ("minetest", "luanti")
GAME_DATA = ("games/minetest", "games/luanti", "minetest", "luanti")  # below <prefix>/share
INCLUDE = Path("/usr/include")
COMPILERS = ("cc", "gcc", "clang")


def find_program(*names: str) -> Path | None:
    """The first of `names` on the PATH or in /usr/games (Debian's place, often not on a service's PATH)."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/games", "/usr/local/games"])
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return Path(found)
    return None


def cached_shim() -> Path:
    """Where the compiled library lies or will lie: its name changes with its source."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(SHIM_SOURCE.read_bytes()).hexdigest()[:16]
    return cache / "worldmodel" / "luanti" / f"shim-{digest}.so"


def missing_packages() -> list[str]:
    """Debian packages that the real game still needs, in the order of `apt-get install`; empty when it can run."""
    missing = []
    game = find_program(*GAME_NAMES)
    if game is None:
        missing.append("minetest")
    prefix = game.parent.parent if game else Path("/usr")
    if not any((prefix / "share" / data / "games" / "minetest_game").is_dir() for data in GAME_DATA):
        missing.append("minetest-data")
    if find_program("Xvfb") is None:
        missing.append("xvfb")
    if find_program("setpriv") is None:
        missing.append("util-linux")
    if not cached_shim().is_file():  # the compiler is needed once
        if find_program(*COMPILERS) is None:
            missing.append("gcc")
        if not (INCLUDE / "X11/Xlib.h").is_file():
            missing.append("libx11-dev")
        if not (INCLUDE / "GL/glx.h").is_file():
            missing.append("libgl-dev")
    return missing


def require_packages() -> None:
    """WorldModelError that names every missing package at once, with the command that installs them."""
    missing = missing_packages()
    if missing:
        names = " ".join(missing)
        raise WorldModelError(f"the real game needs Debian packages that are missing: apt-get install --yes {names}")


def program(*names: str) -> Path:
    """Like find_program, but a missing program is a WorldModelError."""
    found = find_program(*names)
    if found is None:
        require_packages()
        raise WorldModelError(f"{names[0]} is not on the PATH")
    return found


def build_shim() -> Path:
    """Path of the compiled stepping library, compiled now if need be. Safe to call from several processes at once."""
    shim = cached_shim()
    if shim.is_file():
        return shim
    require_packages()
    shim.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(suffix=".tmp", dir=shim.parent)
    os.close(handle)
    unfinished = Path(name)
    command = [
        str(program(*COMPILERS)),
        *("-O2", "-Wall", "-Wextra", "-fPIC", "-shared"),
        *("-o", str(unfinished), str(SHIM_SOURCE), "-ldl", "-lX11", "-lGL"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        unfinished.unlink(missing_ok=True)
        raise WorldModelError(f"{SHIM_SOURCE} does not compile: {done.stderr.strip()[-800:]}")
    unfinished.replace(shim)
    return shim
