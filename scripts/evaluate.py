"""Does the world follow the player? Scores a checkpoint on recorded clips: action following, picture, drift, tokenizer.

    python scripts/evaluate.py --checkpoint worldmodel/pretrained/nano --data CLIPS --out out
                               [--frames 15] [--context 4] [--clips 64] [--seeds 1]

Leaves scores.json, frames.csv, actions.csv and page.html (self-contained) in --out. Each clip is continued on its own
actions, and as a control on another clip's. An inverse dynamics model reads the actions back from the pictures; what it
reads from the recorded frames, and from their reconstruction, is the ceiling. Rollouts are kept in --out: started again
after a kill, it goes on.
"""

from __future__ import annotations

import csv
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from kernels.sampling import Sampler
from worldmodel.checkpoint import weights_hash
from worldmodel.data.clips import ClipError
from worldmodel.data.frames import build_frame_store, open_frame_store, write_json
from worldmodel.data.played import decode_tokens
from worldmodel.data.tokens import build_token_store
from worldmodel.evaluation.drift import drift_scores, random_play
from worldmodel.evaluation.episodes import Episode, generate, pick_episodes
from worldmodel.evaluation.following import GROUPS, Counts, add_up, as_told, count, interval, score
from worldmodel.evaluation.idm import PRETRAINED_IDM, InverseDynamicsModel, load_idm, read_actions
from worldmodel.evaluation.page import write_page
from worldmodel.evaluation.picture import frechet_distance, psnr, ssim
from worldmodel.evaluation.provenance import provenance
from worldmodel.model.loading import load_config
from worldmodel.tokenizers.action import ACT_BOS, PITCH_BASE, YAW_BASE
from worldmodel.training.common import main_with_errors
from worldmodel.training.tokenizer import score_tokenizer
from worldmodel.worlds.neural import NeuralOptions, NeuralWorld

SOURCES = ("real", "reconstructed", "model", "shuffled")
STRIP_FRAMES = 6


@dataclass(frozen=True)
class Arguments:
    """checkpoint: a world model; data: folders of held-out clips; out: folder of the report; idm: the model that reads
    actions; frames: generated a clip; context: recorded frames before them; clips: how many stretches, spread over the
    data; seeds: rollouts of each; drift, drift_frames: long rollouts on random actions; cache: decoded frames."""

    checkpoint: Path
    data: tuple[Path, ...]
    out: Path
    idm: Path = PRETRAINED_IDM
    frames: int = 15
    context: int = 4
    clips: int = 64
    seeds: int = 1
    drift: int = 2
    drift_frames: int = 600
    engine: str = "auto"
    temperature: float | None = None
    top_p: float | None = None
    cache: Path = Path("runs/evaluation")


def check(args: Arguments) -> InverseDynamicsModel:
    """What can be wrong, before any long work."""
    for name in ("frames", "context", "clips", "seeds"):
        if getattr(args, name) < 1:
            raise ClipError(f"--{name} must be at least 1, got {getattr(args, name)}")
    image = load_config(args.checkpoint).image_tokenizer
    idm = load_idm(args.idm)
    if (idm.config.height, idm.config.width) != (image.height, image.width):
        raise ClipError(
            f"{args.idm} reads frames of {idm.config.width}x{idm.config.height}, {args.checkpoint} makes "
            f"{image.width}x{image.height}: train one with scripts/train_idm.py"
        )
    return idm


def check_folder(out: Path, facts: dict[str, Any]) -> None:
    """The folder's rollouts are of these settings, or it is new."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "settings.json"
    if path.exists() and json.loads(path.read_text()) != facts:
        raise ClipError(f"{out} holds another evaluation ({path}): give another --out or delete it")
    write_json(path, facts)


def read(
    idm: InverseDynamicsModel, episode: Episode, frames: NDArray[np.uint8], context: int
) -> tuple[Counts, NDArray[np.float32]]:
    """What the IDM reads of the transitions into the last frames, against the recorded actions; and its features."""
    found = read_actions(idm, frames)
    own = slice(context - 1, None)
    bins = episode.actions[:-1, 1:3] - episode.actions[:-1, :1] + ACT_BOS - np.array([PITCH_BASE, YAW_BASE])
    counts = count(as_told(episode.held[:-1])[own], found.held[own], bins[own], found.bins[own])
    return counts, found.features[own]


def main(args: Arguments) -> None:
    began = time.monotonic()
    idm = check(args)
    given = {name: getattr(args, name) for name in ("temperature", "top_p") if getattr(args, name) is not None}
    sampler = Sampler(**given)
    world = NeuralWorld(args.checkpoint, NeuralOptions(args.engine), sampler)
    config, tokenizer = world.model.config, world.model.tokenizer
    settings = {
        "weights_sha256": world.weights,
        "idm_sha256": weights_hash(args.idm),
        "data": [folder.name for folder in args.data],
        "frames": args.frames,
        "context": args.context,
        "clips": args.clips,
        "seeds": args.seeds,
        "sampler": asdict(sampler),
        "order": config.order,
    }
    check_folder(args.out, settings)
    store = args.cache / "frames"
    names = build_frame_store(args.data, store, *world.frame_shape)
    stored = open_frame_store(store, names)
    tokens = build_token_store(stored, tokenizer, config, args.out / "tokens", torch.device("cpu"))
    episodes = pick_episodes(list(zip(stored, tokens, strict=True)), args.clips, args.context + args.frames)

    counts: dict[str, list[Counts]] = {name: [] for name in SOURCES}
    features: dict[str, list[NDArray[np.float32]]] = {name: [] for name in SOURCES}
    rows: list[dict[str, Any]] = []
    strips: list[tuple[str, dict[str, NDArray[np.uint8]]]] = []
    latencies: list[float] = []
    work = [(number, seed) for number in range(len(episodes)) for seed in range(args.seeds)]
    for number, seed in tqdm(work, desc="rollouts", unit="clip"):
        episode = episodes[number]
        other = episodes[(number + len(episodes) // 2) % len(episodes)]
        told = {"model": episode.actions, "shuffled": other.actions}
        known = decode_tokens(tokenizer, episode.tokens)
        shown = {"real": episode.frames, "reconstructed": known}
        for name, actions in told.items():
            path = args.out / "rollouts" / f"{name}-{number:04d}-{seed}.npy"
            fresh, start = not path.exists(), time.perf_counter()
            made = generate(world.decoder, episode.tokens[: args.context], actions, args.frames, sampler, seed, path)
            if fresh:
                latencies.append((time.perf_counter() - start) / args.frames)
            shown[name] = np.concatenate([known[: args.context], decode_tokens(tokenizer, made)])
        for name in SOURCES if seed == 0 else ("model", "shuffled"):
            result, vector = read(idm, episode, shown[name], args.context)
            counts[name].append(result)
            features[name].append(vector)
        real = episode.frames[args.context :]
        last = episode.frames[args.context - 1][None]
        curves = {
            name: (psnr(picture, real), ssim(picture, real))
            for name, picture in (
                ("model", shown["model"][args.context :]),
                ("repeat", np.broadcast_to(last, real.shape)),
                ("reconstructed", known[args.context :]),
                ("shuffled", shown["shuffled"][args.context :]),
            )
        }
        for index in range(args.frames):
            row: dict[str, Any] = {"clip": episode.clip, "start": episode.start, "seed": seed, "frame": index + 1}
            for name, (p, s) in curves.items():
                row |= {f"psnr_{name}": round(float(p[index]), 4), f"ssim_{name}": round(float(s[index]), 5)}
            rows.append(row)
        if seed == 0 and number % max(1, len(episodes) // 6) == 0 and len(strips) < 6:
            picks = np.linspace(args.context - 1, args.context + args.frames - 1, STRIP_FRAMES).astype(int)
            strips.append((f"{episode.clip}, step {episode.start}", {n: shown[n][picks] for n in SOURCES}))

    long = []
    for number in tqdm(range(args.drift), desc="long rollouts", unit="rollout"):
        episode = episodes[(number * len(episodes)) // max(1, args.drift)]
        actions = random_play(args.drift_frames, number)
        encoded = np.concatenate(
            [episode.actions[: args.context - 1], np.stack([world.actions.encode(a) for a in actions])]
        )
        path = args.out / "rollouts" / f"drift-{args.drift_frames}-{number}.npy"
        known = episode.tokens[: args.context]
        made = generate(
            world.decoder, episode.tokens[: args.context], encoded, args.drift_frames, sampler, number, path
        )
        long.append((made, actions))

    held_out = np.concatenate([clip.frames[::20] for clip in stored])
    following = {name: score(add_up(parts)) for name, parts in counts.items()}
    spread = {name: interval(parts) for name, parts in counts.items()}
    everything = {name: np.concatenate(parts) for name, parts in features.items()}
    frames = range(1, args.frames + 1)
    curves = {
        f"{kind}_{name}": [float(np.mean([row[f"{kind}_{name}"] for row in rows if row["frame"] == f])) for f in frames]
        for kind in ("psnr", "ssim")
        for name in ("model", "repeat", "reconstructed", "shuffled")
    }
    scores: dict[str, Any] = {
        "provenance": provenance(),
        "settings": settings,
        "checkpoint": args.checkpoint.name,
        "episodes": len(episodes),
        "following": {name: {**asdict(result), "interval95": spread[name]} for name, result in following.items()},
        "picture": curves,
        "frechet_distance_on_idm_features": {
            name: frechet_distance(everything["real"], everything[name]) for name in SOURCES[1:]
        },
        "drift": drift_scores(long, lambda t: decode_tokens(tokenizer, t), idm) if long else [],
        "tokenizer": asdict(score_tokenizer(tokenizer, held_out, "luanti", torch.device("cpu"))),
        "speed": {
            "engine": world.engine,
            "ms_a_frame_p50": float(np.percentile(latencies, 50) * 1e3) if latencies else None,
            "note": "tokens of a frame, the image decoder not included; the machine may have been busy",
        },
        "not_computed": {
            "LPIPS": "its published weights are not part of this project",
            "FVD": "its published weights are not part of this project",
        },
        "seconds": round(time.monotonic() - began),
    }
    write_json(args.out / "scores.json", scores)
    write_tables(args.out, rows, scores)
    write_page(args.out / "page.html", scores, strips, long, lambda t: decode_tokens(tokenizer, t))
    for name, result in following.items():
        low, high = spread[name]["f1"]
        print(f"{name}: F1 {result.f1:.3f} ({low:.3f} to {high:.3f}), camera {result.camera_degrees:.2f} degrees off")
    made, repeat = np.mean(curves["psnr_model"]), np.mean(curves["psnr_repeat"])
    print(f"PSNR {made:.2f} dB, repeating the last frame {repeat:.2f} dB: {args.out / 'page.html'}")


def write_tables(out: Path, rows: list[dict[str, Any]], scores: dict[str, Any]) -> None:
    """frames.csv: PSNR and SSIM of every frame; actions.csv: scores of every class."""
    with (out / "frames.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        table.writerows(rows)
    with (out / "actions.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(("source", "group", "class", "precision", "recall", "f1", "support"))
        for source, result in scores["following"].items():
            for group in GROUPS:
                for name, values in result["groups"][group]["classes"].items():
                    lines.writerow((source, group, name, *(round(v, 5) for v in values.values())))


if __name__ == "__main__":
    main_with_errors(main, Arguments)
