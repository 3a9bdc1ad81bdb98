"""Stretches of validation clips, on which a model is evaluated: `context` recorded frames, then as many as are rolled
out (see rollout.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worldmodel.data.frames import StoredClip
from worldmodel.data.tokens import TokenClip
from worldmodel.data.windows import Windows
from worldmodel.evaluation.metrics.motion import world_weights

# Of the mean of what shows the world. Of 10,500 held-out frames, 0.4% have one below 1, and all others one above 15.
BLACK = 6


@dataclass(frozen=True, slots=True)
class Episode:
    """A stretch of a recorded clip: T = context + frames steps.

    frames: uint8 (T, H, W, 3); tokens: int32 (T, places) of the recorded frames; actions: int32 (T, 11); held: bool
    (T, 23); degrees: float (T, 2) of [pitch, yaw] as recorded, where MineWorld's scores are wanted.
    """

    clip: str
    start: int
    frames: NDArray[np.uint8]
    tokens: NDArray[np.int32]
    actions: NDArray[np.int32]
    held: NDArray[np.bool_]
    degrees: NDArray[np.floating] | None = None


def pick_episodes(clips: Sequence[tuple[StoredClip, TokenClip]], count: int, length: int) -> list[Episode]:
    """`count` stretches of `length` steps, spread evenly over all clips. ClipError if no clip is long enough.

    Where a stretch has black frames, the next one without is taken: with the player's head in a block there is nothing
    to be seen of any action, and what a reader says of such pictures, up to 90 degrees off, would drown all else.
    """
    places = Windows([stored for _, stored in clips], length).starts
    episodes = []
    for pick in np.linspace(0, len(places) - 1, min(count, len(places))).astype(int):
        seen = next((p for p in places[int(pick) :] if not black(clips, p, length)), places[int(pick)])
        index, start = seen
        pictures, stored = clips[index]
        part = slice(start, start + length)
        episodes.append(
            Episode(
                pictures.name,
                start,
                np.ascontiguousarray(pictures.frames[part]),
                stored.tokens[part].astype(np.int32),
                stored.actions[part],
                pictures.buttons[part],
            )
        )
    return episodes


def black(clips: Sequence[tuple[StoredClip, TokenClip]], place: tuple[int, int], length: int) -> bool:
    """Whether a stretch, (clip, first step), has a frame in which nothing can be seen."""
    index, start = place
    frames = clips[index][0].frames[start : start + length]
    world = world_weights(*frames.shape[1:3])[::4, ::4] > 0  # a few pixels tell
    return bool((frames[:, ::4, ::4][:, world].mean((1, 2)) < BLACK).any())
