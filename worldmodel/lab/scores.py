"""The laboratory's columns: pure functions of arrays. PSNR, SSIM and sharpness are in evaluation/picture.py, the hotbar
in data/hud.py, action following in evaluation/following.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from worldmodel.evaluation.metrics.codes import code_shares

GLYPH_SIZES = tuple(range(3, 11))  # pixels high
_ROWS = (
    "111 101 101 101 111", "010 110 010 010 111", "111 001 111 100 111", "111 001 111 001 111", "101 101 111 001 001",
    "111 100 111 001 111", "111 100 111 101 111", "111 001 010 010 010", "111 101 111 101 111", "111 101 111 001 111",
)  # fmt: skip
GLYPH_INK, GLYPH_PAPER = 240, 20  # grey levels
STILL = 2.0  # grey levels that a patch may change by, on the mean, and count as unchanged
AWAY_DEGREES, BACK_DEGREES = 40.0, 4.0


def glyph(digit: int, size: int) -> NDArray[np.uint8]:
    """A digit in a 3x5 type, `size` pixels high, with one pixel of paper around: uint8 (size + 2, w + 2)."""
    bits = np.array([[int(bit) for bit in row] for row in _ROWS[digit].split()], np.uint8)
    inked = Image.fromarray(bits * (GLYPH_INK - GLYPH_PAPER) + GLYPH_PAPER)
    width = max(3, round(size * 3 / 5))
    return np.pad(np.asarray(inked.resize((width, size), Image.Resampling.BOX)), 1, constant_values=GLYPH_PAPER)


def paste_glyphs(
    frames: NDArray[np.uint8], size: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """A digit somewhere in each frame (N, H, W, 3) -> the frames, the digits (N,), their places (N, 2): top, left."""
    pasted, digits = frames.copy(), rng.integers(10, size=len(frames))
    height, width = glyph(0, size).shape
    room = np.array([frames.shape[1] - height, frames.shape[2] - width])
    places = rng.integers(0, room + 1, (len(frames), 2))
    for frame, digit, (top, left) in zip(pasted, digits, places, strict=True):
        frame[top : top + height, left : left + width] = glyph(int(digit), size)[..., None]
    return pasted, digits, places


def read_glyphs(frames: NDArray[np.uint8], places: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """The digit of the best normalised correlation at each frame's place (TokBench, arXiv 2505.18142, with templates
    for a text recogniser). frames: (N, H, W, 3) -> (N,)."""
    templates = np.stack([glyph(digit, size) for digit in range(10)]).astype(np.float64)
    height, width = templates.shape[1:]
    cut = [f[top : top + height, left : left + width] for f, (top, left) in zip(frames, places, strict=True)]
    shown = np.stack(cut).astype(np.float64).mean(-1)

    def unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
        x = (x - x.mean((1, 2), keepdims=True)).reshape(len(x), -1)
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)

    return (unit(shown) @ unit(templates).T).argmax(1)


def flicker(codes: NDArray[np.integer], frames: NDArray[np.uint8], segments: NDArray[np.integer]) -> float:
    """Share of the places whose code changes from one frame to the next, of those whose picture hardly does.

    codes: (T, rows, columns) of the grid; frames: uint8 (T, H, W, 3); segments: (T,). NaN if everything changes."""
    T, rows, columns = codes.shape
    patches = frames.reshape(T, rows, frames.shape[1] // rows, columns, frames.shape[2] // columns, 3)
    changed = []
    still = []
    for at in range(1, T):  # frame by frame: the differences of a whole clip do not fit the memory
        if segments[at] == segments[at - 1]:
            difference = np.abs(patches[at].astype(np.int16) - patches[at - 1]).mean((1, 3, 4))
            still.append(difference <= STILL)
            changed.append(codes[at] != codes[at - 1])
    unmoved = np.concatenate(still) if still else np.zeros(0, bool)
    return float(np.concatenate(changed)[unmoved].mean()) if unmoved.any() else float("nan")


def zipf_slope(codes: NDArray[np.integer]) -> float:
    """Slope of log frequency over log rank, least squares over the codes that occur (Analyzing the Language of Visual
    Tokens, arXiv 2411.05001): -1 is Zipf's law, 0 is all alike. NaN for a single code."""
    share = code_shares(codes)
    if len(share) < 2:
        return float("nan")
    return float(np.polyfit(np.log(np.arange(1, len(share) + 1)), np.log(share), 1)[0])


def common_codes(codes: NDArray[np.integer]) -> NDArray[np.int64]:
    """The most frequent code at each place: (T, places) -> (places,)."""
    found = []
    for column in np.asarray(codes, np.int64).T:
        values, counts = np.unique(column, return_counts=True)
        found.append(values[counts.argmax()])
    return np.array(found)


def looks_away(camera: NDArray[np.floating], segments: NDArray[np.integer], longest: int) -> list[tuple[int, int]]:
    """Stretches (first, last) in which the view turns away from where it faces by more than AWAY_DEGREES and, by its
    yaw and pitch, comes back to within BACK_DEGREES, in at most `longest` steps; they do not overlap.

    camera: degrees (T, 2) of [pitch, yaw], frame t + 1 is what comes of camera[t]; segments: (T,)."""
    facing = np.concatenate([np.zeros((1, 2)), np.cumsum(np.asarray(camera, np.float64), 0)[:-1]])
    found, first = [], 0
    while first < len(facing) - 1:
        end = min(first + longest + 1, len(facing))
        inside = segments[first:end] == segments[first]
        off = np.abs(facing[first:end] - facing[first])
        away = np.flatnonzero(inside & (off[:, 1] > AWAY_DEGREES))
        back = np.flatnonzero(inside & (off < BACK_DEGREES).all(1))
        back = back[back > away[0]] if len(away) else back[:0]
        if len(back):
            found.append((first, first + int(back[0])))
            first += int(back[0])
        first += 1
    return found


def mean_or_nan(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
