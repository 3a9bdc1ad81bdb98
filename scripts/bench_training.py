"""Measures a training step of the world model on this CPU, in ways that take turns.

    python scripts/bench_training.py [--preset nano] [--out benchmarks/training_speed.json]

A step is one clip forward and backward, with random weights and tokens, in bf16 where the processor has it: with the
attention of each kind that can be had here, and with the freed memory given back to the system, as a process does that
does not ask for it to be kept. Each way has a process of its own; a ratio is that of neighbours, so that a busy machine
is shared fairly. Muon's step is measured in bf16 and in float32. training_speed_plain.json is of a CPU without bf16.
"""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import numpy as np
import torch
from tqdm import tqdm

from worldmodel.config import PRESETS, WorldModelConfig
from worldmodel.data.frames import write_json
from worldmodel.measure.provenance import provenance
from worldmodel.measure.speed import quartiles
from worldmodel.model.compiled_attention import compiled_attention_problem
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.script import main_with_errors
from worldmodel.training.flops import clip_flops
from worldmodel.training.optimizers import orthogonal
from worldmodel.training.run.common import autocast, computes_bf16
from worldmodel.training.run.memory import keep_memory
from worldmodel.training.world import WorldTraining, attention_of, targets_of
from worldmodel.types import NO_ACTION

COMPILED: Final = "compiled"
DENSE: Final = "dense"
GIVEN_BACK: Final = "dense, memory given back"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Arguments:
    """What is measured."""

    preset: str = "nano"
    """A preset of the configuration."""
    frames: int = 64
    """Of the clip."""
    rounds: int = 7
    """Steps of each kind, after one that is not counted."""
    out: Path = Path("benchmarks/training_speed.json")
    """File for the figures."""


def seconds_of(model: VisualActionTransformer, tokens: torch.Tensor, actions: torch.Tensor) -> float:
    began = time.perf_counter()
    with autocast(CPU, True):
        loss = model.nats(model(tokens, actions), targets_of(tokens, model)).mean()
    loss.backward()
    model.zero_grad(set_to_none=True)
    return time.perf_counter() - began


def muon_seconds(model: VisualActionTransformer, dtype: torch.dtype) -> float:
    """Of what Muon does beyond additions, for all of the layers' matrices."""
    matrices = [p.detach() for p in model.layers.parameters() if p.ndim == 2]
    usual = torch.optim.Muon(matrices).defaults
    began = time.perf_counter()
    for shape in dict.fromkeys(p.shape for p in matrices):
        alike = torch.stack([p for p in matrices if p.shape == shape])
        orthogonal(alike, usual["ns_coefficients"], usual["ns_steps"], usual["eps"], dtype)
    return time.perf_counter() - began


def kinds_of(config: WorldModelConfig) -> tuple[str, ...]:
    problem = compiled_attention_problem(config.transformer.head_dim)
    return (DENSE, GIVEN_BACK) if problem else (COMPILED, DENSE, GIVEN_BACK)


def measure(kind: str, args: Arguments, asked: Connection) -> None:
    """A process of its own: at each True that it gets, it sends the seconds of a step of that kind."""
    if kind != GIVEN_BACK:
        keep_memory()
    config = PRESETS[args.preset]
    image, encoder = config.image_tokenizer, config.action_tokenizer()
    tokens = torch.randint(0, image.codebook_size, (1, args.frames, image.tokens_per_frame))
    actions = torch.from_numpy(np.tile(encoder.encode(NO_ACTION).astype(np.int64), (1, args.frames, 1)))
    model = VisualActionTransformer(config)
    model.whole_clips = attention_of(WorldTraining(attention=COMPILED if kind == COMPILED else DENSE), config, CPU)
    while asked.recv():
        asked.send(seconds_of(model, tokens, actions))


def main(args: Arguments) -> None:
    config = PRESETS[args.preset]
    kinds = kinds_of(config)
    spawn = multiprocessing.get_context("spawn")
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    measurers: dict[str, Connection] = {}
    for kind in kinds:
        measurers[kind], theirs = spawn.Pipe()
        spawn.Process(target=measure, args=(kind, args, theirs), daemon=True).start()
    for turn in tqdm(range(args.rounds + 1), unit="round"):
        for kind, measurer in measurers.items():
            measurer.send(True)
            seconds = measurer.recv()
            if turn:
                found[kind].append(seconds)
    for measurer in measurers.values():
        measurer.send(False)
    model = VisualActionTransformer(config)
    muon = {name: muon_seconds(model, dtype) for name, dtype in (("bf16", torch.bfloat16), ("float32", torch.float32))}
    operations = clip_flops(config, args.frames)
    seconds = {kind: np.array(found[kind]) for kind in kinds}
    made = {
        "provenance": provenance(),
        "preset": args.preset,
        "frames": args.frames,
        "precision": "bf16" if computes_bf16(CPU) else "float32",
        "frames_a_second": {kind: round(args.frames / float(np.median(seconds[kind])), 1) for kind in kinds},
        "gflops": {kind: round(operations / float(np.median(seconds[kind])) / 1e9, 1) for kind in kinds},
        "times": {kind: quartiles(seconds[kind] / seconds[kinds[0]]) for kind in kinds[1:]},
        "muon_seconds": {name: round(taken, 2) for name, taken in muon.items()},
    }
    write_json(args.out, made)
    print(made)


if __name__ == "__main__":
    main_with_errors(main, Arguments)
