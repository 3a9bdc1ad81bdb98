"""Train a world model on VPT clips and recorded sessions (.wms), with the image tokenizer of an earlier run.

Decodes and tokenises the clips once (--cache), trains, and leaves config.json, model.safetensors, start scenes,
log.jsonl and rollout pictures (the real clip above the model's) in --out. Started again, it goes on where it stopped.
Several GPUs: torchrun --nproc-per-node N -m worldmodel train world ... --device cuda
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import tyro

from recordings.check import Shapes, check_session
from recordings.format import RecordingError
from recordings.reader import read_session
from worldmodel.config import TransformerConfig, WorldModelConfig
from worldmodel.data.clips import ClipError, ClipReader, ClipStep
from worldmodel.data.frames import StoredClip, named_clips, open_clips
from worldmodel.data.played import decode_steps
from worldmodel.data.tokens import TokenClip, build_token_store
from worldmodel.minecraft.shards import is_shards, open_shards, pictured
from worldmodel.model.loading import load_config, load_tokenizer
from worldmodel.tokenizers.action import TOKENS_PER_ACTION, ActionTokenizer
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.training.run.common import DONE
from worldmodel.training.run.stopping import rank
from worldmodel.training.world import WorldTraining, train_world
from worldmodel.worlds.neural import find_checkpoint, find_recorded

VAL_SHARDS = 16  # whose pictures are painted, for rollouts and start scenes


@dataclass(frozen=True)
class Arguments:
    """What is trained on what."""

    data: tuple[Path, ...]
    """Folders of clips, of sessions, or of token shards; a folder that is given N times is drawn from N times as
    often."""
    val: Path
    """Folder of held-out clips, sessions, or token shards."""
    tokenizer: Path
    """A trained image tokenizer's folder, or a world model's, or "nano"."""
    out: Path
    """The run's folder."""
    cache: Path = Path("runs")
    """Folder of decoded frames and their tokens; several runs may share it."""
    order: str = "diagonal-1"
    """Decode order: "raster" (a token at a time), "rows", or "diagonal-K" (a row starts K tokens late)."""
    legacy_camera: bool = False
    """Encode camera moves in whole degrees, as the released MineWorld code does."""
    fine_camera: bool = True
    """Tell the model the camera's moves eight times as finely as MineWorld's 21 bins do."""
    encode_bf16: bool = False
    """Encode the frames in bf16: several times as fast where the processor has it, with 1 to 2% other tokens."""
    skip_bad: bool = False
    """Leave clips out that cannot be used, instead of ending; they are named."""
    stop_after_minutes: float | None = None
    """Save and stop then, to go on later with the same command. Default: never."""
    model: tyro.conf.OmitArgPrefixes[TransformerConfig] = field(default_factory=TransformerConfig)
    training: tyro.conf.OmitArgPrefixes[WorldTraining] = field(default_factory=WorldTraining)


def like(init: Path) -> dict[str, Any]:
    """The options that are those of the checkpoint of --init, unless they are given."""
    config = load_config(init)
    cameras = {"legacy_camera": config.legacy_camera, "fine_camera": config.fine_camera}
    return {"model": config.transformer, "order": config.order, **cameras}


def read_session_clip(path: Path, height: int, width: int) -> Iterator[ClipStep]:
    """A session file as a clip: its frames are decoded by the image tokenizer that its header names."""
    session = read_session(path)
    header = session.header
    folder = find_recorded(header.checkpoint, header.world, header.weights, path)
    image = load_tokenizer(folder, header.tokenizer).config
    actions = ActionTokenizer(image.codebook_size, fine_camera=True)  # the largest vocabulary
    shapes = Shapes(image.tokens_per_frame, image.codebook_size, TOKENS_PER_ACTION, actions.vocabulary)
    try:
        session = check_session(session, shapes)
    except RecordingError as error:
        raise RecordingError(f"{path}: {error}") from None
    return decode_steps(session.stretches(), folder, header.tokenizer, (height, width))


READERS: dict[str, ClipReader] = {".wms": read_session_clip}


def _shards(
    args: Arguments, tokenizer: ImageTokenizer, config: WorldModelConfig
) -> tuple[WorldModelConfig, list[TokenClip], list[tuple[StoredClip, TokenClip]]]:
    """Token shards (worldmodel prepare vpt) in place of clips. ClipError for a mixture of both."""
    folders = (*args.data, args.val)
    if not all(is_shards(folder) for folder in folders):
        raise ClipError("token shards are trained and validated on alone: prepare the clips of the other folders, too")
    opened = {folder: open_shards(folder, tokenizer, config.legacy_camera, config.fine_camera) for folder in folders}
    rates = sorted({rate for _, rate in opened.values()})
    if len(rates) > 1:
        raise ClipError(
            f"the shards are of {' and '.join(f'{rate:g}' for rate in rates)} steps a second: prepare them alike"
        )
    val = [pictured(clip, tokenizer) for clip in opened[args.val][0][:VAL_SHARDS]]
    drawn = [clip for folder in args.data for clip in opened[folder][0]]
    return replace(config, tick_rate=rates[0], game="minecraft"), drawn, val


def main(args: Arguments) -> None:
    init = args.training.init and find_checkpoint(str(args.training.init))
    training = replace(args.training, init=init)
    tokenizer = load_tokenizer(find_checkpoint(str(args.tokenizer)))
    (args.out / DONE).unlink(missing_ok=True)
    fine = args.fine_camera and not args.legacy_camera
    config = WorldModelConfig(tokenizer.config, args.model, args.order, args.legacy_camera, fine_camera=fine)
    device = torch.device(training.device)
    if any(is_shards(folder) for folder in (*args.data, args.val)):
        config, drawn, val = _shards(args, tokenizer, config)
        if train_world(config, training, tokenizer, drawn, val, args.out, args.stop_after_minutes) and rank() == 0:
            (args.out / DONE).touch()
            print(f"done: {args.out}")
        return
    height, width = tokenizer.config.height, tokenizer.config.width
    splits = {"train": args.data, "val": (args.val,)}
    store = args.cache / "frames"
    clips = open_clips(splits, store, height, width, READERS, args.skip_bad)
    tokenizer = tokenizer.to(device)
    tokens = {
        split: build_token_store(found, tokenizer, config, store / split, device, args.encode_bf16)
        for split, found in clips.items()
    }
    val = list(zip(clips["val"], tokens["val"], strict=True))
    stored = {clip.name: clip for clip in tokens["train"]}
    drawn = [stored[name] for folder in args.data for _, name in named_clips(folder, READERS) if name in stored]
    if train_world(config, training, tokenizer, drawn, val, args.out, args.stop_after_minutes) and rank() == 0:
        (args.out / DONE).touch()
        print(f"done: {args.out}")
