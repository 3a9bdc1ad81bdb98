"""Plays the shipped world for as long as one likes, recorded, with presses, rewinds, branches and resets: what it holds
of memory must stop to grow.

    make soak MINUTES=10
    python tests/soak.py --minutes 10 [--world nano] [--seed 1]

Headless. Memory (resident, by the system's count) is taken every EVERY frames, the first time WARM frames after the
start; its growth is the slope of a line through the values. The recording is read at the end: every step must be there.
The figures go into benchmarks/reliability.json. Exit code 1 for a lost step, or a growth of 1% an hour or more that is
no noise.
"""

from __future__ import annotations

import dataclasses
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from fuzz import RESULTS, memory, note

from client.play.recording import RecordedWorld
from recordings.reader import read_session
from worldmodel.data.random_play import random_actions
from worldmodel.measure.provenance import provenance
from worldmodel.types import WorldModelError
from worldmodel.worlds.neural import NeuralWorld, find_checkpoint

WARM, EVERY = 1000, 100  # frames
MOST_GROWTH = 0.01  # of what is held, an hour
RESET, REWIND, BOOKMARK = 0.002, 0.005, 0.01  # chances a step
LONGEST_REWIND = 30  # steps


@dataclasses.dataclass(frozen=True)
class Arguments:
    """How long, and what."""

    minutes: float = 10.0
    """How long, after the warm-up."""
    world: str = "nano"
    """The world: "nano", or a checkpoint's folder."""
    seed: int | None = None
    """Of what is done. Default: another one each time; it is printed."""
    out: Path = RESULTS
    """File for the figures."""


@dataclasses.dataclass
class Done:
    """What was done. held: (seconds, bytes) every EVERY frames after the warm-up."""

    frames: int = 0
    resets: int = 0
    rewinds: int = 0
    bookmarks: int = 0
    held: list[tuple[float, int]] = dataclasses.field(default_factory=list)


def play(world: RecordedWorld, scenes: int, minutes: float, rng: random.Random) -> Done:
    """Plays on until the time is over."""
    done, actions = Done(), random_actions(rng.randrange(2**32))
    world.reset(0, rng.randrange(2**32))
    since, began = 0, time.monotonic()
    while done.frames < WARM or time.monotonic() - began < 60 * minutes:
        world.step(next(actions))
        done.frames, since = done.frames + 1, since + 1
        if done.frames == WARM:
            began = time.monotonic()
        if done.frames >= WARM and done.frames % EVERY == 0:
            done.held.append((time.monotonic() - began, memory("VmRSS")))
        chance = rng.random()
        if chance < RESET:
            world.reset(rng.randrange(scenes), rng.randrange(2**32))
            done.resets, since = done.resets + 1, 0
        elif chance < RESET + REWIND and since > 1:
            world.rewind(rng.randint(1, min(since - 1, LONGEST_REWIND)))
            done.rewinds, since = done.rewinds + 1, 0
        elif chance < RESET + REWIND + BOOKMARK:
            world.bookmark()
            done.bookmarks += 1
    return done


def growth(held: list[tuple[float, int]]) -> tuple[float, float]:
    """Share of the first value that is added an hour, and its standard error; infinite for fewer than three values."""
    if len(held) < 3:
        return 0.0, float("inf")
    seconds, values = np.array(held, float).T
    hours, share = seconds / 3600, values / values[0]
    slope, start = np.polyfit(hours, share, 1)
    spread = np.square(hours - hours.mean()).sum()
    error = np.sqrt(np.square(share - start - slope * hours).sum() / (len(held) - 2) / spread)
    return float(slope), float(error)


def main(args: Arguments) -> int:
    seed = random.SystemRandom().randrange(2**32) if args.seed is None else args.seed
    print(f"seed {seed}")
    stopped: list[Any] = []
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "soak.wms"
        neural = NeuralWorld(find_checkpoint(args.world))
        world = RecordedWorld(neural, tuple, stopped.append)
        world.record(path)
        began = time.monotonic()
        done = play(world, neural.starts, args.minutes, random.Random(seed))
        seconds = time.monotonic() - began
        world.finish()
        session = read_session(path)
        size = path.stat().st_size
    slope, error = growth(done.held)
    lost = done.frames - len(session.steps)
    grew = slope >= MOST_GROWTH and slope > 3 * error
    figures = {
        **provenance(),
        "world": args.world,
        "engine": neural.engine,
        "seed": seed,
        "minutes": args.minutes,
        "seconds": round(seconds),
        **{name: getattr(done, name) for name in ("frames", "resets", "rewinds", "bookmarks")},
        "recorded_bytes": size,
        "lost_steps": lost,
        "held_mb": [round(done.held[at][1] / 2**20, 1) for at in (0, -1)] if done.held else [],
        "growth_an_hour": round(slope, 4),
        "standard_error": round(error, 4) if np.isfinite(error) else None,
    }
    note(args.out, "soak", figures)
    print(
        f"{done.frames} frames, {done.resets} resets, {done.rewinds} rewinds: {lost} steps lost; memory "
        f"{' -> '.join(map(str, figures['held_mb']))} MB, {slope:+.2%} an hour (standard error {error:.2%})"
    )
    return int(bool(lost or stopped or grew or not session.ended))


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Arguments, description=__doc__)))
    except WorldModelError as problem:
        sys.exit(f"error: {problem}")
