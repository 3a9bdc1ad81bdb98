"""Rollouts on recorded actions: the model continues a real clip, and is compared with what really happened.

The random numbers of a rollout are keyed by its seed and by how many frames of it there are: the same call makes the
same tokens, wherever the clip was cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kernels.sampling import Sampler
from worldmodel.data.frames import StoredClip
from worldmodel.data.played import decode_tokens
from worldmodel.data.tokens import TokenClip, save_array
from worldmodel.engine.decoder import Decoder
from worldmodel.evaluation.following.episodes import pick_episodes
from worldmodel.evaluation.metrics.picture import psnr
from worldmodel.tokenizers.image import ImageTokenizer


def roll_out(
    decoder: Decoder,
    tokens: NDArray[np.int32],
    actions: NDArray[np.int32],
    frames: int,
    sampler: Sampler,
    seed: int,
) -> NDArray[np.int32]:
    """Generated tokens (frames, places).

    tokens: (n, places), the context; actions: (n - 1 + frames or more, 11), from the context's first frame on.
    """
    context = len(tokens)
    decoder.open(list(tokens), list(actions[: context - 1]))
    made = [decoder.decode(actions[context - 1 + i], sampler, seed, i)[0] for i in range(frames)]
    return np.stack(made).astype(np.int32)


def kept_rollout(
    decoder: Decoder,
    tokens: NDArray[np.int32],
    actions: NDArray[np.int32],
    frames: int,
    sampler: Sampler,
    seed: int,
    path: Path,
) -> NDArray[np.int32]:
    """roll_out, read from `path` if it is there. It is written atomically: a killed evaluation goes on."""
    if path.exists():
        made = np.load(path, allow_pickle=False)
        if made.shape == (frames, tokens.shape[1]):
            return made.astype(np.int32)
    made = roll_out(decoder, tokens, actions, frames, sampler, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_array(path, made)  # sub-codes: more than uint16 holds
    return made


@dataclass(frozen=True, slots=True)
class Rollout:
    """real: uint8 (frames, H, W, 3); made: what the model made of the same actions; last: the last context
    frame, i.e. the "repeat the last frame" baseline."""

    real: NDArray[np.uint8]
    made: NDArray[np.uint8]
    last: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class RolloutScores:
    """psnr_model, psnr_repeat: dB a frame index, mean over clips, of the rollout and of the repeated last frame."""

    psnr_model: tuple[float, ...]
    psnr_repeat: tuple[float, ...]
    clips: int


def sample_rollouts(
    decoder: Decoder,
    tokenizer: ImageTokenizer,
    clips: Sequence[tuple[StoredClip, TokenClip]],
    count: int,
    frames: int,
    context: int,
    sampler: Sampler,
) -> list[Rollout]:
    """`count` rollouts of `frames` frames from evenly spread places of the validation clips."""
    rollouts = []
    for episode in pick_episodes(clips, count, context + frames):
        made = roll_out(decoder, episode.tokens[:context], episode.actions, frames, sampler, seed=0)
        pictures = decode_tokens(tokenizer, made)
        rollouts.append(Rollout(episode.frames[context:], pictures, episode.frames[context - 1]))
    return rollouts


def score_rollouts(rollouts: list[Rollout]) -> RolloutScores:
    made = np.mean([psnr(rollout.made, rollout.real) for rollout in rollouts], 0)
    repeat = np.mean([psnr(rollout.real, rollout.last[None]) for rollout in rollouts], 0)
    return RolloutScores(tuple(made.round(3).tolist()), tuple(repeat.round(3).tolist()), len(rollouts))


def rollout_picture(rollouts: list[Rollout], path: Path, every: int = 3) -> None:
    """Strips: the real clip above the rollout, one pair a clip."""
    rows = []
    for rollout in rollouts:
        for strip in (rollout.real, rollout.made):
            rows.append(np.concatenate([rollout.last, *strip[every - 1 :: every]], 1))
    Image.fromarray(np.concatenate(rows, 0)).save(path)
