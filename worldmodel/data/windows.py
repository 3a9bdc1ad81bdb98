"""Which windows of recorded play a training step is made of. It knows actions and segments; no frames and no tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from worldmodel.data.clips import ClipError
from worldmodel.tokenizers.action import ACT_BOS
from worldmodel.types import BUTTONS

WORLD_CHANGING = ("use", "attack")  # placing and digging


class Played(Protocol):
    """A clip's actions, int32 (T, 11) tokens, and segments, int32 (T,)."""

    @property
    def actions(self) -> NDArray[np.int32]: ...

    @property
    def segments(self) -> NDArray[np.int32]: ...


class Windows:
    """Draws windows of `length` consecutive steps inside one segment.

    balance: share of the windows drawn for a rare action: first one of the button tokens that occur at all, each as
    likely as any other, then a window in which it leads to a frame (class-balanced sampling: Kang et al. 2020,
    arXiv 1910.09217).
    changing: share of the windows drawn for an action that changes the world: as above, of WORLD_CHANGING alone.
    The other windows are drawn all alike.
    """

    def __init__(self, clips: Sequence[Played], length: int, balance: float = 0.0, changing: float = 0.0) -> None:
        if min(balance, changing) < 0 or balance + changing > 1:
            raise ValueError(f"balance and changing are shares of one whole, got {balance} and {changing}")
        self.clips, self.length = clips, length
        self.starts: list[tuple[int, int]] = []
        for index, clip in enumerate(clips):
            last = len(clip.segments) - length
            same = clip.segments[: last + 1] == clip.segments[length - 1 :] if last >= 0 else np.zeros(0, bool)
            self.starts += [(index, int(start)) for start in np.flatnonzero(same)]
        if not self.starts:
            longest = max((len(clip.segments) for clip in clips), default=0)
            raise ClipError(f"no clip is long enough: windows of {length} steps are needed, the longest has {longest}")
        uses = self._uses() if max(balance, changing) > 0 else {}
        # What play without such a button has no windows of is drawn from everything.
        drawn = [
            (changing, [uses[button] for button in WORLD_CHANGING if button in uses]),
            (balance, list(uses.values())),
        ]
        self.drawn = [(share, windows) for share, windows in drawn if windows]

    def _uses(self) -> dict[str, NDArray[np.int64]]:
        """For each button that occurs, the windows (indices of `starts`) that hold it before their last frame."""
        windows: dict[str, list[NDArray[np.int64]]] = {}
        places = np.asarray(self.starts)
        for index, clip in enumerate(self.clips):
            of_start = np.full(len(clip.segments), -1)  # first step -> index of `starts`
            own = np.flatnonzero(places[:, 0] == index)
            of_start[places[own, 1]] = own
            ids = clip.actions[:, 3:-1] - clip.actions[:, :1] + ACT_BOS  # of the button slots
            for button in np.unique(ids[ids < len(BUTTONS)]):
                steps = np.flatnonzero((ids == button).any(1))
                firsts = np.unique(steps[:, None] - np.arange(self.length - 1))
                found = of_start[firsts[firsts >= 0]]
                windows.setdefault(BUTTONS[button], []).append(found[found >= 0])
        return {button: found for button, parts in windows.items() if len(found := np.concatenate(parts))}

    def pick(self, batch: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """`batch` windows, as indices of `starts`."""
        picks = rng.integers(len(self.starts), size=batch)
        lot, below = rng.random(batch), 0.0
        for share, uses in self.drawn:
            for place in np.flatnonzero((lot >= below) & (lot < below + share)):
                use = uses[rng.integers(len(uses))]
                picks[place] = use[rng.integers(len(use))]
            below += share
        return picks
