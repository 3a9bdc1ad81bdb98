"""Trains the inverse dynamics model that reads actions from frames, and scores it on held-out clips.

    python scripts/train_idm.py --data clips --val val --tokenizer runs/tokenizer --out runs/idm [--steps 2500]

Leaves config.json, model.safetensors and scores.json (on the real frames, and on what the image tokenizer makes of
them) in --out. Started again, it goes on where it stopped.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import tyro

from worldmodel.data.frames import build_frame_store, open_frame_store, write_json
from worldmodel.evaluation.following import add_up, score
from worldmodel.evaluation.idm import IDMConfig, save_idm
from worldmodel.model.loading import load_tokenizer
from worldmodel.training.common import main_with_errors
from worldmodel.training.idm import IDMTraining, count_read, played, reconstruct, train_idm


@dataclass(frozen=True)
class Arguments:
    """data, val: folders of clips (val: other scenes, for the scores); tokenizer: folder of an image tokenizer; out:
    the run's folder; cache: folder of decoded frames; stop_after_minutes: save and stop, to go on later."""

    data: tuple[Path, ...]
    val: tuple[Path, ...]
    tokenizer: Path
    out: Path
    cache: Path = Path("runs")
    stop_after_minutes: float | None = None
    model: tyro.conf.OmitArgPrefixes[IDMConfig] = field(default_factory=IDMConfig)
    training: tyro.conf.OmitArgPrefixes[IDMTraining] = field(default_factory=IDMTraining)


def main(args: Arguments) -> bool:
    tokenizer = load_tokenizer(args.tokenizer)
    size = (args.model.height, args.model.width)
    clips = {}
    for split, folders in (("train", args.data), ("val", args.val)):
        store = args.cache / "frames" / split
        clips[split] = open_frame_store(store, build_frame_store(folders, store, *size))
    model = train_idm(args.model, args.training, clips["train"], tokenizer, args.out, args.stop_after_minutes)
    if model is None:
        print(f"stopped early; the same command goes on: {args.out}")
        return False
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
    return True


if __name__ == "__main__":
    main_with_errors(main, Arguments, extra=True)
