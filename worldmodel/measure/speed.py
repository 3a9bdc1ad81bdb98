"""What a frame costs here, so that no figure of quality stands without its cost."""

from __future__ import annotations

from itertools import islice

import numpy as np
from numpy.typing import NDArray

from worldmodel.data.random_play import random_actions
from worldmodel.types import StartScene
from worldmodel.worlds.neural import NeuralWorld

WARM_UP = 10  # frames


def time_frames(
    world: NeuralWorld, tokens: NDArray[np.int32], actions: NDArray[np.int32], frames: int
) -> dict[str, float | int]:
    """Milliseconds of a frame, from action to picture (tokens and image decoder), on random actions: p50, p95, and
    frames a second. tokens (n, places), actions (n - 1, 11): the opening."""
    if frames < 1:
        return {"frames": 0}
    world.open(StartScene(tokens, actions))
    spent = [sum(world.step(action).timings.values()) for action in islice(random_actions(0), WARM_UP + frames)]
    own = np.array(spent[WARM_UP:])
    p50, p95 = np.percentile(own, (50, 95)) * 1e3
    return {"frames": frames, "ms_p50": float(p50), "ms_p95": float(p95), "fps": float(1 / own.mean())}


def quartiles(values: NDArray[np.floating]) -> dict[str, float]:
    """Of ratios of neighbours, as tables show them."""
    return {f"p{part}": round(float(np.percentile(values, part)), 2) for part in (25, 50, 75)}
