"""Measures what bf16, int8 and fp8 weights and an int8 KV cache cost a world model, against float32, on held-out clips.

    python scripts/bench_weights.py --val CLIPS [--checkpoint worldmodel/pretrained/nano] [--windows 24]

Runs on any device. The formats: kernels/weight_only.py; the figures: worldmodel/measure/formats.py.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from kernels.weight_only import DTYPES
from worldmodel.checkpoint import weights_hash
from worldmodel.data.frames import build_frame_store, open_frame_store, write_json
from worldmodel.data.tokens import WindowSampler, build_token_store
from worldmodel.engine.choice import pick_device
from worldmodel.measure.formats import format_costs
from worldmodel.measure.provenance import device_name
from worldmodel.model.loading import load_world_model
from worldmodel.script import main_with_errors
from worldmodel.types import WorldModelError


@dataclass(frozen=True)
class Arguments:
    """What is measured."""

    val: Path
    """Folder of held-out clips."""
    checkpoint: Path = Path("worldmodel/pretrained/nano")
    """Folder of a world model."""
    out: Path = Path("benchmarks/weight_formats.json")
    """File for the figures."""
    windows: int = 24
    """How many are looked at, evenly spread."""
    frames: int = 12
    """Frames of each; more than the model's window are needed for a full context."""
    cache: Path = Path("runs")
    """Folder of decoded frames and their tokens."""
    device: str = "auto"
    """Where it runs: auto, cuda, mps or cpu."""


def main(args: Arguments) -> None:
    if args.windows < 1 or args.frames < 2:
        raise WorldModelError(f"--windows must be 1 or more and --frames 2 or more, got {args.windows}, {args.frames}")
    device = pick_device(args.device)
    model = load_world_model(args.checkpoint)
    image = model.config.image_tokenizer
    store = args.cache / "frames" / "val"
    pictures = open_frame_store(store, build_frame_store([args.val], store, image.height, image.width))
    clips = build_token_store(pictures, model.tokenizer.to(device), model.config, store, device)
    tokens, actions = WindowSampler(clips, args.frames).spread(args.windows)
    costs = format_costs(model.transformer.to(device), model.tokenizer, tokens, actions, list(DTYPES))
    name = device_name(device)
    write_json(
        args.out,
        {
            "machine": {"device": name, "torch": torch.__version__},
            "date": time.strftime("%Y-%m-%d"),
            "checkpoint_sha256": weights_hash(args.checkpoint),
            "windows": len(tokens),
            "frames": args.frames,
            "formats": {name: asdict(cost) for name, cost in costs.items()},
        },
    )
    print(args.out.read_text())


if __name__ == "__main__":
    main_with_errors(main, Arguments)
