"""Turn VPT's or BASALT's contractor recordings into token shards: read by the public tools' rules, encoded, resumable.

Takes a folder, or an index file ({"basedir": ..., "relpaths": [...]}), and writes shards that `worldmodel train world
--data OUT` takes, and report.json: what was kept, dropped and skipped, and why. Started again, it goes on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from worldmodel.minecraft.shards import Recipe, prepare
from worldmodel.minecraft.vpt import find_recordings
from worldmodel.types import WorldModelError


@dataclass(frozen=True)
class Arguments:
    """What is read, and how."""

    data: Path
    """A folder of recordings (NAME.mp4 and NAME.jsonl), or an index file."""
    tokenizer: Path
    """Folder of an image tokenizer, or of a world model."""
    out: Path
    """Folder of the shards."""
    root: Path | None = None
    """The folder that an index file's paths lie in here. Default: its own basedir."""
    rules: Literal["vpt", "minerl"] = "vpt"
    """Whose reading of the lines: VPT's public loader, or MineRL's converter."""
    ticks: Literal[1, 2] = 1
    """Twentieths of a second that make a step: 1 is 20 Hz, as MineWorld has it, 2 is 10 Hz."""
    gui: bool = True
    """Use lines with a screen open, too; else they cut a recording."""
    legacy_camera: bool = False
    """Encode camera moves in whole degrees, as the released MineWorld code does."""
    workers: int = 0
    """Processes, or Ray's actors; 0 is one a core."""
    ray: str | None = None
    """Address of a Ray cluster (host:port, "auto", or "local" for one of this machine), which does the work instead."""
    device: str = "cpu"
    """Where pictures are encoded: cpu, cuda or mps."""


def main(args: Arguments) -> None:
    if args.workers < 0:
        raise WorldModelError(f"--workers must be 0 (one a core) or more, got {args.workers}")
    recordings = find_recordings(args.data, args.root)
    recipe = Recipe(str(args.tokenizer), args.rules, args.ticks, args.gui, args.legacy_camera, args.device)
    report = prepare(recordings, recipe, args.out, args.workers or os.cpu_count() or 1, args.ray)
    for name, problem in list(report["skipped"].items())[:10]:
        print(f"skipped {name}: {problem}")
    print(
        f"{report['done']} of {report['recordings']} recordings in {args.out}: {report['steps']} steps at "
        f"{recipe.tick_rate:g} Hz, {report['dropped']} lines dropped, {len(report['skipped'])} recordings skipped"
    )
    if not report["done"]:
        raise WorldModelError(f"none of the recordings can be used: {args.out / 'report.json'} says why")
