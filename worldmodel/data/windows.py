"""Which windows of recorded play a training step is made of. It knows actions and segments; no frames and no tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from worldmodel.data.clips import ClipError
from worldmodel.tokenizers.action import ACT_BOS
from worldmodel.types import BUTTONS


class Played(Protocol):
    """A clip's actions, int32 (T, 11) tokens, and segments, int32 (T,)."""

    @property
    def actions(self) -> NDArray[np.int32]: ...

    @property
    def segments(self) -> NDArray[np.int32]: ...


def held(actions: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Action tokens (..., 11), of any base -> bool (..., buttons) in the order of BUTTONS."""
    ids = actions[..., 3:-1] - actions[..., :1] + ACT_BOS
    return (ids[..., None] == np.arange(len(BUTTONS))).any(-2)


class Windows:
    """Draws windows of `length` consecutive steps inside one segment.

    balance: share of the windows drawn for a rare action: first one of the button tokens that occur at all, each as
    likely as any other, then a window in which it leads to a frame (class-balanced sampling: Kang et al. 2020,
    arXiv 1910.09217). The other windows are drawn all alike.
    """

    def __init__(self, clips: Sequence[Played], length: int, balance: float = 0.0) -> None:
        if not 0 <= balance <= 1:
            raise ValueError(f"balance is a share, got {balance}")
        self.clips, self.length = clips, length
        self.starts: list[tuple[int, int]] = []
        for index, clip in enumerate(clips):
            last = len(clip.segments) - length
            same = clip.segments[: last + 1] == clip.segments[length - 1 :] if last >= 0 else np.zeros(0, bool)
            self.starts += [(index, int(start)) for start in np.flatnonzero(same)]
        if not self.starts:
            longest = max((len(clip.segments) for clip in clips), default=0)
            raise ClipError(f"no clip is long enough: windows of {length} steps are needed, the longest has {longest}")
        self.balance = balance
        self.uses = self._showing() if balance > 0 else []

    def _showing(self) -> list[NDArray[np.int64]]:
        """For each button that occurs, the windows (indices of `starts`) in which it leads to a frame."""
        windows: dict[int, list[NDArray[np.int64]]] = {}
        places = np.asarray(self.starts)
        for index, clip in enumerate(self.clips):
            of_start = np.full(len(clip.segments), -1)  # first step -> index of `starts`
            own = np.flatnonzero(places[:, 0] == index)
            of_start[places[own, 1]] = own
            shown = held(clip.actions)
            for button in np.flatnonzero(shown.any(0)):
                firsts = np.unique(np.flatnonzero(shown[:, button])[:, None] - np.arange(self.length - 1))
                found = of_start[firsts[firsts >= 0]]
                windows.setdefault(int(button), []).append(found[found >= 0])
        return [found for parts in windows.values() if len(found := np.concatenate(parts))]

    def pick(self, batch: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """`batch` windows, as indices of `starts`."""
        picks = rng.integers(len(self.starts), size=batch)
        if self.uses:  # play without any button is drawn all alike
            for place in np.flatnonzero(rng.random(batch) < self.balance):
                use = self.uses[rng.integers(len(self.uses))]
                picks[place] = use[rng.integers(len(use))]
        return picks
