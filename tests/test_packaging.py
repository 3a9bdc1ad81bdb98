"""What a wheel carries, by pyproject.toml's rules: all that plays, and no picture or report."""

import tomllib
from fnmatch import fnmatch
from pathlib import Path

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
