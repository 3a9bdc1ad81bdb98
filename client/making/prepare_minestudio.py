"""Take the pictures out of MineStudio's recordings (LMDB): mp4 files, for an image tokenizer.

The actions beside them are pickles, which can run anything: they are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from worldmodel.minecraft.minestudio import write_chunks


@dataclass(frozen=True)
class Arguments:
    """What is read, and where to."""

    data: Path
    """The LMDB's folder (of pictures: video or image)."""
    out: Path
    """Folder of the mp4 files."""


def main(args: Arguments) -> None:
    print(f"{write_chunks(args.data, args.out)} chunks of pictures in {args.out}")
