"""What a wheel carries, by pyproject.toml's rules: all that plays, and no picture or report."""

import os
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WHEEL = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
NEEDED = (
    *("worldmodel/pretrained/nano/model.safetensors", "worldmodel/pretrained/nano/config.json"),
    *("worldmodel/pretrained/nano/starts.safetensors", "worldmodel/pretrained/nano/README.md"),
    *("worldmodel/pretrained/idm/model.safetensors", "worldmodel/pretrained/idm/scores.json"),  # what --meter can tell
    *("worldmodel/games/luanti/mod/init.lua", "worldmodel/games/luanti/shim.c", "client/web/page/index.html"),
    *("kernels/cpu/decoder.cpp", "kernels/native.wasm", "kernels/sampling.cu"),
)
MOST_BESIDE_WEIGHTS = 3 << 20  # bytes


def carried():
    """The files that are packed, as the rules have them."""
    found = (path for package in WHEEL["packages"] for path in (ROOT / package).rglob("*") if path.is_file())
    files = [path.relative_to(ROOT) for path in found if "__pycache__" not in path.parts]
    return [
        file.as_posix()
        for file in files
        if not any(fnmatch(file.as_posix() if "/" in rule else file.name, rule) for rule in WHEEL["exclude"])
    ]


def test_a_wheel_carries_what_plays():
    missing = set(NEEDED) - set(carried())
    assert not missing


def test_a_wheel_carries_no_picture_and_no_report():
    files = carried()
    shown = (".png", ".jpg", ".jpeg", ".gif", ".mp4", ".svg", ".pdf")
    assert not [file for file in files if file.endswith(shown)]
    beside = {file: (ROOT / file).stat().st_size for file in files if not file.endswith(".safetensors")}
    assert sum(beside.values()) < MOST_BESIDE_WEIGHTS, sorted(beside, key=beside.__getitem__)[-5:]


def pip_wheel(folder, paths):
    """Tries to make a wheel with the engine compiled for some paths."""
    environment = {**os.environ, "WORLDMODEL_NATIVE": paths}
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    return subprocess.run([*command, str(ROOT)], env=environment, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("hatchling") is None, reason="no hatchling here")
def test_a_wheel_can_bring_the_compiled_engine(tmp_path):
    """It loads without a compiler, and the wheel says for which platform it is."""
    made = pip_wheel(tmp_path, "portable")
    assert made.returncode == 0, made.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert "-py3-none-any" not in wheel.name
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path, [name for name in packed.namelist() if name.startswith("kernels/")])
    asks = "from kernels.native import compiled; print(compiled('portable')._name)"
    environment = {"PATH": str(tmp_path / "nothing"), "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", asks], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == str(tmp_path / "kernels/compiled/portable.so"), done.stderr


def test_a_wheel_for_a_path_that_is_none_here_is_refused(tmp_path):
    done = pip_wheel(tmp_path, "abacus")
    assert done.returncode != 0
    assert "WORLDMODEL_NATIVE knows" in done.stdout + done.stderr
