"""Measures what recording costs: latency with and without it, bytes a step, and the time to play on after a rewind.

    python scripts/bench_recording.py [--checkpoint worldmodel/pretrained/nano] [--out benchmarks/recording.json]

Each round plays the same game twice through the command line, once with --record. A rewind opens the context of the
frame that it goes back to, and shows its picture; the first step after it is timed on its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from recordings.reader import read_session
from worldmodel.checkpoint import weights_hash
from worldmodel.data.frames import write_json
from worldmodel.measure.provenance import device_name
from worldmodel.script import main_with_errors
from worldmodel.types import Action, StartScene, WorldModelError
from worldmodel.worlds.neural import NeuralWorld

TURN = Action(frozenset({"forward"}), yaw=2.0)


@dataclass(frozen=True)
class Arguments:
    """What is measured."""

    checkpoint: Path = Path("worldmodel/pretrained/nano")
    """Folder of a world model."""
    out: Path = Path("benchmarks/recording.json")
    """File for the figures."""
    rounds: int = 3
    """Pairs of runs, with and without a recording."""
    frames: int = 200
    """Steps of each."""
    rewinds: int = 30
    """How many rewinds are timed."""


def play(args: Arguments, folder: Path, number: int, record: bool) -> tuple[dict[str, Any], Path]:
    """One run of `worldmodel play` -> its report, and the session's file."""
    name = folder / f"{'recorded' if record else 'plain'}-{number}"
    session, report = name.with_suffix(".wms"), name.with_suffix(".json")
    command = [sys.executable, "-m", "client.cli", "play", "--headless", "--world", str(args.checkpoint)]
    command += ["--frames", str(args.frames), "--actions", "random", "--seed", "1", "--report", str(report)]
    done = subprocess.run(
        [*command, *(["--record", str(session)] if record else [])], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise WorldModelError(f"{' '.join(command)} failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(report.read_text()), session


def time_rewinds(args: Arguments) -> dict[str, Any]:
    """Milliseconds from the key to the picture that play goes on from, and of the first step after it."""
    world = NeuralWorld(args.checkpoint)
    first = world.reset(0, 1)
    assert first.tokens is not None, "a neural world has tokens"
    tokens = [first.tokens]
    for _ in range(2 * world.window):
        made = world.step(TURN).tokens
        assert made is not None, "a neural world has tokens"
        tokens.append(made)
    idle = world.actions.encode(TURN)
    picture, step = [], []
    for index in range(args.rewinds):
        last = len(tokens) - index % world.window  # another moment each time, with a full context before it
        scene = StartScene(np.stack(tokens[last - world.window : last]), np.stack([idle] * (world.window - 1)))
        began = time.perf_counter()
        world.open(scene, 1, index)
        opened = time.perf_counter()
        world.step(TURN)
        picture.append((opened - began) * 1e3)
        step.append((time.perf_counter() - opened) * 1e3)

    def summary(values: list[float]) -> dict[str, float]:
        return {name: round(float(np.percentile(values, share)), 1) for name, share in (("p50", 50), ("p95", 95))}

    return {
        "engine": world.engine,
        "window": world.window,
        "picture_ms": summary(picture),
        "first_step_ms": summary(step),
    }


def main(args: Arguments) -> None:
    runs: dict[str, list[dict[str, Any]]] = {"plain": [], "recorded": []}
    with tempfile.TemporaryDirectory() as name:
        size = steps = 0
        for number in tqdm(range(args.rounds), unit="round"):
            # In turns, and each first once: the machine's speed varies.
            for record in (False, True) if number % 2 == 0 else (True, False):
                report, path = play(args, Path(name), number, record)
                runs["recorded" if record else "plain"].append(report["latency_ms"])
                if record:
                    size, steps = path.stat().st_size, len(read_session(path).steps)
    write_json(
        args.out,
        {
            "machine": {"cpu": device_name(torch.device("cpu")), "threads": os.cpu_count()},
            "date": time.strftime("%Y-%m-%d"),
            "checkpoint_sha256": weights_hash(args.checkpoint),
            "frames": args.frames,
            "latency_ms": {
                name: {share: round(median(run[share] for run in of), 1) for share in ("p50", "p95", "p99")}
                for name, of in runs.items()
            },
            "latency_ms_rounds": runs,
            "bytes_a_step": round(size / steps, 1),
            "rewind": time_rewinds(args),
        },
    )
    print(args.out.read_text())


if __name__ == "__main__":
    main_with_errors(main, Arguments)
