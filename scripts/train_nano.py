"""The prepared training run of nano, start to end, in pieces: tokenizer, tokens, world model.

    python scripts/train_nano.py --data CLIPS [CLIPS ...] --val CLIPS --out runs/nano --device cuda --minutes 8.5

Each call works for at most --minutes, says what stage it reached, and the same call goes on (exit code 3 until all is
done). Checkpoints of both stages lie in --out/tokenizer and --out/world.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from worldmodel.config import PRESETS
from worldmodel.data.frames import build_frame_store, open_frame_store
from worldmodel.data.tokens import build_token_store
from worldmodel.model.loading import load_tokenizer
from worldmodel.training.common import main_with_errors
from worldmodel.training.tokenizer import TokenizerTraining, train_tokenizer
from worldmodel.training.world import WorldTraining, train_world

TO_BE_CONTINUED = 3  # exit code


@dataclass(frozen=True)
class Arguments:
    """data, val: folders of clips; out: the run's folder; minutes: how long this call may work; the step and batch
    counts are for a GPU: a CPU takes a hundredth of them a minute."""

    data: tuple[Path, ...]
    val: Path
    out: Path
    device: str = "cuda"
    minutes: float = 8.5
    tokenizer_steps: int = 20_000
    tokenizer_batch: int = 32
    world_steps: int = 20_000
    world_batch: int = 16
    compile: bool = True


def main(args: Arguments) -> None:
    deadline = time.monotonic() + 60 * args.minutes
    config, device = PRESETS["nano"], torch.device(args.device)
    image = config.image_tokenizer
    clips = {}
    for split, folders in (("train", args.data), ("val", (args.val,))):
        store = args.out / "frames" / split
        clips[split] = open_frame_store(store, build_frame_store(folders, store, image.height, image.width))

    def left() -> float:
        return (deadline - time.monotonic()) / 60

    def stop_if(unfinished: bool, stage: str) -> None:
        if unfinished:
            print(f"stage {stage}: stopped after {args.minutes} minutes; the same command goes on")
            sys.exit(TO_BE_CONTINUED)

    folder = args.out / "tokenizer"
    options = TokenizerTraining(
        steps=args.tokenizer_steps, batch=args.tokenizer_batch, device=args.device, save_minutes=1.0
    )
    held_out = np.concatenate([clip.frames[::10] for clip in clips["val"]])
    # Nothing is trained again: a finished run is only scored once more.
    stop_if(train_tokenizer(image, options, clips["train"], held_out, folder, left()) is None, "tokenizer")
    tokenizer = load_tokenizer(folder).to(device)
    tokens = {
        split: build_token_store(clips[split], tokenizer, config, args.out / "tokens" / split, device)
        for split in clips
    }
    options = replace(
        WorldTraining(), steps=args.world_steps, batch=args.world_batch, device=args.device, compile=args.compile
    )
    val = list(zip(clips["val"], tokens["val"], strict=True))
    stop_if(not train_world(config, options, tokenizer, tokens["train"], val, args.out / "world", left()), "world")
    print(f"done: {args.out / 'world'}")


if __name__ == "__main__":
    main_with_errors(main, Arguments)
