"""A model from a recipe, start to end: each stage is one of the scripts beside this one (see recipes/).

    python scripts/run_recipe.py --recipe scripts/recipes/gpu.toml --data CLIPS [CLIPS ...] --val CLIPS --out runs/nano

The same call goes on where it was stopped, and leaves out what is done. With --minutes it works for about so long, says
what stage it reached, and ends with exit code 3 until all is done. With --piece-mb it leaves the weights in half
precision in --out/pieces, in files of at most that size: `cat NAME.* > NAME` puts one together.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import torch

from worldmodel.checkpoint import CONFIG_FILE, WEIGHTS_FILE
from worldmodel.checks import ConfigError
from worldmodel.model.loading import load_world_model, save_world_model
from worldmodel.script import main_with_errors
from worldmodel.training.recipe import Folders, Stage, check_names, read_recipe
from worldmodel.training.run.common import DONE, split_file

SCRIPTS = Path(__file__).resolve().parent
TO_BE_CONTINUED = 3  # exit code of a call that ends before all is done
END_S = 60.0  # that a stage gets to save what it has


@dataclass(frozen=True)
class Arguments:
    """What is made of what."""

    out: Path
    """The run's folder; each stage has one of its own below."""
    recipe: Path = SCRIPTS / "recipes/gpu.toml"
    """The stages and their options."""
    data: tuple[Path, ...] = ()
    """Folders of clips, for a recipe that records none."""
    val: Path | None = None
    """Folder of held-out clips, for a recipe that records none."""
    done: dict[str, Path] = field(default_factory=dict)
    """Stages that need not be run, with the folders of what they would make: STAGE FOLDER."""
    change: tuple[str, ...] = ()
    """Options in place of the recipe's: STAGE.OPTION=VALUE."""
    minutes: float = 0.0
    """How long this call may work; 0: until all is done."""
    piece_mb: float = 0.0
    """Leave the weights in pieces of at most so many MiB; 0: none."""


def plan(args: Arguments) -> tuple[list[Stage], Folders]:
    """The stages that are to be run, and the folder of every name in braces. ConfigError where something is missing."""
    stages = read_recipe(args.recipe, args.change)
    if unknown := args.done.keys() - {stage.name for stage in stages}:
        raise ConfigError(f"--done names stages that {args.recipe} has not: {', '.join(sorted(unknown))}")
    made = {stage.name: (args.done.get(stage.name, args.out / stage.name),) for stage in stages}
    given = {"data": args.data, "val": (args.val,) if args.val else (), "out": (args.out,)}
    given |= {"repository": (SCRIPTS.parent,)} | {name: made[name] for name in args.done}
    stages = [stage for stage in stages if stage.name not in args.done]
    check_names(stages, given, str(args.recipe))
    for stage in stages:
        if not (SCRIPTS / stage.script).is_file():
            raise ConfigError(f"{args.recipe}: [{stage.name}] there is no script {SCRIPTS / stage.script}")
    return stages, given | made


def mark_of(stage: Stage, out: Path) -> Path:
    """The file that says that a stage is done."""
    return out / stage.name / DONE if stage.trains else out / f"{stage.name}.{DONE}"


def run_stage(stage: Stage, command: list[str], mark: Path, minutes: float) -> None:
    """Runs a stage unless it is done. SystemExit with exit code 3 if the time is over, or the stage's own code."""
    if mark.exists():
        return
    if minutes <= 0:
        stop(stage)
    print(f"stage {stage.name}: {stage.script}", flush=True)
    limit = ["--stop-after-minutes", f"{minutes:.3f}"] if stage.trains and minutes < inf else []
    with subprocess.Popen([sys.executable, *command, *limit]) as process:
        try:
            # What trains ends by itself; another stage keeps what it has: it is simply ended, and goes on.
            ended = process.wait(None if stage.trains or minutes == inf else 60 * minutes)
        except subprocess.TimeoutExpired:
            end(process)
            stop(stage)
        except KeyboardInterrupt:  # or a signal that ends this script
            end(process)
            raise
    if ended != 0:
        sys.exit(ended)
    if not stage.trains:
        mark.touch()
    if not mark.exists():
        stop(stage)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a stage as Ctrl-C does: it saves what it has."""
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()


def stop(stage: Stage) -> None:
    print(f"stage {stage.name}: the time of this call is over; the same command goes on")
    sys.exit(TO_BE_CONTINUED)


def pack(stages: list[Stage], folders: Folders, out: Path, most: int) -> None:
    """The world models and IDMs that were trained, in half precision, split into files of at most `most` bytes."""
    for stage in stages:
        folder = folders[stage.name][0]
        if stage.script == "train_world.py":
            model = load_world_model(folder)
            folder = out / "half"
            save_world_model(folder, model.config, model.tokenizer, model.transformer, torch.float16)
        elif stage.script != "train_idm.py":
            continue
        pieces = out / "pieces" / stage.name
        pieces.mkdir(parents=True, exist_ok=True)
        for file in (CONFIG_FILE, WEIGHTS_FILE):
            split_file(folder / file, pieces, most)


def main(args: Arguments) -> None:
    if args.minutes < 0 or args.piece_mb < 0:
        raise ConfigError(f"--minutes and --piece-mb must be 0 or more, got {args.minutes:g} and {args.piece_mb:g}")
    deadline = time.monotonic() + 60 * args.minutes if args.minutes else inf
    stages, folders = plan(args)
    args.out.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        command = [str(SCRIPTS / stage.script), "--out", str(args.out / stage.name), *stage.command(folders)]
        run_stage(stage, command, mark_of(stage, args.out), (deadline - time.monotonic()) / 60)
    if args.piece_mb:
        pack(stages, folders, args.out, int(args.piece_mb * 2**20))
    print(f"done: {args.out}")


if __name__ == "__main__":
    main_with_errors(main, Arguments, extra=True)
