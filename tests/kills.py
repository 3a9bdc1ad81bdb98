"""Kills what records, again and again: of the steps that it was given, at most the one being written may be lost.

    make kills
    python tests/kills.py [--kills 200] [--step-ms 2] [--writer SessionWriter]

Each writer is forked from this process, which imports nothing that has threads; it is given a step at a time, says so,
and is killed at some moment; then its file is read. The figures go into benchmarks/reliability.json. Exit code 1 if
more was lost, or anything else was read than was written.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from records import header, step

from recordings.reader import read_session
from recordings.recorder import Recorder
from recordings.writer import SessionWriter

STEPS = 3000  # more than are given before a kill
LATEST_S = 0.05  # of a kill, after the first step


@dataclass(frozen=True)
class Arguments:
    """How often, and what."""

    kills: int = 200
    """How many."""
    step_ms: float = 2.0
    """Time from one step to the next."""
    seed: int = 0
    """Of the moments."""
    writer: Literal["Recorder", "SessionWriter"] = "Recorder"
    """What records: as the game does, in a thread beside it; or at once."""
    out: Path | None = None
    """File for the figures. Default: benchmarks/reliability.json."""


def kill_one(path: Path, writer: str, step_s: float, after_s: float) -> int:
    """How many of the steps that were given are not in the file."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        _record(path, writer, step_s, theirs)
    os.close(theirs)
    given = len(os.read(ours, 1))
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while said := os.read(ours, 1 << 16):
        given += len(said)
    os.close(ours)
    found = read_session(path).steps
    assert all(record == step(index) for index, record in enumerate(found)), "what is read is what was given"
    return given - len(found)


def _record(path: Path, writer: str, step_s: float, told: int) -> NoReturn:
    recorder = {"Recorder": Recorder, "SessionWriter": SessionWriter}[writer](path, header())
    for index in range(STEPS):
        recorder.step(step(index))
        os.write(told, b"x")
        time.sleep(step_s)
    time.sleep(60)
    os._exit(0)


def main(args: Arguments) -> int:
    rng, lost = random.Random(args.seed), []
    with tempfile.TemporaryDirectory() as folder:
        for kill in range(args.kills):
            path = Path(folder) / f"{kill}.wms"
            lost.append(kill_one(path, args.writer, args.step_ms / 1000, rng.random() * LATEST_S))
            path.unlink()
    most = max(lost, default=0)
    print(f"{args.kills} kills: at most {most} steps lost")
    from fuzz import RESULTS, note  # imports torch, whose threads no fork would keep

    from worldmodel.measure.provenance import provenance

    figures = {"writer": args.writer, "kills": args.kills, "step_ms": args.step_ms, "seed": args.seed}
    note(args.out or RESULTS, "kills", {**provenance(), **figures, "most_lost": most})
    return int(most > (args.writer == "Recorder"))


if __name__ == "__main__":
    import tyro

    sys.exit(main(tyro.cli(Arguments, description=__doc__)))
