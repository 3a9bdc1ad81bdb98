"""Which windows of recorded play a training step is made of. It knows actions and segments; no frames and no tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from worldmodel.data.clips import ClipError
from worldmodel.tokenizers.action import ACT_BOS
from worldmodel.types import BUTTONS

# Buttons whose going down starts something in the picture, and how often each is drawn: placing and digging are the
# rarest and the hardest to learn, and the changes of pace were followed worst of all (benchmarks/).
STARTING = {"use": 9, "attack": 7, "forward": 2, "back": 1, "left": 1, "right": 1, "jump": 1, "sprint": 2, "sneak": 2}


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


def pressed(actions: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Action tokens (..., T, 11) -> bool (..., T, buttons): goes down in this step. The first step tells nothing."""
    down = held(actions)
    down[..., 1:, :] &= ~down[..., :-1, :]
    down[..., 0, :] = False
    return down


class Windows:
    """Draws windows of `length` consecutive steps inside one segment.

    balance: share of the windows drawn for a rare action: first one of the button tokens that occur at all, each as
    likely as any other, then a window in which it leads to a frame (class-balanced sampling: Kang et al. 2020,
    arXiv 1910.09217).
    starting: share of the windows drawn for a press: first one of STARTING, then a window in which it goes down.
    The other windows are drawn all alike.
    """

    def __init__(self, clips: Sequence[Played], length: int, balance: float = 0.0, starting: float = 0.0) -> None:
        if min(balance, starting) < 0 or balance + starting > 1:
            raise ValueError(f"balance and starting are shares of one whole, got {balance} and {starting}")
        self.clips, self.length = clips, length
        self.starts: list[tuple[int, int]] = []
        for index, clip in enumerate(clips):
            last = len(clip.segments) - length
            same = clip.segments[: last + 1] == clip.segments[length - 1 :] if last >= 0 else np.zeros(0, bool)
            self.starts += [(index, int(start)) for start in np.flatnonzero(same)]
        if not self.starts:
            longest = max((len(clip.segments) for clip in clips), default=0)
            raise ClipError(f"no clip is long enough: windows of {length} steps are needed, the longest has {longest}")
        # Play without such a button has no windows of it: they are drawn from everything.
        uses = list(self._showing(held).values()) if balance > 0 else []
        presses = self._showing(pressed) if starting > 0 else {}
        often = [presses[button] for button, times in STARTING.items() if button in presses for _ in range(times)]
        self.drawn = [(share, windows) for share, windows in ((starting, often), (balance, uses)) if windows]

    def _showing(self, steps_of: Callable[[NDArray[np.int32]], NDArray[np.bool_]]) -> dict[str, NDArray[np.int64]]:
        """For each button, the windows (indices of `starts`) with one of its steps before their last frame.

        steps_of: actions (T, 11) -> bool (T, buttons)."""
        windows: dict[str, list[NDArray[np.int64]]] = {}
        places = np.asarray(self.starts)
        for index, clip in enumerate(self.clips):
            of_start = np.full(len(clip.segments), -1)  # first step -> index of `starts`
            own = np.flatnonzero(places[:, 0] == index)
            of_start[places[own, 1]] = own
            shown = steps_of(clip.actions)
            for button in np.flatnonzero(shown.any(0)):
                firsts = np.unique(np.flatnonzero(shown[:, button])[:, None] - np.arange(self.length - 1))
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
