"""Measures a training step of the world model on this CPU, with the attention of each kind in turns.

    python scripts/bench_training.py [--preset nano] [--out benchmarks/training_speed.json]

A step is one clip forward and backward in bf16, with random weights and tokens. The kinds take turns: a ratio is that
of neighbours, so that a busy machine is shared fairly.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from worldmodel.config import PRESETS
from worldmodel.data.frames import write_json
from worldmodel.measure.provenance import provenance
from worldmodel.measure.speed import quartiles
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.script import main_with_errors
from worldmodel.training.flops import clip_flops
from worldmodel.training.run.common import autocast
from worldmodel.training.world import WorldTraining, attention_of, targets_of
from worldmodel.types import NO_ACTION

KINDS = ("compiled", "dense")
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


def main(args: Arguments) -> None:
    config = PRESETS[args.preset]
    image, encoder = config.image_tokenizer, config.action_tokenizer()
    tokens = torch.randint(0, image.codebook_size, (1, args.frames, image.tokens_per_frame))
    actions = torch.from_numpy(np.tile(encoder.encode(NO_ACTION).astype(np.int64), (1, args.frames, 1)))
    models = {}
    for kind in KINDS:
        models[kind] = VisualActionTransformer(config)
        models[kind].whole_clips = attention_of(WorldTraining(attention=kind), config, CPU)
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for turn in tqdm(range(args.rounds + 1), unit="round"):
        for kind in KINDS:
            seconds = seconds_of(models[kind], tokens, actions)
            if turn:
                found[kind].append(seconds)
    operations = clip_flops(config, args.frames)
    made = {
        "provenance": provenance(),
        "preset": args.preset,
        "frames": args.frames,
        "frames_a_second": {kind: round(args.frames / float(np.median(found[kind])), 1) for kind in KINDS},
        "gflops": {kind: round(operations / float(np.median(found[kind])) / 1e9, 1) for kind in KINDS},
        "times_dense": quartiles(np.array(found["dense"]) / np.array(found["compiled"])),
    }
    write_json(args.out, made)
    print(made["frames_a_second"], made["times_dense"])


if __name__ == "__main__":
    main_with_errors(main, Arguments)
