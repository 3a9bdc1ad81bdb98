"""Measures how much of the camera's moves action tokens lose, on recorded play.

    python scripts/measure_camera.py --data CLIPS [--out benchmarks/camera.json]

For MineWorld's 21 bins, the same of whole degrees, as its released code reads them, and the fine camera: by how many
degrees what a model is told differs from what was done, a step and summed over the steps of a rollout. A model can only
guess the difference: its picture stands beside the recorded one by so much.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from worldmodel.data.clips import find_clips
from worldmodel.data.frames import write_json
from worldmodel.data.ticks import read_actions
from worldmodel.measure.provenance import provenance
from worldmodel.script import main_with_errors
from worldmodel.tokenizers.action import ActionTokenizer, camera_degrees
from worldmodel.types import WorldModelError

WAYS = {
    "MineWorld's bins": ActionTokenizer(0),
    "the same, of whole degrees": ActionTokenizer(0, legacy_camera=True),
    "fine camera": ActionTokenizer(0, fine_camera=True),
}


@dataclass(frozen=True)
class Arguments:
    """What is measured."""

    data: Path
    """Folder of clips."""
    steps: int = 15
    """Of a rollout."""
    out: Path = Path("benchmarks/camera.json")
    """File for the figures."""


def rms(values: np.ndarray) -> float:
    return round(float(np.sqrt(np.mean(values**2))), 3)


def main(args: Arguments) -> None:
    if args.steps < 1:
        raise WorldModelError(f"--steps must be 1 or more, got {args.steps}")
    moves, lost = [], {way: [] for way in WAYS}
    drifts = {way: [] for way in WAYS}
    for clip in tqdm(find_clips(args.data), unit="clip"):
        actions = read_actions(clip.with_suffix(".jsonl"))
        done = np.array([(action.pitch, action.yaw) for action in actions])
        moves.append(done)
        for way, tokenizer in WAYS.items():
            away = camera_degrees(np.stack([tokenizer.encode(action) for action in actions])) - done
            lost[way].append(away)
            summed = np.concatenate([np.zeros((1, 2)), away.cumsum(0)])
            drifts[way].append(summed[args.steps :] - summed[: -args.steps])
    turned = np.concatenate(moves) != 0
    if not turned.any():
        raise WorldModelError(f"nobody turns in the clips of {args.data}")
    made = {
        "provenance": provenance(),
        "clips": len(moves),
        "steps": len(turned),
        "turned": int(turned.any(1).sum()),
        "rollout_steps": args.steps,
        "degrees": {
            way: {
                "a_step": rms(np.concatenate(lost[way])[turned]),
                "after_a_rollout": rms(np.concatenate(drifts[way])),
            }
            for way in WAYS
        },
    }
    write_json(args.out, made)
    print(made["degrees"])


if __name__ == "__main__":
    main_with_errors(main, Arguments)
