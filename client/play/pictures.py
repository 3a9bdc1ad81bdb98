"""Picture files: a user's start picture in, the model's frames out."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np

from worldmodel.types import Frame, WorldModelError


def load_picture(path: Path, frame_shape: tuple[int, int]) -> Frame:
    """An image file, cropped around its centre to the frame's aspect and resized -> uint8 (height, width, 3).

    frame_shape: height, width in pixels. WorldModelError if the file is no readable picture.
    """
    from PIL import Image, ImageOps  # only needed by those who bring a picture

    if not path.is_file():
        raise WorldModelError(f"there is no picture {path} (a start is a scene's number or an image file)")
    height, width = frame_shape
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
            fitted = ImageOps.fit(upright, (width, height), Image.Resampling.LANCZOS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise WorldModelError(f"{path} is not a readable picture ({error})") from None
    return np.array(fitted, np.uint8)


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
