"""Train the inverse dynamics model that reads actions from frames, and score it on held-out clips.

Leaves config.json, model.safetensors and scores.json (on the real frames, and on what the image tokenizer makes of
them) in --out. Started again, it goes on where it stopped.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import tyro

from worldmodel.data.frames import open_clips, write_json
from worldmodel.evaluation.following.scores import add_up, score
from worldmodel.model.loading import load_tokenizer
from worldmodel.readers.idm import IDMConfig, save_idm
from worldmodel.training.idm import IDMTraining, count_read, played, reconstruct, train_idm
from worldmodel.training.run.common import DONE
from worldmodel.worlds.neural import find_checkpoint


@dataclass(frozen=True)
class Arguments:
    """What is trained on what."""

    data: tuple[Path, ...]
    """Folders of clips."""
    val: tuple[Path, ...]
    """Folders of held-out clips (other scenes), for the scores."""
    tokenizer: Path
    """An image tokenizer's folder, or a world model's, or "nano"."""
    out: Path
    """The run's folder."""
    cache: Path = Path("runs")
    """Folder of decoded frames; several runs may share it."""
    skip_bad: bool = False
    """Leave clips out that cannot be used, instead of ending; they are named."""
    stop_after_minutes: float | None = None
    """Save and stop then, to go on later with the same command. Default: never."""
    model: tyro.conf.OmitArgPrefixes[IDMConfig] = field(default_factory=IDMConfig)
    training: tyro.conf.OmitArgPrefixes[IDMTraining] = field(default_factory=IDMTraining)


def main(args: Arguments) -> None:
    tokenizer = load_tokenizer(find_checkpoint(str(args.tokenizer)))
    (args.out / DONE).unlink(missing_ok=True)
    splits = {"train": args.data, "val": args.val}
    clips = open_clips(splits, args.cache / "frames", args.model.height, args.model.width, skip_bad=args.skip_bad)
    model = train_idm(args.model, args.training, clips["train"], tokenizer, args.out, args.stop_after_minutes)
    if model is None:
        return
    save_idm(args.out, model, args.model, torch.float16)  # what is shipped is what is scored
    device = torch.device(args.training.device)
    scores = {}
    for name in ("real", "reconstructed"):
        counts = []
        for clip in clips["val"]:
            frames = None
            if name == "reconstructed":
                path = args.out / "held_out" / f"{clip.name}.npy"
                reconstruct(clip, tokenizer, path, device, False)
                frames = np.load(path, mmap_mode="r", allow_pickle=False)
            counts.append(count_read(model, played(clip, frames)))
        result = score(add_up(counts))
        scores[name] = asdict(result)
        print(f"{name}: F1 {result.f1:.3f}, camera {result.camera_degrees:.2f} degrees off, {result.steps} steps")
    write_json(args.out / "scores.json", {**scores, "model": asdict(args.model), "training": asdict(args.training)})
    (args.out / DONE).touch()
