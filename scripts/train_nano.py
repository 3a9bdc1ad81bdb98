"""The prepared training run of nano, start to end, in pieces: tokenizer, tokens and world model, IDM, evaluation.

    python scripts/train_nano.py --data CLIPS [CLIPS ...] --val CLIPS --out runs/nano --device cuda --minutes 8.5

Each call works for at most about --minutes, says what stage it reached, and the same call goes on (exit code 3 until
all is done). Each stage is one of the scripts beside this one, in a folder of its own below --out. The last leaves the
weights in half precision in --out/pieces, in files of at most --piece_mb: `cat NAME.* > NAME` puts one together.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from worldmodel.checkpoint import CONFIG_FILE, WEIGHTS_FILE
from worldmodel.model.loading import load_world_model, save_world_model
from worldmodel.script import main_with_errors
from worldmodel.training.run.common import DONE, split_file

SCRIPTS = Path(__file__).resolve().parent
STAGES = ("tokenizer", "world", "idm", "evaluation")
TO_BE_CONTINUED = 3  # exit code of a call that ends before all is done
END_S = 60.0  # that a stage gets to save what it has


@dataclass(frozen=True)
class Arguments:
    """What is trained on what. Counts are for a GPU: a CPU takes a hundredth of them a minute."""

    data: tuple[Path, ...]
    """Folders of clips."""
    val: Path
    """Folder of held-out clips."""
    out: Path
    """The run's folder; each stage has one of its own below."""
    device: str = "cuda"
    """Where it is trained: "cpu", "cuda" or "mps"."""
    minutes: float = 8.5
    """How long this call may work."""
    tokenizer_steps: int = 20_000
    """Steps of the tokenizer."""
    tokenizer_batch: int = 32
    """Frames a step."""
    world_steps: int = 20_000
    """Steps of the world model."""
    world_batch: int = 16
    """Clips a step."""
    balance: float = 0.0
    """See worldmodel train world --help."""
    stale: float = 0.1
    """See worldmodel train world --help."""
    idm: Path | None = None
    """Folder of an inverse dynamics model to evaluate with. Default: one is trained."""
    idm_steps: int = 8_000
    """Steps of the inverse dynamics model."""
    idm_batch: int = 32
    """Windows a step."""
    clips: int = 64
    """Stretches that are evaluated."""
    compile: bool = True
    """Compile the model, which is quicker on a GPU."""
    piece_mb: float = 16.0
    """Largest size of a file of --out/pieces, in MiB."""
    extra: tuple[str, ...] = ()
    """Further options of a stage's script, as STAGE:OPTION."""


def commands(args: Arguments) -> dict[str, list[str]]:
    """What each stage calls, without --stop-after-minutes."""
    folders = {name: args.out / name for name in STAGES}
    data = ["--data", *map(str, args.data), "--val", str(args.val)]
    training = ["--device", args.device, "--save-minutes", "1"]
    compiled = ["--compile"] if args.compile else []
    tokenizer = ["--tokenizer", str(folders["tokenizer"])]
    cache = ["--cache", str(args.out)]
    reader = args.idm or folders["idm"]
    given = {
        "tokenizer": ["--steps", args.tokenizer_steps, "--batch", args.tokenizer_batch, *data, *training]
        + ["--cache", args.out / "frames"],
        "world": ["--steps", args.world_steps, "--batch", args.world_batch, "--balance", args.balance, "--encode-bf16"]
        + ["--stale", args.stale, *data, *training, *compiled, *tokenizer, *cache],
        "idm": ["--steps", args.idm_steps, "--batch", args.idm_batch, *data, *training, *compiled, *tokenizer, *cache],
        "evaluation": ["--checkpoint", folders["world"], "--data", args.val, "--idm", reader, *cache]
        + ["--clips", args.clips],
    }
    scripts = {"evaluation": "evaluate.py"}
    more = {name: [part.partition(":")[2] for part in args.extra if part.startswith(f"{name}:")] for name in STAGES}
    return {
        name: [str(SCRIPTS / scripts.get(name, f"train_{name}.py")), "--out", str(folders[name])]
        + [*map(str, given[name]), *more[name]]
        for name in STAGES
        if name != "idm" or args.idm is None
    }


def run_stage(name: str, command: list[str], folder: Path, minutes: float) -> None:
    """Runs a stage unless it is done. SystemExit with exit code 3 if the time is over, or the stage's own code."""
    if (folder / DONE).exists():
        return
    if minutes <= 0:
        stop(name)
    limit = [] if name == "evaluation" else ["--stop-after-minutes", f"{minutes:.3f}"]
    # An evaluation keeps its rollouts: it is simply ended, and goes on.
    with subprocess.Popen([sys.executable, *command, *limit]) as stage:
        try:
            ended = stage.wait(None if limit else 60 * minutes)
        except subprocess.TimeoutExpired:
            end(stage)
            stop(name)
        except KeyboardInterrupt:
            end(stage)
            raise
    if ended != 0:
        sys.exit(ended)
    if name == "evaluation":
        (folder / DONE).touch()
    if not (folder / DONE).exists():
        stop(name)


def end(stage: subprocess.Popen[bytes]) -> None:
    """Ends a stage as Ctrl-C does: it saves what it has."""
    stage.terminate()
    try:
        stage.wait(END_S)
    except subprocess.TimeoutExpired:
        stage.kill()


def stop(name: str) -> None:
    print(f"stage {name}: the time of this call is over; the same command goes on")
    sys.exit(TO_BE_CONTINUED)


def pack(args: Arguments) -> None:
    """The world model and the IDM in half precision, split."""
    model = load_world_model(args.out / "world")
    half = args.out / "half"
    save_world_model(half, model.config, model.tokenizer, model.transformer, torch.float16)
    trained = {"nano": half} | ({} if args.idm else {"idm": args.out / "idm"})
    for name, folder in trained.items():
        pieces = args.out / "pieces" / name
        pieces.mkdir(parents=True, exist_ok=True)
        for file in (CONFIG_FILE, WEIGHTS_FILE):
            split_file(folder / file, pieces, int(args.piece_mb * 2**20))


def main(args: Arguments) -> None:
    deadline = time.monotonic() + 60 * args.minutes
    for name, command in commands(args).items():
        run_stage(name, command, args.out / name, (deadline - time.monotonic()) / 60)
    pack(args)
    print(f"done: weights in {args.out / 'pieces'}, scores in {args.out / 'evaluation'}")


if __name__ == "__main__":
    main_with_errors(main, Arguments, extra=True)
