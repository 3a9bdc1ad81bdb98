"""Drift: what becomes of a long rollout on random actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldmodel.data.random_play import random_actions
from worldmodel.evaluation.following.scores import add_up, as_told, count, score
from worldmodel.evaluation.metrics.codes import token_entropy
from worldmodel.evaluation.metrics.picture import sharpness
from worldmodel.readers.reader import ActionReader
from worldmodel.tokenizers.action import ActionTokenizer, camera_bins
from worldmodel.types import BUTTONS, Action

STRETCH = 100  # frames that are scored together


def random_play(steps: int, seed: int) -> list[Action]:
    return list(islice(random_actions(seed), steps))


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
