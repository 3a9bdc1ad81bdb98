"""Picture files: a user's start picture in, the model's frames out."""

from __future__ import annotations

import warnings
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from worldmodel.types import Frame, WorldModelError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = {"PNG": 8, "JPEG": 5, "WEBP": 16, "GIF": 5, "BMP": 5}
"""The formats that are read -> bytes of memory that each pixel takes meanwhile. Some others start programs
(EPS), or are read by code that few have tried."""
PROGRESSIVE = 6  # bytes a pixel more: a JPEG in passes is held whole, even to be reduced
MOST_BYTES = 64 << 20  # of memory for each MiB of the file: a few kB can unfold to gigabytes


def load_picture(path: Path, frame_shape: tuple[int, int]) -> Frame:
    """An image file, cropped around its centre to the frame's aspect and resized -> uint8 (height, width, 3).

    frame_shape: height, width in pixels. WorldModelError if the file is no readable picture, or is one that takes more
    memory than a picture of its size in bytes should.
    """
    from PIL import Image, ImageOps  # only needed by those who bring a picture

    if not path.is_file():
        raise WorldModelError(f"there is no picture {path} (a start is a scene's number or an image file)")
    height, width = frame_shape
    try:
        with warnings.catch_warnings(action="ignore"):  # of its own limits: ours are lower
            image = Image.open(path, formats=tuple(FORMATS))
        with image:
            _reduce_and_weigh(image, path, 2 * max(width, height))
            factor = min(image.width // width, image.height // height) // 2
            if factor > 1 and image.mode in ("RGB", "RGBA", "L", "LA", "CMYK"):
                image = image.reduce(factor)
            upright = ImageOps.exif_transpose(image).convert("RGB")
            fitted = ImageOps.fit(upright, (width, height), Image.Resampling.LANCZOS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise WorldModelError(f"{path} is not a readable picture ({error})") from None
    return np.array(fitted, np.uint8)


def _reduce_and_weigh(image: Image, path: Path, side: int) -> None:
    """Has a JPEG reduced while it is read, to `side` pixels or more. WorldModelError if an image takes too much."""
    wide, high = image.size
    image.draft("RGB", (side, side))
    needed = image.width * image.height * FORMATS[image.format or "PNG"]
    if image.info.get("progressive"):
        needed += wide * high * PROGRESSIVE
    size = path.stat().st_size
    if needed > MOST_BYTES * max(1.0, size / 2**20):
        raise WorldModelError(
            f"{path}: its {wide}x{high} pixels would take {needed >> 20} MiB of memory, too much for a file of "
            f"{size >> 10} KiB: make the picture smaller"
        )


def save_picture(frame: Frame, folder: Path, now: datetime) -> Path:
    """Writes the model's frame as PNG and returns the file. WorldModelError if the folder cannot be written."""
    from PIL import Image

    stem = now.strftime("picture-%Y-%m-%d-%H%M%S")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path, copy = folder / f"{stem}.png", 1
        while path.exists():  # a second picture within the same second
            copy += 1
            path = folder / f"{stem}-{copy}.png"
        Image.fromarray(frame).save(path)
    except OSError as error:
        raise WorldModelError(f"cannot save a picture in {folder}: {error}") from None
    return path
