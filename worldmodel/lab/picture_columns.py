"""What a tokenizer's pictures and codes are measured by."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from worldmodel.data.frames import StoredClip
from worldmodel.data.hud import items_told, read_slot
from worldmodel.evaluation.following.scores import add_up, score
from worldmodel.evaluation.metrics.codes import perplexity
from worldmodel.evaluation.metrics.picture import psnr, sharpness, ssim
from worldmodel.lab import scores
from worldmodel.lab.autoencoder import MOVE, LabTokenizer
from worldmodel.lab.budget import HUD
from worldmodel.lab.clips import CHUNK, decode_clip, encode_clip
from worldmodel.lab.heads import Prior
from worldmodel.lab.table import DRAWN_SHARES, KEPT_SHARES
from worldmodel.lab.train import moves_of
from worldmodel.readers.idm import InverseDynamicsModel
from worldmodel.training.idm import count_read, played

SCORED_EVERY = 4  # of the held-out frames, for the columns that need no neighbours
GLYPH_FRAMES = 40  # a size
SMALL_GLYPHS = 5  # pixels high, at most
TIMED = 20  # decodings of one frame
Columns = dict[str, float | None]


@torch.inference_mode()
def score_pictures(
    tokenizer: LabTokenizer,
    prior: Prior,
    clips: Sequence[StoredClip],
    codes: Sequence[NDArray[np.int32]],
    common: NDArray[np.int64],
    reader: InverseDynamicsModel | None,
) -> Columns:
    """The tokenizer's columns. common: the most frequent code of each place, for tokens that are missing."""
    found: dict[str, list[NDArray[Any]]] = defaultdict(list)
    counts, nats = [], []
    generator = torch.Generator().manual_seed(0)
    tokens = tokenizer.parts.tokens

    def add(name: str, values: NDArray[Any]) -> None:
        found[name].append(np.asarray(values, np.float64))

    for clip, own in zip(tqdm(clips, desc="scoring", unit="clip"), codes, strict=True):
        moves, real = moves_of(clip), np.array(clip.frames[::SCORED_EVERY])
        shown = partial(decode_clip, tokenizer, moves=moves, segments=clip.segments, every=SCORED_EVERY)
        made = shown(own)
        add("psnr", psnr(made, real))
        add("ssim", ssim(made, real))
        add("slots_read", read_slot(made, HUD) == read_slot(real, HUD))
        add("items_read", items_told(made, real, HUD))
        add("sharp_made", sharpness(made))
        add("sharp_real", sharpness(real))
        if reader is not None:
            counts.append(count_read(reader, played(clip, shown(own, every=1))))
        drawn = []
        for start in range(0, len(own), CHUNK):
            given = torch.from_numpy(own[start : start + CHUNK].astype(np.int64))
            vectors = tokenizer.quantizer.decode(given)
            drawn.append(prior.draw(vectors).numpy())
            nats.append(prior.loss(vectors, given).sum(1).numpy())
        other = np.concatenate(drawn)
        for share in DRAWN_SHARES:
            wrong = torch.rand(own.shape, generator=generator).numpy() < share
            add(f"psnr_drawn_{share:.0%}", psnr(shown(np.where(wrong, other, own)), real))
        for share in KEPT_SHARES:
            n = max(1, round(share * tokens))
            if tokenizer.absent is not None:
                cut = shown(own, kept=n)
            else:
                cut = shown(np.concatenate([own[:, :n], np.broadcast_to(common[n:], (len(own), tokens - n))], 1))
            add(f"psnr_kept_{share:.0%}", psnr(cut, real))
    columns: Columns = {name: float(np.concatenate(parts).mean()) for name, parts in found.items()}
    columns["sharpness_kept"] = (columns.pop("sharp_made") or 0.0) / max(columns.pop("sharp_real") or 0.0, 1e-9)
    columns["bits_prior"] = float(np.concatenate(nats).mean() / math.log(2))
    columns["f1_reconstructed"] = score(add_up(counts)).f1 if counts else None
    return columns


@torch.inference_mode()
def score_glyphs(tokenizer: LabTokenizer, frames: NDArray[np.uint8]) -> Columns:
    """Shares of pasted digits that are read, by size. frames: (N, H, W, 3)."""
    columns: Columns = {}
    for size in scores.GLYPH_SIZES:
        pasted, digits, places = scores.paste_glyphs(frames, size, np.random.default_rng(size))
        codes = encode_clip(tokenizer, pasted)
        cuts = np.arange(len(codes))  # no frame follows another
        made = decode_clip(tokenizer, codes, np.zeros((len(codes), MOVE), np.float32), cuts)
        columns[f"glyphs_{size}"] = float((scores.read_glyphs(made, places, size) == digits).mean())
    by_size = np.array(list(columns.values()), np.float64)
    small = np.array(scores.GLYPH_SIZES) <= SMALL_GLYPHS
    return {**columns, "glyphs_small": float(by_size[small].mean()), "glyphs_large": float(by_size[~small].mean())}


def score_codes(tokenizer: LabTokenizer, clips: Sequence[StoredClip], codes: Sequence[NDArray[np.int32]]) -> Columns:
    """Flicker of the grid's codes, Zipf slope, perplexity, and bits a frame as they are stored."""
    every = np.concatenate([part.ravel() for part in codes])
    rows, columns = tokenizer.grid
    grid = rows * columns
    flickers = [
        scores.flicker(own[:, -grid:].reshape(-1, rows, columns), clip.frames, clip.segments)
        for clip, own in zip(clips, codes, strict=True)
        if tokenizer.parts.grid
    ]
    return {
        "flicker": scores.mean_or_nan([value for value in flickers if value == value]),
        "zipf_slope": scores.zipf_slope(every),
        "perplexity": perplexity(every),
        "bits": tokenizer.parts.tokens * math.log2(tokenizer.quantizer.codebook_size),
    }


@torch.inference_mode()
def decoder_ms(tokenizer: LabTokenizer, codes: NDArray[np.int32]) -> float:
    """Median milliseconds of one frame's decoding, eagerly."""
    given, times = torch.from_numpy(codes[:1].astype(np.int64)), []
    for _ in range(TIMED):
        started = time.perf_counter()
        tokenizer.decode(given)
        times.append(time.perf_counter() - started)
    return float(np.median(times) * 1000)


# --- world ---
