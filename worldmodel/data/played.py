"""Recorded play of a neural world as training data: its image tokens, decoded to frames. It knows no session files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from worldmodel.data.clips import ClipError, ClipStep
from worldmodel.model.loading import load_tokenizer
from worldmodel.tokenizers.image import ImageTokenizer, to_frames
from worldmodel.types import Action, Tokens

BATCH = 32  # frames that are decoded, or encoded, at once
T = TypeVar("T")


def batches(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """Lists of `size` items, the last one of what is left."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


@torch.inference_mode()
def decode_tokens(tokenizer: ImageTokenizer, tokens: NDArray[np.integer]) -> NDArray[np.uint8]:
    """(N, places) -> frames uint8 (N, H, W, 3). ClipError if they do not fit the tokenizer."""
    config = tokenizer.config
    if tokens.shape[1] != config.tokens_per_frame or tokens.max() >= config.codebook_size:
        raise ClipError(
            f"frames of {tokens.shape[1]} tokens up to {tokens.max()} do not fit an image tokenizer of "
            f"{config.tokens_per_frame} tokens a frame and {config.codebook_size} codes"
        )
    device = next(tokenizer.parameters()).device
    return to_frames(tokenizer.decode(torch.from_numpy(tokens.astype(np.int64)).to(device))).cpu().numpy()


def decode_steps(
    steps: Iterable[tuple[Tokens, Action, int]], folder: Path, known: str, size: tuple[int, int] | None = None
) -> Iterator[ClipStep]:
    """(tokens (places,) of the frame, action done on it, segment) -> the same with pixels, by `folder`'s tokenizer.

    known: the hash of the tokenizer that made the tokens ("": not known); size: (height, width) that is needed.
    CheckpointError if it is another tokenizer; ClipError if the tokens do not fit it, or if its frames are of another
    size.
    """
    tokenizer = load_tokenizer(folder, known)
    have = (tokenizer.config.height, tokenizer.config.width)
    if size is not None and size != have:
        raise ClipError(
            f"the session's frames are {have[1]}x{have[0]} px ({folder}), not the {size[1]}x{size[0]} asked for"
        )
    for batch in batches(steps):
        frames = decode_tokens(tokenizer, np.stack([tokens for tokens, _, _ in batch]))
        for frame, (_, action, segment) in zip(frames, batch, strict=True):
            yield ClipStep(frame, action, segment)
