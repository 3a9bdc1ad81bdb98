"""Writes frames as an animated GIF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from worldmodel.types import Frame

PALETTE_FRAMES, COLOURS = 16, 128


def write_gif(path: Path, frames: Sequence[Frame], rate: float, scale: int = 2) -> None:
    """frames: uint8 (H, W, 3) each; rate: a second; scale: integer upscaling. Written to `.tmp` and renamed."""
    # One palette for all frames: an own one each would flicker.
    some = frames[:: max(1, len(frames) // PALETTE_FRAMES)]
    palette = Image.fromarray(np.concatenate(some)).quantize(COLOURS)
    height, width = frames[0].shape[:2]
    size = (width * scale, height * scale)
    enlarged = (Image.fromarray(frame).resize(size, Image.Resampling.NEAREST) for frame in frames)
    small = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in enlarged]
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        small[0].save(temporary, "GIF", save_all=True, append_images=small[1:], duration=round(1000 / rate), loop=0)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # of a disk that was full
