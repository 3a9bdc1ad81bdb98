"""A made-up recording's header and steps, and a real one of a world."""

from __future__ import annotations

import numpy as np

from recordings.format import Header, StepRecord
from recordings.opening import Opening, SamplerSettings
from worldmodel.types import Action


def opening(frames=3, places=84):
    rng = np.random.default_rng(frames)
    draw = rng.integers(0, 4096, (frames, places), dtype=np.int32)
    return Opening(draw, rng.integers(4096, 4160, (frames - 1, 11), dtype=np.int32))


def header(**changes):
    values = {
        "world": "nano",
        "checkpoint": "pretrained/nano",
        "weights": "ab" * 32,
        "config": {"order": "diagonal-1", "levels": [8, 8]},
        "order": "diagonal-1",
        "sampler": SamplerSettings(1.0, 0, 0.8),
        "seed": 2**63,
        "tick_rate": 10.0,
        "engine": "openvino",
        "device": "cpu",
        "created": 1.7e9,
        "opening": opening(),
        "tokenizer": "cd" * 32,
    }
    return Header(**{**values, **changes})


def step(index, places=84):
    rng = np.random.default_rng(index)
    action = Action(frozenset({"forward"}), 0.15 * index, -1.5)
    return StepRecord(index, index, index / 10, action, rng.integers(0, 4096, places, dtype=np.int32), 0.07)


def record_branched(world, path):
    """Six steps of a neural world, a bookmark, a branch and a reset. -> path."""
    from client.play.recording import RecordedWorld

    played = RecordedWorld(world)
    played.record(path)
    played.reset(0, 5)
    for _ in range(3):
        played.step(Action(frozenset({"forward"}), 1.0, 2.0))
    played.bookmark()
    played.rewind(1)
    played.step(Action())
    played.reset(1, 6)
    for _ in range(2):
        played.step(Action(frozenset({"hotbar.3"})))
    played.finish()
    return path
