"""Recorded clips for the laboratory: frames, and codes of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from worldmodel.data.frames import StoredClip, build_frame_store, open_frame_store
from worldmodel.data.tokens import save_array
from worldmodel.lab.autoencoder import Condition, LabTokenizer
from worldmodel.lab.budget import Budget
from worldmodel.tokenizers.image import to_frames, to_pixels

Integers = NDArray[np.integer]
CHUNK = 32  # frames that a tokenizer takes at once


@dataclass(frozen=True, slots=True)
class Data:
    """Clips to train on and clips to score on; key: names them."""

    train: list[StoredClip]
    val: list[StoredClip]
    key: str


def open_data(train: Sequence[Path], val: Path, cache: Path, size: tuple[int, int], budget: Budget) -> Data:
    """Decodes a part of the clips, spread evenly over them, into `cache`; of those to score on, the first steps."""

    def opened(split: str, folders: Sequence[Path], most: int, n: int) -> list[StoredClip]:
        clips = open_frame_store(cache / split, build_frame_store(folders, cache / split, *size, most=most))
        return [StoredClip(c.name, c.frames[:n], c.buttons[:n], c.camera[:n], c.segments[:n]) for c in clips]

    clips = opened("train", train, budget.train_clips, budget.train_steps)
    held_out = opened("val", [val], budget.val_clips, budget.val_steps)
    return Data(clips, held_out, digest([[(c.name, len(c.frames)) for c in part] for part in (clips, held_out)]))


def digest(*values: Any) -> str:
    """A short name of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:12]


def condition_of(codes: Integers, moves: NDArray[np.float32], segments: Integers, at: Integers) -> Condition:
    """The condition of frames `at` of a clip: their predecessors' codes, unless a frame begins a segment."""
    before = np.maximum(at - 1, 0)
    known = (at > 0) & (segments[at] == segments[before])
    return Condition(*(torch.from_numpy(value) for value in (codes[before].astype(np.int64), moves[before], known)))


@torch.inference_mode()
def encode_clip(tokenizer: LabTokenizer, frames: NDArray[np.uint8]) -> NDArray[np.int32]:
    """uint8 (T, H, W, 3) -> codes (T, tokens)."""
    parts = [
        tokenizer.encode(to_pixels(torch.from_numpy(np.array(frames[at : at + CHUNK]))))
        for at in range(0, len(frames), CHUNK)
    ]
    return torch.cat(parts).numpy().astype(np.int32)


@torch.inference_mode()
def decode_clip(
    tokenizer: LabTokenizer,
    codes: Integers,
    moves: NDArray[np.float32],
    segments: Integers,
    every: int = 1,
    kept: int | None = None,
) -> NDArray[np.uint8]:
    """codes (T, tokens) of consecutive frames -> one in `every` of the frames, uint8 (N, H, W, 3)."""
    found, wanted = [], np.arange(0, len(codes), every)
    for start in range(0, len(wanted), CHUNK):
        at = wanted[start : start + CHUNK]
        own = torch.from_numpy(codes[at].astype(np.int64))
        found.append(to_frames(tokenizer.decode(own, condition_of(codes, moves, segments, at), kept)).numpy())
    return np.concatenate(found)


def clip_codes(
    tokenizer: LabTokenizer, clips: Sequence[StoredClip], folder: Path, desc: str
) -> list[NDArray[np.int32]]:
    folder.mkdir(parents=True, exist_ok=True)
    for clip in tqdm(clips, desc=desc, unit="clip"):
        if not (folder / f"{clip.name}.npy").is_file():
            save_array(folder / f"{clip.name}.npy", encode_clip(tokenizer, clip.frames))
    return [np.load(folder / f"{clip.name}.npy", allow_pickle=False) for clip in clips]
