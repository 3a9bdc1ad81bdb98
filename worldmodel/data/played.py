"""Recorded play of a neural world as training data: its image tokens, decoded to frames. It knows no session files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from worldmodel.checkpoint import tokenizer_hash
from worldmodel.data.clips import ClipError, ClipStep
from worldmodel.model.loading import load_tokenizer
from worldmodel.tokenizers.image import to_frames
from worldmodel.types import Action, Tokens

BATCH = 32  # frames that are decoded, or encoded, at once
T = TypeVar("T")


def batches(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """Lists of `size` items, the last one of what is left."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


@torch.inference_mode()
def decode_steps(
    steps: Iterable[tuple[Tokens, Action, int]], folder: Path, known: str, height: int, width: int
) -> Iterator[ClipStep]:
    """(tokens (places,) of the frame, action done on it, segment) -> the same with pixels, by `folder`'s tokenizer.

    known: the hash of the tokenizer that made the tokens ("": not known). ClipError if it is another one, if the tokens
    do not fit it, or if its frames are not of (height, width).
    """
    tokenizer = load_tokenizer(folder)
    config = tokenizer.config
    if known and known != tokenizer_hash(tokenizer):
        raise ClipError(f"the session was recorded with another image tokenizer ({known[:12]}) than that of {folder}")
    if (config.height, config.width) != (height, width):
        raise ClipError(
            f"the session's frames are {config.width}x{config.height} px ({folder}), not the {width}x{height} asked for"
        )
    for batch in batches(steps):
        codes = np.stack([tokens for tokens, _, _ in batch])
        if codes.shape[1] != config.tokens_per_frame or codes.max() >= config.codebook_size:
            raise ClipError(f"the session's tokens do not fit the image tokenizer of {folder}")
        frames = to_frames(tokenizer.decode(torch.from_numpy(codes.astype(np.int64)))).numpy()
        for frame, (_, action, segment) in zip(frames, batch, strict=True):
            yield ClipStep(frame, action, segment)
