"""Rollouts on recorded actions: the model continues a real clip, and is compared with what really happened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from kernels.sampling import Sampler
from worldmodel.engine.decoder import Decoder
from worldmodel.tokenizers.image import ImageTokenizer, to_frames


@dataclass(frozen=True, slots=True)
class Rollout:
    """real: uint8 (frames, H, W, 3); made: what the model made of the same actions; last: the last context
    frame, i.e. the "repeat the last frame" baseline."""

    real: NDArray[np.uint8]
    made: NDArray[np.uint8]
    last: NDArray[np.uint8]


@torch.no_grad()
def roll_out(
    decoder: Decoder,
    tokenizer: ImageTokenizer,
    frames: NDArray[np.uint8],
    tokens: NDArray[np.integer],
    actions: NDArray[np.integer],
    context: int,
    sampler: Sampler,
    seed: int,
) -> Rollout:
    """frames: real uint8 (context + n, H, W, 3); tokens (context + n, places); actions (context + n, 11).
    The first `context` frames are given; n frames are generated on actions[context - 1 :]."""
    decoder.open([t.astype(np.int32) for t in tokens[:context]], list(actions[: context - 1]))
    made = [decoder.decode(actions[i - 1], sampler, seed, i)[0] for i in range(context, len(tokens))]
    codes = torch.from_numpy(np.stack(made)).long().to(next(tokenizer.parameters()).device)
    pictures = to_frames(tokenizer.decode(codes)).cpu().numpy()
    return Rollout(np.ascontiguousarray(frames[context:]), pictures, np.ascontiguousarray(frames[context - 1]))


def rollout_picture(rollouts: list[Rollout], path: Path, every: int = 3) -> None:
    """Strips: the real clip above the rollout, one pair a clip."""
    rows = []
    for rollout in rollouts:
        for strip in (rollout.real, rollout.made):
            rows.append(np.concatenate([rollout.last, *strip[every - 1 :: every]], 1))
    Image.fromarray(np.concatenate(rows, 0)).save(path)
