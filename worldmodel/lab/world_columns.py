"""What a world model over a tokenizer is measured by."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from kernels.sampling import Sampler
from worldmodel.data.frames import StoredClip
from worldmodel.data.tokens import TokenClip, WindowSampler, save_array
from worldmodel.evaluation.following.episodes import Episode, pick_episodes
from worldmodel.evaluation.following.scores import add_up, as_told, count, score
from worldmodel.evaluation.metrics.picture import frechet_distance, psnr
from worldmodel.lab import scores
from worldmodel.lab.autoencoder import LabTokenizer
from worldmodel.lab.budget import Budget
from worldmodel.lab.clips import decode_clip
from worldmodel.lab.decoder import LabDecoder
from worldmodel.lab.packing import Packing
from worldmodel.lab.picture_columns import TIMED, Columns
from worldmodel.lab.sequence import LabTransformer
from worldmodel.lab.train import move_vectors
from worldmodel.lab.variant import Variant
from worldmodel.readers.idm import InverseDynamicsModel, read_actions
from worldmodel.tokenizers.action import ActionTokenizer, camera_bins, camera_degrees


def token_clips(
    clips: Sequence[StoredClip], codes: Sequence[NDArray[np.int32]], radices: Sequence[int], packing: Packing
) -> list[TokenClip]:
    """A world model's token clips. radices: of a token's digits."""
    encode, size = ActionTokenizer(sum(packing.radices(radices))).encode, math.prod(radices)
    found = []
    for clip, own in zip(clips, codes, strict=True):
        actions = np.stack([encode(action) for action in clip.actions()])
        packed = packing.pack(own, clip, size)
        found.append(TokenClip(clip.name, packed, actions, clip.segments))  # type: ignore[arg-type]
    return found


@torch.inference_mode()
def world_bits(model: LabTransformer, clips: Sequence[TokenClip], length: int, count: int) -> float:
    """Bits a frame on held-out windows."""
    tokens, actions = WindowSampler(clips, length).spread(count)
    nats = [model.loss(t[None], a[None], t[None]).sum(-1).mean().item() for t, a in zip(tokens, actions, strict=True)]
    return float(np.mean(nats) / math.log(2))


def pictures_of(
    tokenizer: LabTokenizer, packing: Packing, made: NDArray[np.int32], episode: Episode, context: int
) -> NDArray[np.uint8]:
    """Frames (n + 1, H, W, 3) of the last context frame's tokens and of the n generated ones."""
    packed = np.concatenate([episode.tokens[context - 1 : context], made])
    codes = packing.unpack(packed, tokenizer.quantizer.codebook_size)
    moves = move_vectors(episode.held, camera_degrees(episode.actions))[context - 1 :]
    return decode_clip(tokenizer, codes, moves, np.zeros(len(codes), np.int32))


def play(
    decoder: LabDecoder,
    episodes: Sequence[Episode],
    frames: int,
    context: int,
    sampler: Sampler,
    path: Path,
    desc: str,
) -> NDArray[np.int32]:
    """Tokens (episodes, frames, places) that follow each one's context, side by side; read from `path` if they are
    there. An episode that ends earlier goes on with its last action."""
    if path.is_file():
        return np.load(path, allow_pickle=False)
    steps = [np.minimum(np.arange(context - 1 + frames), len(episode.actions) - 1) for episode in episodes]
    actions = np.stack([episode.actions[at] for episode, at in zip(episodes, steps, strict=True)])
    decoder.open(np.stack([episode.tokens[:context] for episode in episodes]), actions[:, : context - 1])
    made = [
        decoder.decode(actions[:, context - 1 + number], sampler, 0, number)[0]
        for number in tqdm(range(frames), desc=desc, unit="frame")
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_array(path, np.stack(made, 1))
    return np.stack(made, 1)


def turns_away(clips: Sequence[StoredClip], stored: Sequence[TokenClip], budget: Budget) -> list[Episode]:
    """Stretches that look away and back, each with the context before it."""
    found, before = [], budget.context - 1
    for clip, own in zip(clips, stored, strict=True):
        segments = clip.segments
        places = [
            (first, last)
            for first, last in scores.looks_away(clip.camera, segments, budget.away_steps)
            if first >= before and segments[first - before] == segments[first]
        ]
        for first, last in places[: -(-budget.away // len(clips))]:
            part = slice(first - before, last + 1)
            tokens = own.tokens[part].astype(np.int32)
            found.append(Episode(clip.name, first, clip.frames[part], tokens, own.actions[part], clip.buttons[part]))
    return found


def score_world(
    variant: Variant,
    tokenizer: LabTokenizer,
    model: LabTransformer,
    clips: Sequence[StoredClip],
    stored: Sequence[TokenClip],
    reader: InverseDynamicsModel | None,
    budget: Budget,
    folder: Path,
) -> Columns:
    """The world model's columns; rollouts are kept as tokens in `folder`."""
    decoder, n, context = LabDecoder(model), budget.episode_frames, budget.context
    made_psnr, repeat_psnr, counts, features = [], [], [], {"real": [], "made": []}
    episodes = pick_episodes(list(zip(clips, stored, strict=True)), budget.episodes, context + n)
    every = play(decoder, episodes, n, context, variant.sampler, folder / "rollouts.npy", "rollouts")
    for episode, made in zip(episodes, every, strict=True):
        shown, real = pictures_of(tokenizer, variant.packing, made, episode, context), episode.frames[context - 1 :]
        made_psnr.append(psnr(shown[1:], real[1:]).mean())
        repeat_psnr.append(psnr(real[1:], real[:1]).mean())
        if reader is not None:
            read = read_actions(reader, shown)
            led = slice(context - 1, context - 1 + n)
            told = as_told(episode.held[led])
            counts.append(count(told, read.held, camera_bins(episode.actions[led]), read.bins))
            features["made"].append(read.features)
            features["real"].append(read_actions(reader, real).features)
    away, turns = [], turns_away(clips, stored, budget)
    if turns:
        frames = max(len(turn.frames) for turn in turns) - context
        every = play(decoder, turns, frames, context, variant.sampler, folder / "away.npy", "looking away")
        for turn, made in zip(turns, every, strict=True):
            own = made[: len(turn.frames) - context]
            shown = pictures_of(tokenizer, variant.packing, own, turn, context)
            away.append(float(psnr(shown[-1:], turn.frames[-1:])[0]))
    whole = {name: np.concatenate(parts) for name, parts in features.items() if parts}
    return {
        "bits_world": world_bits(model, stored, budget.world_clip, budget.episodes),
        "rollout_psnr": float(np.mean(made_psnr)),
        "rollout_over_repeat": float(np.mean(made_psnr) - np.mean(repeat_psnr)),
        "f1_rollouts": score(add_up(counts)).f1 if counts else None,
        "frechet": frechet_distance(whole["real"], whole["made"]) if whole else None,
        "away_psnr": scores.mean_or_nan(away),
        "passes": float(model.layout.order.passes * (2 if model.blocks.redo else 1)),
        "frame_ms": frame_ms(decoder, episodes[0], context, variant.sampler),
    }


def frame_ms(decoder: LabDecoder, episode: Episode, context: int, sampler: Sampler) -> float:
    """Median milliseconds of a frame's tokens, of one session, eagerly."""
    tokens, actions = episode.tokens[None, :context], episode.actions[None]
    decoder.open(tokens, actions[:, : context - 1])
    times = []
    for number in range(min(TIMED // 2, actions.shape[1] - context + 1)):
        started = time.perf_counter()
        decoder.decode(actions[:, context - 1 + number], sampler, 0, number)
        times.append(time.perf_counter() - started)
    return float(np.median(times) * 1000)


# --- a preset ---
