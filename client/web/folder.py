"""`worldmodel web OUT`: writes a folder that any static host can serve, in which a world plays wholly in the tab."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any, Literal

import numpy as np

from client.web.keys import page_commands, page_help, page_keys
from worldmodel.types import WorldModelError

PAGE = Path(__file__).parent / "page"
MARK = "world.json"  # written last: the folder is whole once it is there
LICENCES = """The page, its world and its pictures: the licence in LICENSE (MIT), and {world} as its own README says.
native.wasm has parts of wasi-libc (MIT) and of LLVM's libc++ (Apache 2.0 with LLVM's exception).
"""


def write_web(out: Path, world: str = "nano", bits: Literal[8, 16] = 8) -> int:
    """Writes the folder, says how to look at it, and returns the exit code 0. WorldModelError for a world that a page
    cannot play, and for a folder that holds something else."""
    if out.exists() and not (out.is_dir() and ((out / MARK).is_file() or not any(out.iterdir()))):
        raise WorldModelError(f"{out} holds something else: give a new folder, or one that this command wrote before")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.")
    except OSError as error:
        raise WorldModelError(f"{out} cannot be written ({error.strerror})") from None
    with beside as temporary:
        made = Path(temporary) / "web"
        made.mkdir()
        _fill(made, world, bits)
        size = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
        if out.exists():
            os.replace(out, Path(temporary) / "before")
        os.replace(made, out)
    print(f"{out}: {size / 1e6:.1f} MB; look at it with: python -m http.server --directory {quote(str(out))}")
    return 0


def _fill(folder: Path, world: str, bits: Literal[8, 16]) -> None:
    from tqdm import tqdm

    from worldmodel.model.loading import load_sampler, load_starts, load_world_model
    from worldmodel.web.description import describe, describe_pictures
    from worldmodel.web.stored import MODULE, MOST_PARAMETERS, module_file, pictures_file, transformer_file
    from worldmodel.worlds.neural import find_checkpoint

    checkpoint = find_checkpoint(world)
    steps: Iterator[Any] = iter(tqdm(("reading", "exporting", "pictures"), desc="worldmodel web", unit="step"))
    next(steps)
    model = load_world_model(checkpoint)
    scenes = load_starts(checkpoint, model.config)
    if model.transformer.layout.order.released:
        raise WorldModelError(f"{checkpoint.name} decodes in MineWorld's own order, which the page does not know")
    size = sum(parameter.numel() for parameter in model.transformer.parameters())
    if size > MOST_PARAMETERS:
        raise WorldModelError(
            f"{checkpoint.name}'s transformer has {size / 1e6:.0f} million parameters, and a tab has room for"
            f" {MOST_PARAMETERS / 1e6:.0f}: `worldmodel serve --world {world}` plays it in a browser"
        )
    if not scenes:
        raise WorldModelError(f"{checkpoint} has no start scenes: a page has nothing to begin with")
    next(steps)
    files = {
        "transformer.safetensors": transformer_file(model.transformer, bits),
        "scenes.bin": b"".join(np.asarray(part, "<i4").tobytes() for s in scenes for part in (s.tokens, s.actions)),
        MODULE: module_file(),
    }
    next(steps)
    files["pictures.safetensors"] = pictures_file(model.tokenizer, bits)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    for path in PAGE.iterdir():
        shutil.copyfile(path, folder / path.name)
    _licences(folder, checkpoint)
    described = {
        "name": checkpoint.name,
        "bits": bits,
        "scenes": {"count": len(scenes), "frames": len(scenes[0].tokens)},
        "files": {name: listed(data) for name, data in files.items()},
        "keys": page_keys(),
        "commands": page_commands(),
        "help": page_help(),
        "pictures": describe_pictures(model.tokenizer),
        "model": describe(model.transformer, load_sampler(checkpoint)),
    }
    (folder / MARK).write_text(json.dumps(described, allow_nan=False))
    next(steps, None)


def listed(data: bytes) -> list[int | str]:
    """What a page knows of a file: its size, and what tells it from an older one."""
    return [len(data), hashlib.sha256(data).hexdigest()[:16]]


def _licences(folder: Path, checkpoint: Path) -> None:
    """Ours, and what the checkpoint says of itself."""
    (folder / "LICENCES.txt").write_text(LICENCES.format(world=checkpoint.name))
    ours = Path(__file__).resolve().parents[2] / "LICENSE"
    if ours.is_file():
        shutil.copyfile(ours, folder / "LICENSE")
    else:  # installed as a wheel
        from importlib.metadata import distribution

        (folder / "LICENSE").write_text(distribution("worldmodel").read_text("licenses/LICENSE") or "MIT\n")
    if (checkpoint / "README.md").is_file():
        shutil.copyfile(checkpoint / "README.md", folder / "WORLD.md")
