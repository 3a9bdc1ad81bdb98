"""Packs a trained world model for shipping: half-precision weights, start scenes, scores and pictures.

    python scripts/ship_checkpoint.py --run runs/world --val CLIPS --starts FILE --out worldmodel/pretrained/nano

--starts is a JSON list of [clip name in the frame store, step]: the scenes open with the `context` frames before it.
Writes config.json, model.safetensors, starts.safetensors, scores.json, starts.png and rollouts.png.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tyro.conf import OmitArgPrefixes

from kernels.sampling import GREEDY
from worldmodel.checkpoint import weights_hash
from worldmodel.data.clips import ClipError
from worldmodel.data.frames import build_frame_store, open_frame_store, write_json
from worldmodel.data.tokens import build_token_store
from worldmodel.evaluation.following.hotbar import slots_followed
from worldmodel.evaluation.following.presses import PRESSES, presses_shown
from worldmodel.evaluation.following.rollout import rollout_picture, sample_rollouts, score_rollouts
from worldmodel.evaluation.metrics.motion import turns_followed
from worldmodel.model.loading import (
    WorldModel,
    check_codes,
    load_tokenizer,
    load_world_model,
    save_starts,
    save_world_model,
)
from worldmodel.parsing import is_whole, parse_json, quoted, read_json, read_lines
from worldmodel.script import main_with_errors
from worldmodel.settings import SamplingOptions
from worldmodel.tokenizers.image import to_frames, to_pixels
from worldmodel.training.tokenizer import score_tokenizer
from worldmodel.training.world import held_out_loss
from worldmodel.types import StartScene, WorldModelError
from worldmodel.worlds.neural import NeuralWorld

HELD_OUT_EVERY = 20  # recorded frames: one in so many scores the image tokenizer


@dataclass(frozen=True)
class Arguments:
    """What is packed."""

    run: Path
    """Folder of the training run."""
    val: Path
    """Folder of held-out clips."""
    starts: Path
    """JSON list of [clip's name in the frame store, step]: where start scenes are cut."""
    out: Path
    """Folder of what is shipped."""
    cache: Path = Path("runs")
    """Folder of decoded frames and their tokens."""
    tokenizer_run: Path | None = None
    """Folder of a tokenizer's run with the same codes, whose decoder is shipped. Default: the world's own."""
    sampling: OmitArgPrefixes[SamplingOptions] = field(default_factory=SamplingOptions)
    note: str = ""
    """What else is to be said of it."""
    context: int = 0
    """Frames of a start scene, and before a rollout. Default: as many as the model sees."""
    clips: int = 24
    """Rollouts that are scored."""
    frames: int = 15
    """Frames of each."""


def training_facts(run: Path, parameters: int) -> dict[str, str]:
    """Steps and hours of a run, from its log (whose seconds start again whenever it was resumed); a mean of runs has
    none."""
    facts, log = {"parameters": f"{parameters / 1e6:.1f} M", "steps": "-", "hours": "-"}, run / "log.jsonl"
    if not log.is_file():
        return facts
    rows = [parse_json(line, f"{log}:{number}") for number, line in read_lines(log)]
    seconds = [row["seconds"] for row in rows]
    spent = sum(a for a, b in pairwise([*seconds, 0.0]) if b < a)
    return facts | {"steps": str(rows[-1]["step"]), "hours": f"{spent / 3600:.2f}"}


def read_starts(path: Path) -> list[tuple[str, int]]:
    """[[clip's name, step], ...]: where the start scenes are cut. WorldModelError for another file."""
    values = read_json(path)
    if not isinstance(values, list) or not values:
        raise WorldModelError(f'{path}: start scenes are a list such as [["val.clip_0", 120]], got {quoted(values)}')
    for number, value in enumerate(values):
        if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and is_whole(value[1])):
            raise WorldModelError(f"{path}: start scene {number} must be [clip's name, step], got {quoted(value)}")
    return [(name, int(step)) for name, step in values]


def cut_scene(args: Arguments, model: WorldModel, name: str, step: int) -> StartScene:
    """The `context` frames up to `step` of a stored clip, and the actions between them, as a start scene."""
    stores = [path.parent for path in (args.cache / "frames").glob(f"*/{name}.frames.npy")]
    if not stores:
        raise ClipError(f"--starts names {name!r}, of which no frames are stored below {args.cache / 'frames'}")
    clip = open_frame_store(stores[0], [name])[0]
    if not args.context - 1 <= step < len(clip.frames):
        raise ClipError(
            f"--starts names step {step} of {name}: it has {len(clip.frames)}, of which the first {args.context - 1} "
            "have too few frames before them"
        )
    part = slice(step - args.context + 1, step + 1)
    frames = torch.from_numpy(np.array(clip.frames[part]))  # a copy: the store is read-only
    encode = model.config.action_tokenizer().encode
    actions = [encode(action) for action in clip.actions()[part][:-1]]
    return StartScene(model.tokenizer.encode(to_pixels(frames)).numpy().astype(np.int32), np.stack(actions))


def main(args: Arguments) -> None:
    usual = args.sampling.over()
    starts = read_starts(args.starts)
    model = load_world_model(args.run)
    config = model.config
    args = replace(args, context=args.context or config.transformer.window)
    image = config.image_tokenizer
    tokenizer = model.tokenizer if args.tokenizer_run is None else load_tokenizer(args.tokenizer_run)
    if args.tokenizer_run is not None:
        check_codes(args.tokenizer_run, tokenizer, model.tokenizer)
    save_world_model(args.out, config, tokenizer, model.transformer, torch.float16, usual)
    model = load_world_model(args.out)  # what is scored is what is shipped
    store = args.cache / "frames" / "val"
    pictures = open_frame_store(store, build_frame_store([args.val], store, image.height, image.width))
    cpu = torch.device("cpu")
    tokens = build_token_store(pictures, model.tokenizer, config, store, cpu)
    scenes = [cut_scene(args, model, name, step) for name, step in starts]
    save_starts(args.out, scenes)

    began = time.monotonic()
    held_out = np.concatenate([clip.frames[::HELD_OUT_EVERY] for clip in pictures])
    tokenizer_scores = score_tokenizer(model.tokenizer, held_out, "luanti", cpu)
    loss = held_out_loss(model.transformer, tokens)
    world = NeuralWorld(args.out)
    pairs = list(zip(pictures, tokens, strict=True))
    rollouts = {
        name: sample_rollouts(world.decoder, model.tokenizer, pairs, args.clips, args.frames, args.context, sampler)
        for name, sampler in (("sampled", usual), ("greedy", GREEDY))
    }
    rollout_picture(rollouts["sampled"][:: max(1, args.clips // 6)][:6], args.out / "rollouts.png")
    first = [to_frames(model.tokenizer.decode(torch.from_numpy(s.tokens[-1:]).long()))[0].numpy() for s in scenes]
    rows = [np.concatenate(first[i : i + 5], 1) for i in range(0, len(first) - len(first) % 5, 5)]
    Image.fromarray(np.concatenate(rows)).save(args.out / "starts.png")
    turns = turns_followed(world, range(len(scenes)))
    slots = slots_followed(world, range(len(scenes)))
    presses = {button: presses_shown(world, range(len(scenes)), button) for button in PRESSES}
    write_json(
        args.out / "scores.json",
        {
            "weights_sha256": weights_hash(args.out),
            "tokenizer": asdict(tokenizer_scores),
            "validation": loss,
            "rollouts": {name: asdict(score_rollouts(made)) for name, made in rollouts.items()},
            "sampler": asdict(usual),
            "context_frames": args.context,
            "slots_followed": f"{sum(slots)} of {len(slots)}",
            "presses_shown": {name: f"{sum(hits)} of {len(hits)}" for name, hits in presses.items()},
            "turns_followed": {name: f"{sum(hits)} of {len(hits)}" for name, hits in turns.items()},
            "seconds": round(time.monotonic() - began),
        },
    )
    facts_file = args.out / "training.json"
    facts = read_json(facts_file) if facts_file.exists() else {}
    runs = (("tokenizer", args.tokenizer_run, model.tokenizer), ("world", args.run, model.transformer))
    for name, run, module in runs:
        if run is not None:
            facts[name] = training_facts(run, sum(p.numel() for p in module.parameters()))
    write_json(facts_file, {**facts, "note": args.note})
    print((args.out / "scores.json").read_text())


if __name__ == "__main__":
    main_with_errors(main, Arguments, extra=True)
