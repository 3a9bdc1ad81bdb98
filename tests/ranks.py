"""One process of a training on several (see test_distributed.py): runs what is asked for, one after the other.

python -m torch.distributed.run --standalone --nproc-per-node 2 tests/ranks.py FOLDER NAME:OPTION=VALUE,... ...: runs in
FOLDER/NAME; with the option killed=1, rank 1 kills itself in step 4.
"""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from conftest import TINY_TOKENIZER, random_steps, tiny_config

from worldmodel.data.frames import StoredClip
from worldmodel.data.tokens import TokenClip, WindowSampler
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.training import world
from worldmodel.training.world import WorldTraining, train_world

STEPS = 6
OPTIONS = WorldTraining(
    steps=STEPS, batch=4, clip=5, learning_rate=5e-3, warmup=1, bf16=False, eval_steps=1000, rollouts=1,
    rollout_frames=2, context=2, val_clips=2, average_decay=0.5, stale=0.3, optimizer="adamw",
)  # fmt: skip


class Killed(WindowSampler):
    """Rank 1 dies in step 4, when step 3 is saved."""

    drawn = 0

    def draw(self, *arguments):
        self.drawn += 1
        if self.drawn == 5 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().draw(*arguments)


def data(frames=30):
    _, actions = random_steps(tiny_config(), frames)
    tokens = (np.arange(15)[None] + np.arange(frames)[:, None]) % 16
    clip = TokenClip("c", tokens.astype(np.uint16), actions, np.zeros(frames, np.int32))
    pictures = np.zeros((frames, 48, 80, 3), np.uint8)
    shown = (np.zeros((frames, 23), bool), np.zeros((frames, 2), np.float32), np.zeros(frames, np.int32))
    return clip, StoredClip("c", pictures, *shown)


def run(out, **options):
    """Returns whether the run is at its end. stop: stops after one step."""
    world.LOG_STEPS = 1
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = ImageTokenizer(TINY_TOKENIZER).eval()
    clip, stored = data()
    stop = 1e-9 if options.pop("stop", False) else None
    return train_world(tiny_config(), replace(OPTIONS, **options), tokenizer, [clip], [(stored, clip)], Path(out), stop)


def main(folder, *asked):
    torch.distributed.init_process_group("gloo")
    for one in asked:
        name, _, given = one.partition(":")
        options = dict(part.split("=") for part in given.split(",") if part)
        kinds = {
            "micro_batch": int, "save_minutes": float, "stop": bool, "recompute": bool, "bf16": bool, "steps": int,
            "guidance": float, "init": Path,
        }  # fmt: skip
        if options.pop("killed", ""):
            world.WindowSampler = Killed
        run(Path(folder) / name, **{key: kinds.get(key, str)(value) for key, value in options.items()})

    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
