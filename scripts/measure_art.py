"""Compares styles of the game's art by what a small image tokenizer leaves of them: the same lands, the same player.

    python scripts/measure_art.py --out runs/art [--styles bold lines contrast halo stock] [--steps 600]

For each style ("stock": the game's own art and land): records scripted play, trains an image tokenizer and an inverse
dynamics model for a few minutes each, and scores them on clips of other seeds. Leaves OUT/STYLE/sheet.png (recorded
frames above their reconstructions) and scores.json, OUT/art.json with all of them, and OUT/styles.jpg, a pair of rows a
style. Started again, it goes on where it stopped.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from worldmodel.config import ImageTokenizerConfig
from worldmodel.data.frames import StoredClip, build_frame_store, open_frame_store, write_json
from worldmodel.evaluation.following.scores import Following, add_up, score
from worldmodel.evaluation.metrics.picture import sharpness
from worldmodel.games.luanti.art import STYLES
from worldmodel.games.luanti.manifest import RecordingOptions
from worldmodel.games.luanti.recorder import record
from worldmodel.model.loading import load_tokenizer
from worldmodel.readers.idm import IDMConfig, InverseDynamicsModel
from worldmodel.script import main_with_errors
from worldmodel.training.idm import IDMTraining, count_read, played, reconstruct, train_idm
from worldmodel.training.tokenizer import TokenizerTraining, sample_picture, score_tokenizer, train_tokenizer
from worldmodel.types import WorldModelError

STOCK = "stock"
SHEET_FRAMES = 8
HELD_OUT_EVERY = 6  # frames that are scored, of the held-out clips


@dataclass(frozen=True)
class Arguments:
    """What is measured."""

    out: Path
    """Folder of the runs."""
    styles: tuple[str, ...] = (*STYLES, STOCK)
    """Names in art.STYLES, or "stock"."""
    clips: int = 8
    """Recorded clips to learn from; a quarter as many of other seeds are scored."""
    frames: int = 750
    """Of each, 20 a second."""
    steps: int = 600
    """Of the tokenizer."""
    reader_steps: int = 800
    """Of the inverse dynamics model."""
    seed: int = 11
    """Of lands and players."""
    workers: int = 2
    """Games at once."""
    threads: int = 2
    """Of torch."""

    def __post_init__(self) -> None:
        if unknown := set(self.styles) - {*STYLES, STOCK}:
            raise WorldModelError(f"unknown styles {sorted(unknown)}; known are {', '.join((*STYLES, STOCK))}")


def recorded(args: Arguments, style: str, split: str) -> list[StoredClip]:
    """The frames of a style's clips, recorded and decoded now if need be."""
    config, folder = ImageTokenizerConfig(), args.out / style
    clips, seed = (args.clips, args.seed) if split == "train" else (max(1, args.clips // 4), args.seed + 1)
    options = RecordingOptions(folder / split, clips, args.frames, seed, workers=args.workers)
    options = replace(options, preset="grassland") if style == STOCK else replace(options, style=style)
    record(options)
    store = folder / "frames" / split
    return open_frame_store(store, build_frame_store([options.out], store, config.height, config.width))


def read(model: InverseDynamicsModel, clips: list[StoredClip], frames: list[np.ndarray] | None = None) -> Following:
    frames = frames or [clip.frames for clip in clips]
    return score(add_up([count_read(model, played(c, f)) for c, f in zip(clips, frames, strict=True)]))


def measure(args: Arguments, style: str) -> dict[str, Any]:
    folder, cpu = args.out / style, torch.device("cpu")
    train, val = recorded(args, style, "train"), recorded(args, style, "val")
    held_out = np.concatenate([clip.frames[::HELD_OUT_EVERY] for clip in val])
    options = TokenizerTraining(steps=args.steps)
    train_tokenizer(ImageTokenizerConfig(), options, train, held_out, folder / "tokenizer")
    tokenizer = load_tokenizer(folder / "tokenizer")
    scores = score_tokenizer(tokenizer, held_out, options.hud, cpu)
    picks = np.linspace(0, len(held_out) - 1, SHEET_FRAMES).astype(int)
    sample_picture(tokenizer, held_out[picks], folder / "sheet.png", cpu)
    shown = []
    for clip in val:
        path = folder / "shown" / f"{clip.name}.npy"
        reconstruct(clip, tokenizer, path, cpu, False)
        shown.append(np.load(path, allow_pickle=False))
    made = np.concatenate([frames[::HELD_OUT_EVERY] for frames in shown])
    reader = train_idm(IDMConfig(), IDMTraining(steps=args.reader_steps), train, tokenizer, folder / "idm")
    assert reader is not None, "it was not told to stop early"
    real, seen = read(reader, val), read(reader, val, shown)
    return {
        "psnr": scores.psnr,
        "ssim": scores.ssim,
        "sharpness": float(sharpness(held_out).mean()),
        "sharpness_kept": float(sharpness(made).mean() / sharpness(held_out).mean()),
        "perplexity": scores.perplexity,
        "codes_used": scores.used,
        "slots_read": scores.slots_read,
        "items_read": scores.items_read,
        "f1_recorded": real.f1,
        "f1_reconstructed": seen.f1,
        "camera_degrees_recorded": real.camera_degrees,
        "camera_degrees_reconstructed": seen.camera_degrees,
        "groups_recorded": {name: group.macro.f1 for name, group in real.groups.items() if group.macro.support},
        "groups_reconstructed": {name: group.macro.f1 for name, group in seen.groups.items() if group.macro.support},
        "held_out_frames": len(held_out),
        "held_out_steps": real.steps,
    }


def main(args: Arguments) -> None:
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    for style in args.styles:
        path = args.out / style / "scores.json"
        if not path.is_file():
            write_json(path, measure(args, style))
        print(
            style,
            {
                name: round(value, 3)
                for name, value in json.loads(path.read_text()).items()
                if value == value and isinstance(value, float)
            },
            flush=True,
        )
    found = {style: json.loads((args.out / style / "scores.json").read_text()) for style in args.styles}
    sheets = [np.asarray(Image.open(args.out / style / "sheet.png").convert("RGB")) for style in args.styles]
    Image.fromarray(np.concatenate(sheets)).save(args.out / "styles.jpg", quality=85)
    write_json(args.out / "art.json", {"settings": asdict(args), "styles": found})


if __name__ == "__main__":
    main_with_errors(main, Arguments, extra=True)
