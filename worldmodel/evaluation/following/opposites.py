"""Do opposite keys still part the pictures, after a while of play? Each of a pair is held from the same moment on.

Both plays have the same random numbers (kernels/sampling.py): a world that does not listen shows the same twice. What
other random numbers alone would make of the same key is held against it: a world may be vivid and deaf.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from worldmodel.evaluation.following.rollout import kept_rollout
from worldmodel.evaluation.metrics.motion import world_weights
from worldmodel.types import Action, Frame
from worldmodel.worlds.neural import NeuralWorld

HELD_S = 1.0
AFTER_S = (5, 30, 60)  # of random play
DEGREES = 5.0  # a step
PAIRS = {
    "forward, back": (Action(frozenset({"forward"})), Action(frozenset({"back"}))),
    "left, right": (Action(frozenset({"left"})), Action(frozenset({"right"}))),
    "mouse left, mouse right": (Action(yaw=-DEGREES), Action(yaw=DEGREES)),
    "mouse up, mouse down": (Action(pitch=-DEGREES), Action(pitch=DEGREES)),
}


def apart(a: Frame, b: Frame) -> float:
    """Mean absolute difference, 0..255, of what shows the world in two frames (H, W, 3)."""
    weights = world_weights(*a.shape[:2])
    return float((np.abs(a.astype(np.float64) - b).mean(2) * weights).sum() / weights.sum())


def parted(pictures: NDArray[np.uint8]) -> bool:
    """pictures: (2 seeds, 2 keys, H, W, 3). Do the keys part them more than the random numbers do?"""
    keys = sum(apart(first, second) for first, second in pictures)
    chance = sum(apart(*pictures[:, key]) for key in range(2))
    return keys > chance


def opposites_parted(
    world: NeuralWorld,
    long: Sequence[tuple[NDArray[np.int32], list[Action]]],
    pixels: Callable[[NDArray[np.int32]], NDArray[np.uint8]],
    kept: Path,
) -> list[dict[str, Any]]:
    """A row for each of AFTER_S that the rollouts reach: of how many are the pictures parted, pair by pair.

    long: (generated tokens (T, places), the actions that led to them); kept: the folder of what is made.
    """
    decoder, rate, encode = world.decoder, world.tick_rate, world.actions.encode
    steps = round(HELD_S * rate)
    rows = []
    for seconds in AFTER_S:
        at = round(seconds * rate)
        reached = [(number, *rollout) for number, rollout in enumerate(long) if len(rollout[0]) >= at]
        hits = dict.fromkeys(PAIRS, 0)
        for number, tokens, actions in tqdm(reached, desc=f"opposite keys after {seconds} s", unit="rollout"):
            first = max(at - decoder.window, 0)
            before = [encode(action) for action in actions[first + 1 : at]]
            for name, pair in PAIRS.items():
                made = np.empty((2, 2, tokens.shape[1]), np.int32)
                for seed, key in np.ndindex(2, 2):
                    told = np.stack([*before, *[encode(pair[key])] * steps])
                    path = kept / f"opposite-{number}-{at}-{name.replace(', ', '-').replace(' ', '-')}-{key}-{seed}.npy"
                    rollout = kept_rollout(decoder, tokens[first:at], told, steps, world.sampler, seed, path)
                    made[seed, key] = rollout[-1]
                shown = pixels(made.reshape(4, -1))
                hits[name] += parted(shown.reshape(2, 2, *shown.shape[1:]))
        if reached:
            rows.append({"seconds": seconds, "rollouts": len(reached), "parted": hits})
    return rows
