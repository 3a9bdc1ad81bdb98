"""Does the world follow the player? Score a checkpoint on recorded clips: action following, picture, drift, tokenizer.

Leaves scores.json, frames.csv, actions.csv and page.html (self-contained) in --out. Each clip is continued on its own
actions, and as a control on another clip's. An inverse dynamics model reads the actions back from the pictures; what it
reads from the recorded frames, and from their reconstruction, is the ceiling. Rollouts are kept in --out: started
again, it goes on.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm
from tyro.conf import OmitArgPrefixes

from worldmodel.data.clips import ClipError, check_length
from worldmodel.data.frames import build_frame_store, open_frame_store, write_json
from worldmodel.data.played import decode_tokens
from worldmodel.data.tokens import build_token_store
from worldmodel.evaluation.following.comparison import camera_off, mean_psnr
from worldmodel.evaluation.following.drift import drift_scores, roll_out_long
from worldmodel.evaluation.following.episodes import Episode, pick_episodes
from worldmodel.evaluation.following.hotbar import KEPT_FRAMES, WALK, hotbar_kept
from worldmodel.evaluation.following.mineworld import CONTEXT, SAMPLING, clip_episodes
from worldmodel.evaluation.following.opposites import opposites_parted
from worldmodel.evaluation.following.page import write_page
from worldmodel.evaluation.following.rollout import kept_rollout
from worldmodel.evaluation.following.tables import write_tables
from worldmodel.evaluation.following.tally import MODEL, REPEAT, SOURCES, Shown, Tally, show_episodes
from worldmodel.evaluation.metrics.published import not_computed, published_metrics
from worldmodel.measure.provenance import provenance
from worldmodel.measure.speed import time_frames
from worldmodel.model.loading import load_config, load_sampler
from worldmodel.parsing import read_json
from worldmodel.readers.idm import PRETRAINED_IDM
from worldmodel.readers.reader import ActionReader, load_reader
from worldmodel.settings import EngineOptions, SamplingOptions, check_least
from worldmodel.training.tokenizer import score_tokenizer
from worldmodel.worlds.neural import NeuralWorld, find_checkpoint

STRIPS, STRIP_FRAMES = 6, 6  # on the page
TOKENIZER_EVERY = 20  # recorded frames: one in so many scores the image tokenizer


@dataclass(frozen=True)
class Arguments:
    """What is scored, and on what."""

    checkpoint: Path
    """A world model: "nano", or a folder."""
    data: tuple[Path, ...]
    """Folders of held-out clips."""
    out: Path
    """Folder of the report."""
    idm: Path = PRETRAINED_IDM
    """What reads the actions: a folder of an inverse dynamics model, or the .weights file of VPT's."""
    protocol: Literal["ours", "mineworld"] = "ours"
    """mineworld: its clips (NAME_<int>.mp4 at 20 Hz, a line of actions a picture), its sampling (top-p 0.8, temperature
    1) and its scores beside ours; give --clips as many as there are."""
    frames: int = 15
    """Frames generated of each stretch."""
    context: int = 0
    """Recorded frames before them; with --protocol mineworld always 1. Default: as many as the model sees."""
    clips: int = 64
    """How many stretches, spread over the data."""
    seeds: int = 1
    """Rollouts of each stretch."""
    drift: int = 4
    """Long rollouts on random actions, from which opposite keys are tried after 5, 30 and 60 seconds."""
    drift_frames: int = 600
    """Frames of each of them."""
    kept: int = 10
    """Rollouts of 100 frames without a hotbar key: do they keep the slot and the item in it?"""
    engine: OmitArgPrefixes[EngineOptions] = field(default_factory=EngineOptions)
    sampling: OmitArgPrefixes[SamplingOptions] = field(default_factory=SamplingOptions)
    lpips: Path | None = None
    """Published weights of LPIPS; see worldmodel/evaluation/metrics/published.py. Default: LPIPS is not computed."""
    fvd: Path | None = None
    """Published weights of FVD's network. Default: FVD is not computed."""
    timed: int = 100
    """Frames whose speed is measured."""
    cache: Path = Path("runs/evaluation")
    """Folder of decoded frames and their tokens."""
    skip_bad: bool = False
    """Leave clips out that cannot be used, instead of ending; they are named."""


def check(args: Arguments) -> ActionReader:
    """What can be wrong, before any long work."""
    check_least(1, frames=args.frames, context=args.context, clips=args.clips, seeds=args.seeds)
    check_least(0, drift=args.drift, kept=args.kept, timed=args.timed)
    image = load_config(args.checkpoint).image_tokenizer
    reader = load_reader(args.idm)
    reader.check((image.height, image.width), str(args.checkpoint))
    for path in (args.lpips, args.fvd):
        if path is not None and not path.is_file():
            raise ClipError(f"{path} is no file of published weights")
    if args.protocol == "ours":
        check_length(args.data, args.context + args.frames)
    return reader


def check_folder(out: Path, settings: dict[str, Any]) -> None:
    """The folder's rollouts are of these settings, or it is new."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "settings.json"
    if path.exists() and read_json(path) != settings:
        raise ClipError(f"{out} holds another evaluation ({path}): give another --out or delete it")
    write_json(path, settings)


def roll_out_walks(args: Arguments, world: NeuralWorld, episodes: list[Episode]) -> list[NDArray[np.int32]]:
    """Tokens of rollouts that walk on, the last recorded frame first."""
    walks = []
    for pick in sorted({number * len(episodes) // args.kept for number in range(args.kept)}):
        episode = episodes[pick]
        told = np.concatenate([episode.actions[: args.context - 1], [world.actions.encode(WALK)] * KEPT_FRAMES])
        path = args.out / "rollouts" / f"walk-{KEPT_FRAMES}-{pick}.npy"
        known = episode.tokens[: args.context]
        made = kept_rollout(world.decoder, known, told, KEPT_FRAMES, world.sampler, pick, path)
        walks.append(np.concatenate([known[-1:], made]))
    return walks


def strip(shown: Shown, context: int) -> tuple[str, dict[str, NDArray[np.uint8]]]:
    """Title and some frames of every source, the last recorded one first."""
    picks = np.linspace(context - 1, len(shown.episode.tokens) - 1, STRIP_FRAMES).astype(int)
    return f"{shown.episode.clip}, step {shown.episode.start}", {n: shown.frames[n][picks] for n in SOURCES}


def main(args: Arguments) -> None:
    began = time.monotonic()
    released = args.protocol == "mineworld"
    checkpoint = find_checkpoint(str(args.checkpoint))
    window = CONTEXT if released else load_config(checkpoint).transformer.window
    args = replace(args, checkpoint=checkpoint, context=window if released else args.context or window)
    reader = check(args)
    usual = load_sampler(args.checkpoint)
    sampler = args.sampling.over(replace(usual, **SAMPLING) if released else usual)
    world = NeuralWorld(args.checkpoint, args.engine, sampler).load()
    config, tokenizer = world.model.config, world.model.tokenizer
    settings = {
        "weights_sha256": world.weights,
        "idm_sha256": reader.sha256,
        "data": [folder.name for folder in args.data],
        "frames": args.frames,
        "context": args.context,
        "clips": args.clips,
        "seeds": args.seeds,
        "without_black_frames": True,  # earlier versions took them: their rollouts are of other stretches
        "sampler": asdict(world.sampler),
        "order": config.order,
        **({"protocol": "mineworld"} if released else {}),
    }
    check_folder(args.out, settings)
    length = args.context + args.frames
    if released:
        episodes = clip_episodes(world, args.data, length, args.clips, args.out / "clips", args.skip_bad)
        held_out = np.concatenate([episode.frames[:1] for episode in episodes])
    else:
        store = args.cache / "frames"
        names = build_frame_store(args.data, store, *world.frame_shape, skip_bad=args.skip_bad)
        stored = open_frame_store(store, names)
        tokens = build_token_store(stored, tokenizer, config, store, world.device)
        episodes = pick_episodes(list(zip(stored, tokens, strict=True)), args.clips, length)
        held_out = np.concatenate([clip.frames[::TOKENIZER_EVERY] for clip in stored])
    speed = time_frames(world, episodes[0].tokens[: args.context], episodes[0].actions[: args.context - 1], args.timed)

    tally, strips, videos = Tally(reader, args.context), [], []
    kept = args.out / "rollouts"
    rolled = show_episodes(world, episodes, args.context, args.seeds, world.sampler, kept)
    for shown in tqdm(rolled, total=len(episodes) * args.seeds, desc="rollouts", unit="clip"):
        tally.add(shown)
        if shown.seed == 0:
            if len(strips) < STRIPS and shown.number % max(1, len(episodes) // STRIPS) == 0:
                strips.append(strip(shown, args.context))
            if args.lpips is not None or args.fvd is not None:
                videos.append({name: frames[args.context :] for name, frames in shown.frames.items()})
    long = roll_out_long(world, episodes, args.drift, args.drift_frames, args.context, kept)
    walks = roll_out_walks(args, world, episodes)

    def pixels(codes: NDArray[np.int32]) -> NDArray[np.uint8]:
        return decode_tokens(tokenizer, codes)

    scores: dict[str, Any] = {
        "provenance": provenance(),
        "settings": settings,
        "checkpoint": args.checkpoint.resolve().name,
        "reader": reader.name,
        "episodes": len(episodes),
        "following": tally.following(),
        "picture": tally.picture(),
        **({"mineworld": tally.mineworld()} if released else {}),
        "published": published_metrics(videos, args.lpips, args.fvd),
        "frechet_distance_on_idm_features": tally.frechet(),
        "drift": drift_scores(long, pixels, reader) if long else [],
        "opposites": opposites_parted(world, long, pixels, kept),
        "hotbar_kept": hotbar_kept(map(pixels, walks)) if walks else None,
        "tokenizer": asdict(score_tokenizer(tokenizer, held_out, "luanti", world.device)),
        "speed": {"engine": world.engine, **speed},
        "not_computed": not_computed(args.lpips, args.fvd),
        "seconds": round(time.monotonic() - began),
    }
    write_json(args.out / "scores.json", scores)
    write_tables(args.out, tally.rows, scores)
    write_page(args.out / "page.html", scores, strips, long, pixels)
    for name, result in scores["following"].items():
        low, high = result["interval95"]["f1"]
        degrees = camera_off(result, "degrees")
        print(f"{name}: F1 {result['f1']:.3f} ({low:.3f} to {high:.3f}), camera {degrees:.2f} degrees off")
    for name, result in scores.get("mineworld", {}).items():
        print(
            f"{name}, as MineWorld scores: P {result['precision']:.2f}, R {result['recall']:.2f}, "
            f"F1 {result['f1']:.2f}, camera {result['camera_bins_off']:.2f} bins off"
        )
    made, repeat = mean_psnr(scores, MODEL), mean_psnr(scores, REPEAT)
    print(f"PSNR {made:.2f} dB, repeating the last frame {repeat:.2f} dB: {args.out / 'page.html'}")
