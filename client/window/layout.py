"""Where things lie in the window: nothing covers the game's own bars, the timeline or another thing.

Rectangles in window pixels; `Screen` paints them. A thing that finds no place is not shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pygame import Rect

from worldmodel.data.hud import HUDS

# Games have their bars at the picture's lower edge: above this share of its height nothing of a known one lies.
BARS_TOP = min(hud["hotbar"].top for hud in HUDS.values() if "hotbar" in hud)


def fit(frame: tuple[int, int], window: tuple[int, int], integer: bool) -> tuple[int, int]:
    """Frame and window (width, height) -> the largest size of the frame's aspect inside the window.

    integer: whole multiples only, once the window is large enough for one.
    """
    scale = min(window[0] / frame[0], window[1] / frame[1])
    if integer and scale >= 1:
        scale = math.floor(scale)
    return max(1, round(frame[0] * scale)), max(1, round(frame[1] * scale))


def bars_of(picture: Rect) -> Rect:
    """The part of a picture that is the game's own: its hotbar, all of the picture's width."""
    top = picture.top + math.floor(BARS_TOP * picture.height)
    return Rect(picture.left, top, picture.width, picture.bottom - top)


def settle(rect: Rect, taken: Sequence[Rect], window: Rect, gap: int, up: bool = True) -> Rect | None:
    """The rectangle, moved up (or down) past all that is taken, with a gap between; None where it leaves the window."""
    rect = rect.copy()
    while (hit := next((other for other in taken if rect.colliderect(other)), None)) is not None:
        if up:
            rect.bottom = hit.top - gap
        else:
            rect.top = hit.bottom + gap
    return rect if window.contains(rect) else None
