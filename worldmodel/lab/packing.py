"""Between a tokenizer's tokens and a world model's: fused places, state tokens before the picture's, thinned codes.

It knows clips and codes, no model. `pack` and `unpack` are each other's inverse, but for the state tokens, which only a
world model reads and predicts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldmodel.data.frames import StoredClip
from worldmodel.data.hud import read_slot
from worldmodel.lab.codes import Codes, join, split

LEVELS = 16  # of a state token
OUTLINE = (2, 6)  # cells that an outline tells the light of


def _levels(values: NDArray[np.floating], low: float, high: float) -> NDArray[np.int64]:
    return np.clip((np.asarray(values) - low) / (high - low) * LEVELS, 0, LEVELS - 1).astype(np.int64)


def _pitch(clip: StoredClip) -> NDArray[np.int64]:
    """Where the view has turned up or down to since a recording's segment began: the pitch itself is not recorded."""
    found, facing = np.zeros(len(clip.frames)), 0.0
    for at in range(1, len(found)):
        begins = clip.segments[at] != clip.segments[at - 1]
        facing = 0.0 if begins else float(np.clip(facing + clip.camera[at - 1, 0], -90, 90))
        found[at] = facing
    return _levels(found, -90, 90)[:, None]


def _light(clip: StoredClip) -> NDArray[np.int64]:
    return _levels(np.array([frame.mean() for frame in clip.frames]), 0, 256)[:, None]


def _slot(clip: StoredClip) -> NDArray[np.int64]:
    return np.concatenate([read_slot(clip.frames[at : at + 64]) for at in range(0, len(clip.frames), 64)])[:, None]


def _outline(clip: StoredClip) -> NDArray[np.int64]:
    rows, columns = OUTLINE
    cells = [
        [cell.mean() for band in np.array_split(frame, rows) for cell in np.array_split(band, columns, 1)]
        for frame in clip.frames
    ]
    return _levels(np.array(cells), 0, 256)


STATES: dict[str, Callable[[StoredClip], NDArray[np.int64]]] = {
    "pitch": _pitch,
    "light": _light,
    "slot": _slot,
    "outline": _outline,
}
SIZES = {"outline": math.prod(OUTLINE)}  # tokens of a state, where it is not one


@dataclass(frozen=True, slots=True)
class Packing:
    """fuse: tokens beside each other that are one place; states: names of STATES, whose tokens come first in a frame
    and share the first codes of its vocabulary; still: a place keeps its code while its picture changes by no more than
    so many grey levels on the mean. ValueError for an unknown state, or for both fused places and states."""

    fuse: int = 1
    states: tuple[str, ...] = ()
    still: float = 0.0

    def __post_init__(self) -> None:
        if unknown := set(self.states) - set(STATES):
            raise ValueError(f"states are {[*STATES]}, got {sorted(unknown)}")
        if self.fuse < 1 or (self.fuse > 1 and self.states):
            raise ValueError("a place holds one token or more, and fused places have no states beside them")

    @property
    def extra(self) -> int:
        return sum(SIZES.get(name, 1) for name in self.states)

    def table(self, table: tuple[int, int]) -> tuple[int, int]:
        rows, columns = table
        if columns % self.fuse:
            raise ValueError(f"rows of {columns} tokens cannot be fused by {self.fuse}")
        return rows, columns // self.fuse

    def radices(self, radices: Sequence[int]) -> tuple[int, ...]:
        return tuple(radices) * self.fuse

    def thinned(self, codes: NDArray[np.integer], clip: StoredClip, grid: tuple[int, int]) -> NDArray[np.int32]:
        """codes (T, tokens), of which the last are the grid's."""
        codes = np.array(codes, np.int32)
        if self.still <= 0:
            return codes
        rows, columns = grid
        own, anchor = codes[:, -rows * columns :].reshape(-1, rows, columns), np.array(clip.frames[0], np.int16)
        for at in range(1, len(own)):
            frame = clip.frames[at].astype(np.int16)
            H, W, _ = frame.shape
            changed = np.abs(frame - anchor).reshape(rows, H // rows, columns, W // columns, 3).mean((1, 3, 4))
            kept = (changed <= self.still) & (clip.segments[at] == clip.segments[at - 1])
            own[at][kept] = own[at - 1][kept]
            anchor = np.where(kept.repeat(H // rows, 0).repeat(W // columns, 1)[..., None], anchor, frame)
        return codes

    def pack(self, codes: NDArray[np.integer], clip: StoredClip, size: int) -> NDArray[np.int32]:
        """codes (T, tokens) of `size` values each -> a world model's tokens (T, places)."""
        places = 0
        for number in range(self.fuse):
            places = places + np.asarray(codes, np.int64)[:, number :: self.fuse] * size**number
        states = [STATES[name](clip) for name in self.states]
        return np.concatenate([*states, places], 1).astype(np.int32)

    def unpack(self, tokens: NDArray[np.integer], size: int) -> NDArray[np.int32]:
        """(T, places) -> codes (T, tokens)."""
        places = np.asarray(tokens, np.int64)[:, self.extra :]
        parts = [places // size**number % size for number in range(self.fuse)]
        return np.stack(parts, -1).reshape(len(places), -1).astype(np.int32)


class Packed:
    """What training makes wrong tokens with: a near code in one of a place's tokens; a state stays as it is."""

    def __init__(self, quantizer: Codes, packing: Packing) -> None:
        self.quantizer, self.packing = quantizer, packing

    def neighbours(self, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(..., places) -> same."""
        fuse, size, extra = self.packing.fuse, self.quantizer.codebook_size, self.packing.extra
        if fuse == 1:
            near = self.quantizer.neighbours(indices[..., extra:] % size, generator)
            return torch.cat([indices[..., :extra], near], -1)
        codes = split(indices, (size,) * fuse)
        which = torch.randint(fuse, indices.shape, generator=generator)
        near = self.quantizer.neighbours(codes, generator)
        return join(torch.where(torch.arange(fuse) == which[..., None], near, codes), (size,) * fuse)
