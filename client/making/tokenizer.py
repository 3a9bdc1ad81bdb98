"""Train an image tokenizer on VPT clips.

Decodes the clips once into --cache, trains, and leaves config.json, model.safetensors, log.jsonl, sample pictures
(originals above reconstructions) and scores.json in --out. Started again, it goes on where it stopped.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from worldmodel.config import ImageTokenizerConfig
from worldmodel.data.frames import open_clips, write_json
from worldmodel.model.loading import load_tokenizer
from worldmodel.training.run.common import DONE
from worldmodel.training.tokenizer import TokenizerTraining, train_tokenizer
from worldmodel.worlds.neural import find_checkpoint


@dataclass(frozen=True)
class Arguments:
    """What is trained on what."""

    data: tuple[Path, ...]
    """Folders of clips."""
    val: Path
    """Folder of held-out clips; every 10th of their frames is scored."""
    out: Path
    """The run's folder."""
    cache: Path = Path("runs/frames")
    """Folder of decoded frames; several runs may share it."""
    skip_bad: bool = False
    """Leave clips out that cannot be used, instead of ending; they are named."""
    stop_after_minutes: float | None = None
    """Save and stop then, to go on later with the same command. Default: never."""
    model: tyro.conf.OmitArgPrefixes[ImageTokenizerConfig] = field(default_factory=ImageTokenizerConfig)
    training: tyro.conf.OmitArgPrefixes[TokenizerTraining] = field(default_factory=TokenizerTraining)


def like(init: Path) -> dict[str, Any]:
    """The options that are those of the checkpoint of --init, unless they are given."""
    return {"model": load_tokenizer(init).config}


def main(args: Arguments) -> None:
    init = args.training.init and find_checkpoint(str(args.training.init))
    training = replace(args.training, init=init)
    (args.out / DONE).unlink(missing_ok=True)
    height, width = args.model.height, args.model.width
    splits = {"train": args.data, "val": (args.val,)}
    clips = open_clips(splits, args.cache, height, width, skip_bad=args.skip_bad)
    held_out = np.concatenate([clip.frames[::10] for clip in clips["val"]])
    scores = train_tokenizer(args.model, training, clips["train"], held_out, args.out, args.stop_after_minutes)
    if scores is None:
        return
    bits = args.model.tokens_per_frame * np.log2(args.model.codebook_size)
    write_json(
        args.out / "scores.json",
        {
            "bits_per_frame": round(float(bits), 1),
            **asdict(scores),
            "model": asdict(args.model),
            "training": asdict(training),
        },
    )
    print(f"{bits:.0f} bits a frame: PSNR {scores.psnr:.2f} dB, SSIM {scores.ssim:.3f}, codes used {scores.used:.1%}")
    (args.out / DONE).touch()
