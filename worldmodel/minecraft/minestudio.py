"""Pictures of MineStudio's recordings: LMDB files whose chunks, keyed "(episode, frame)", are mp4 files.

Its actions and metadata are pickles, which can run anything: they are refused, not read. LMDB is an optional package.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from worldmodel.data.video import ClipError
from worldmodel.types import WorldModelError
from worldmodel.writing import written

KEY = re.compile(r"\('?([\w.\-]{1,120})'?, (\d{1,9})\)")
MAX_CHUNK_BYTES = 256 << 20
MP4 = b"ftyp"  # after the length of its box
PICKLE = b"\x80"  # how a pickle of protocol 2 or later begins


@dataclass(frozen=True, slots=True)
class Chunk:
    """mp4: the file's bytes; first: number of its first frame in the episode."""

    episode: str
    first: int
    mp4: bytes


def read_chunks(path: Path) -> Iterator[Chunk]:
    """The pictures of an LMDB folder (or file), a chunk at a time. ClipError for one that cannot be read, or whose
    values are pickles: those of actions and metadata."""
    try:
        lmdb: Any = import_module("lmdb")
    except ImportError:
        raise WorldModelError("MineStudio's files need one more package: pip install lmdb") from None
    if not path.exists():
        raise ClipError(f"there is no {path}")
    try:
        with (
            lmdb.open(str(path), subdir=path.is_dir(), readonly=True, lock=False, max_dbs=0) as store,
            store.begin() as view,
        ):
            for key, value in view.cursor():
                found = KEY.fullmatch(bytes(key[:200]).decode("utf-8", "replace"))
                if found is None:
                    continue  # its own counts, as pickles
                where = f"{path}: {found[0]}"
                if value[:1] == PICKLE:
                    raise ClipError(
                        f"{where} is a pickle (actions or metadata), which could run anything: only pictures are read"
                    )
                if value[4:8] != MP4 or len(value) > MAX_CHUNK_BYTES:
                    raise ClipError(f"{where} is no mp4 of at most {MAX_CHUNK_BYTES} bytes")
                yield Chunk(found[1], int(found[2]), bytes(value))
    except lmdb.Error as error:
        raise ClipError(f"{path} is no LMDB ({error})") from None


def write_chunks(path: Path, out: Path) -> int:
    """Writes each chunk as EPISODE.FRAME.mp4 into a folder; returns how many. Those that are there are left alone."""
    count = 0
    for chunk in read_chunks(path):
        out.mkdir(parents=True, exist_ok=True)
        target = out / f"{chunk.episode}.{chunk.first:09d}.mp4"
        if not target.exists():
            with written(target) as file:
                file.write_bytes(chunk.mp4)
        count += 1
    if not count:
        raise ClipError(f"{path} holds no pictures of episodes")
    return count
