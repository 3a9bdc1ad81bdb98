"""Drift: what becomes of a long rollout on random actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from worldmodel.data.random_play import random_actions
from worldmodel.evaluation.following.episodes import Episode
from worldmodel.evaluation.following.rollout import kept_rollout
from worldmodel.evaluation.following.scores import add_up, as_told, count, score
from worldmodel.evaluation.metrics.codes import token_entropy
from worldmodel.evaluation.metrics.picture import sharpness
from worldmodel.readers.reader import ActionReader
from worldmodel.tokenizers.action import ActionTokenizer, camera_bins
from worldmodel.types import BUTTONS, Action
from worldmodel.worlds.neural import NeuralWorld

STRETCH = 100  # frames that are scored together


def random_play(steps: int, seed: int) -> list[Action]:
    return list(islice(random_actions(seed), steps))


def roll_out_long(
    world: NeuralWorld, episodes: Sequence[Episode], count: int, frames: int, context: int, kept: Path
) -> list[tuple[NDArray[np.int32], list[Action]]]:
    """Tokens and actions of `count` rollouts of so many frames on random actions; kept: the folder of what is made."""
    long = []
    for number in tqdm(range(count), desc="long rollouts", unit="rollout"):
        episode = episodes[number * len(episodes) // count]
        actions = random_play(frames, number)
        told = np.concatenate([episode.actions[: context - 1], [world.actions.encode(a) for a in actions]])
        path = kept / f"drift-{frames}-{number}.npy"
        known = episode.tokens[:context]
        long.append((kept_rollout(world.decoder, known, told, frames, world.sampler, number, path), actions))
    return long


def drift_scores(
    rollouts: Sequence[tuple[NDArray[np.int32], list[Action]]],
    pixels: Callable[[NDArray[np.int32]], NDArray[np.uint8]],
    reader: ActionReader,
) -> list[dict[str, Any]]:
    """A row per STRETCH of frames, over all rollouts. rollouts: (generated tokens (T, places), the actions that led to
    them); pixels: tokens -> frames."""
    encode = ActionTokenizer(0).encode
    length = len(rollouts[0][0])
    rows = []
    for first in range(0, length - STRETCH + 1, STRETCH):
        part = slice(first, first + STRETCH)
        counts, sharp, entropy = [], [], []
        for tokens, actions in rollouts:
            frames = pixels(tokens[part])
            found = reader.read(frames)
            led = actions[part][1:]  # action i led to frame i: the first one's frame has none before it here
            held = np.array([[button in action.buttons for button in BUTTONS] for action in led])
            bins = camera_bins(np.stack([encode(action) for action in led]))
            counts.append(count(as_told(held), found.held, bins, found.bins))
            sharp.append(sharpness(frames).mean())
            entropy.append(token_entropy(tokens[part]))
        result = score(add_up(counts))
        rows.append(
            {
                "frames": [first + 1, first + STRETCH],
                "f1": result.f1,
                "camera_degrees": result.camera_degrees,
                "camera": {axis: asdict(value) for axis, value in result.camera.items()},
                "sharpness": float(np.mean(sharp)),
                "token_entropy": float(np.mean(entropy)),
            }
        )
    return rows
