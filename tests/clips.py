"""Made-up clips to train on."""

from __future__ import annotations

import numpy as np
from conftest import random_steps, tiny_config

from worldmodel.data.frames import StoredClip
from worldmodel.data.tokens import TokenClip


def token_clip(frames=30):
    """A world in which each step adds 1 to every token, so that there is something to learn."""
    _, actions = random_steps(tiny_config(), frames)
    start = np.arange(15) % 16
    tokens = (start[None] + np.arange(frames)[:, None]) % 16
    return TokenClip("c", tokens.astype(np.uint16), actions, np.zeros(frames, np.int32))


def stored_clip(frames=30):
    pictures = np.zeros((frames, 48, 80, 3), np.uint8)
    return StoredClip(
        "c", pictures, np.zeros((frames, 23), bool), np.zeros((frames, 2), np.float32), np.zeros(frames, np.int32)
    )
