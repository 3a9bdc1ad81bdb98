"""Measures how many steps a second agents get inside a model: environments stepped together, and as many in a loop.

    python scripts/bench_environments.py [--checkpoint worldmodel/pretrained/nano] [--out benchmarks/environments.json]

Together is `gymnasium.make_vec` as it stands, in a loop is Gymnasium's SyncVectorEnv over environments of their own,
all on the default engine with random actions. The two take turns, a few steps each: a ratio is that of neighbours,
so that a busy machine is shared fairly.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gymnasium.vector import SyncVectorEnv, VectorEnv
from tqdm import tqdm

from worldmodel.checkpoint import weights_hash
from worldmodel.data.frames import write_json
from worldmodel.measure.provenance import provenance
from worldmodel.measure.speed import quartiles
from worldmodel.script import main_with_errors
from worldmodel.settings import EngineOptions
from worldmodel.types import WorldModelError
from worldmodel.worlds.gym import WorldEnv
from worldmodel.worlds.neural import NeuralWorld
from worldmodel.worlds.vector import NeuralVectorEnv


@dataclass(frozen=True)
class Arguments:
    """What is measured."""

    checkpoint: Path = Path("worldmodel/pretrained/nano")
    """Folder of a world model."""
    out: Path = Path("benchmarks/environments.json")
    """File for the figures."""
    counts: tuple[int, ...] = (1, 4, 16)
    """Numbers of environments."""
    rounds: int = 9
    """How often each is measured, for each number."""
    steps: int = 6
    """Steps of all its environments that one measurement takes."""
    threads: int = 0
    """CPU threads; 0 is all cores."""


def timed(envs: VectorEnv, steps: int) -> float:
    """Seconds of so many steps. The actions are drawn before."""
    actions = [envs.action_space.sample() for _ in range(steps)]
    began = time.perf_counter()
    for action in actions:
        envs.step(action)
    return time.perf_counter() - began


def measure(args: Arguments, count: int) -> dict[str, object]:
    """Steps a second of all `count` environments, by median, and how many times those of the loop."""

    def world() -> NeuralWorld:
        return NeuralWorld(args.checkpoint, EngineOptions(threads=args.threads))

    makers: dict[str, Callable[[], VectorEnv]] = {
        "together": lambda: NeuralVectorEnv(world(), count),
        "in_a_loop": lambda: SyncVectorEnv([lambda: WorldEnv(world())] * count),
    }
    envs = {name: make() for name, make in makers.items()}
    for one in envs.values():
        one.action_space.seed(1)
        one.reset(seed=1)
        for _ in range(world().window):  # until the context is full
            one.step(one.action_space.sample())
    seconds: dict[str, list[float]] = {name: [] for name in envs}
    for number in tqdm(range(args.rounds), unit="round", desc=f"{count} environments"):
        for name in list(envs) if number % 2 == 0 else list(envs)[::-1]:
            seconds[name].append(timed(envs[name], args.steps))
    for one in envs.values():
        one.close()
    steps = count * args.steps
    rates = {name: round(steps / float(np.median(times)), 2) for name, times in seconds.items()}
    times = quartiles(np.asarray(seconds["in_a_loop"]) / np.asarray(seconds["together"]))
    return {"steps_a_second": rates, "times_the_loop": times}


def main(args: Arguments) -> None:
    if min(args.counts, default=0) < 1 or args.rounds < 1 or args.steps < 1:
        raise WorldModelError(
            f"--counts, --rounds and --steps must be 1 or more, got {args.counts}, {args.rounds}, {args.steps}"
        )
    world = NeuralWorld(args.checkpoint, EngineOptions(threads=args.threads)).load()
    measured = {str(count): measure(args, count) for count in args.counts}
    write_json(
        args.out,
        {
            "provenance": provenance(),
            "checkpoint_sha256": weights_hash(args.checkpoint),
            "engine": world.engine,
            "threads": args.threads or "all",
            "guidance": world.sampler.guidance,
            "rounds": args.rounds,
            "steps": args.steps,
            "environments": measured,
        },
    )
    print(args.out.read_text())


if __name__ == "__main__":
    main_with_errors(main, Arguments)
