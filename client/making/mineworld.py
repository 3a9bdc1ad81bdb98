"""Import MineWorld's released weights, or weights fine-tuned from them, as a checkpoint folder that plays here.

Nothing in the files is run: the .ckpt is read as weights alone, the YAML by a safe loader. Leaves config.json,
model.safetensors and start scenes in --out: play it with `worldmodel play --world OUT`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from worldmodel.checkpoint import config_to_dict, read_config, write_config
from worldmodel.minecraft.released_sizes import Reading
from worldmodel.minecraft.scenes import encode, find_scenes, likelier_lead, read_scene, start_scene
from worldmodel.minecraft.weights import Files, import_weights
from worldmodel.model.loading import WorldModel, load_world_model, save_starts
from worldmodel.types import NO_ACTION, StartScene, WorldModelError

GREY = 128


@dataclass(frozen=True)
class Arguments:
    """What is imported."""

    model: Path
    """The model's .ckpt."""
    out: Path
    """Folder of the checkpoint that is made."""
    tokenizer: Path | None = None
    """The image tokenizer's .ckpt. Default: the one inside the model's."""
    tokenizer_config: Path | None = None
    """Its config.json. Default: as the released one is built."""
    config: Path | None = None
    """The model's .yaml (needs pyyaml). Default: what the tensors' shapes tell."""
    order: str = "released-diagonal-1"
    """How a frame is decoded: "released-raster" (exact, a token at a time), or "released-diagonal-K" (as the released
    code does it: 9 times fewer passes with K = 1)."""
    stand_in: Literal["frame-before", "last-input"] = "frame-before"
    """What a row's first token is fed in the diagonal order: that of the frame before, or the pass's last input."""
    keep: int = 8
    """Frames that the context begins with again when it is full."""
    action_lead: Literal["auto", "0", "1"] = "auto"
    """Which line of a clip leads to frame k: 0 for line k - 1, 1 for line k. auto: the likelier one on the scenes, or 0
    where none are given."""
    legacy_camera: bool = True
    """Camera moves in whole degrees, as the released code encodes them."""
    scenes: Path | None = None
    """Folder of MineWorld's scenes (NAME.mp4 and NAME.jsonl) to start from. Default: a grey picture."""
    scene_frames: int = 8
    """Pictures of each scene that are given at a start."""
    height: int = 224
    """Height of the frames in pixels."""
    width: int = 384
    """Width of the frames in pixels."""
    drop_extra: bool = False
    """Leave tensors out that are none of the model's, instead of ending."""


def main(args: Arguments) -> None:
    if args.scene_frames < 1:
        raise WorldModelError(f"--scene-frames must be at least 1, got {args.scene_frames}")
    scenes = [read_scene(path, args.height, args.width) for path in find_scenes(args.scenes)] if args.scenes else []
    if scenes and (shortest := min(len(scene.frames) for scene in scenes)) < args.scene_frames:
        raise WorldModelError(f"--scene-frames {args.scene_frames} is more than the {shortest} of the shortest scene")
    files = Files(args.model, args.tokenizer, args.tokenizer_config, args.config)
    lead = 0 if args.action_lead == "auto" else int(args.action_lead)
    reading = Reading(args.order, args.stand_in, args.keep, lead, args.legacy_camera, args.height, args.width)
    import_weights(files, reading, args.out, args.drop_extra)
    model = load_world_model(args.out)
    if scenes and args.action_lead == "auto":
        lead, nats = likelier_lead(model, scenes)
        print(f"action lead {lead}: {nats[0]:.4f} nats a token with 0, {nats[1]:.4f} with 1", file=sys.stderr)
        model = replace(model, config=replace(model.config, action_lead=lead))
        write_config(args.out, {**read_config(args.out), "model": config_to_dict(model.config)})
    if scenes:
        first = [replace(scene, frames=scene.frames[: args.scene_frames]) for scene in scenes]
        save_starts(args.out, [start_scene(model, scene) for scene in first])
    else:
        print("no --scenes: it starts from a grey picture, or with play --start PICTURE", file=sys.stderr)
        save_starts(args.out, [_grey(model)])
    parameters = sum(p.numel() for p in model.transformer.parameters())
    print(f"{args.out}: {parameters / 1e6:.0f} M parameters, {model.config.order}; worldmodel play --world {args.out}")


def _grey(model: WorldModel) -> StartScene:
    image = model.config.image_tokenizer
    tokens = encode(model.tokenizer, np.full((1, image.height, image.width, 3), GREY, np.uint8))
    idle = model.config.action_tokenizer().encode(NO_ACTION)
    return StartScene(np.repeat(tokens, 2, 0), idle[None])
