"""A game's picture in the shape that is asked for."""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import Interpolation

from worldmodel.types import Frame


def fit(frame: Frame, height: int, width: int) -> Frame:
    """(H, W, 3) -> (height, width, 3): cut around the centre to that shape, then scaled by area averaging."""
    H, W = frame.shape[:2]
    if (height, width) == (H, W):
        return np.ascontiguousarray(frame)
    wide, high = min(W, round(H * width / height)), min(H, round(W * height / width))
    top, left = (H - high) // 2, (W - wide) // 2
    cut = np.ascontiguousarray(frame[top : top + high, left : left + wide], np.uint8)
    picture = av.VideoFrame.from_ndarray(cut, format="rgb24")
    scaled = picture.reformat(width, height, "rgb24", interpolation=Interpolation.AREA).to_ndarray()
    return np.ascontiguousarray(scaled, dtype=np.uint8)
