"""Trains a world model on VPT clips and recorded sessions (.wms), with the image tokenizer of an earlier run.

    python scripts/train_world.py --data CLIPS [CLIPS ...] --val CLIPS --tokenizer runs/tokenizer --out runs/world

Decodes and tokenises the clips once (--cache), trains, and leaves config.json, model.safetensors, log.jsonl and
rollout pictures (the real clip above the model's) in --out. Started again, it goes on where it stopped.
Several GPUs: torchrun --nproc-per-node N scripts/train_world.py ... --device cuda
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
import tyro

from recordings.check import Shapes, check_session
from recordings.format import RecordingError
from recordings.reader import read_session
from worldmodel.config import TransformerConfig, WorldModelConfig
from worldmodel.data.clips import ClipReader, ClipStep
from worldmodel.data.frames import build_frame_store, named_clips, open_frame_store
from worldmodel.data.played import decode_steps
from worldmodel.data.tokens import build_token_store
from worldmodel.model.loading import load_tokenizer
from worldmodel.tokenizers.action import TOKENS_PER_ACTION, ActionTokenizer
from worldmodel.training.common import main_with_errors
from worldmodel.training.world import WorldTraining, train_world
from worldmodel.worlds.neural import find_recorded


@dataclass(frozen=True)
class Arguments:
    """data, val: folders of clips (val: held out) or of sessions; a folder that is given N times is drawn from N times
    as often; tokenizer: folder of a trained image tokenizer; out: the run's folder; cache: folder of decoded frames;
    encode_bf16: see build_token_store; stop_after_minutes: save and stop, to go on later."""

    data: tuple[Path, ...]
    val: Path
    tokenizer: Path
    out: Path
    cache: Path = Path("runs")
    order: str = "diagonal-1"
    legacy_camera: bool = False
    encode_bf16: bool = False
    stop_after_minutes: float | None = None
    model: tyro.conf.OmitArgPrefixes[TransformerConfig] = field(default_factory=TransformerConfig)
    training: tyro.conf.OmitArgPrefixes[WorldTraining] = field(default_factory=WorldTraining)


def read_session_clip(path: Path, height: int, width: int) -> Iterator[ClipStep]:
    """A session file as a clip: its frames are decoded by the image tokenizer that its header names."""
    session = read_session(path)
    header = session.header
    folder = find_recorded(header.checkpoint, header.world, header.weights, path)
    image = load_tokenizer(folder, header.tokenizer).config
    actions = ActionTokenizer(image.codebook_size)
    shapes = Shapes(image.tokens_per_frame, image.codebook_size, TOKENS_PER_ACTION, actions.vocabulary)
    try:
        session = check_session(session, shapes)
    except RecordingError as error:
        raise RecordingError(f"{path}: {error}") from None
    return decode_steps(session.stretches(), folder, header.tokenizer, (height, width))


READERS: dict[str, ClipReader] = {".wms": read_session_clip}


def main(args: Arguments) -> bool:
    tokenizer = load_tokenizer(args.tokenizer)
    config = WorldModelConfig(tokenizer.config, args.model, args.order, args.legacy_camera)
    device = torch.device(args.training.device)
    height, width = tokenizer.config.height, tokenizer.config.width
    clips, tokens = {}, {}
    for split, folders in (("train", args.data), ("val", (args.val,))):
        frames = args.cache / "frames" / split
        once = tuple(dict.fromkeys(folders))
        clips[split] = open_frame_store(frames, build_frame_store(once, frames, height, width, readers=READERS))
        tokenizer = tokenizer.to(device)
        store = args.out / "tokens" / split
        tokens[split] = build_token_store(
            clips[split], tokenizer, config, store, device, args.encode_bf16, args.training.unlined > 0
        )
    val = list(zip(clips["val"], tokens["val"], strict=True))
    stored = {clip.name: clip for clip in tokens["train"]}
    drawn = [stored[name] for folder in args.data for _, name in named_clips(folder, READERS)]
    done = train_world(config, args.training, tokenizer, drawn, val, args.out, args.stop_after_minutes)
    print(f"{'done' if done else 'stopped early; the same command goes on'}: {args.out}")
    return done


if __name__ == "__main__":
    main_with_errors(main, Arguments)
