"""Thumbnail strips of recordings: a few of their pictures side by side, in a PNG beside the file, made once."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recordings.reader import Session
from worldmodel.types import Frame, WorldModelError

if TYPE_CHECKING:
    from worldmodel.tokenizers.image import ImageTokenizer

PICTURES = 8  # of a strip, evenly spread over the session


def strip_path(session: Path) -> Path:
    """`walk.wms` -> `walk.wms.png`."""
    return session.with_name(f"{session.name}.png")


def make_strip(path: Path, session: Session) -> Path:
    """The strip's file; made anew if it is older than the session. WorldModelError if it cannot be made."""
    strip = strip_path(path)
    if strip.is_file() and strip.stat().st_mtime >= path.stat().st_mtime:
        return strip
    from PIL import Image

    from worldmodel.worlds.neural import find_recorded

    header = session.header
    picture = _pictures(session, _tokenizer(find_recorded(header.checkpoint, header.world), header.tokenizer))
    temporary = strip.with_name(f".{strip.name}.tmp")
    try:
        Image.fromarray(picture).save(temporary, "PNG")
        temporary.replace(strip)
    except OSError as error:
        raise WorldModelError(f"{strip} cannot be written: {error.strerror}") from None
    return strip


@lru_cache(maxsize=2)
def _tokenizer(folder: Path, known: str) -> ImageTokenizer:
    """Most recordings of a folder are of one world: it is loaded once."""
    from worldmodel.model.loading import load_tokenizer

    return load_tokenizer(folder, known)


def _pictures(session: Session, tokenizer: ImageTokenizer) -> Frame:
    """uint8 (H, n * W, 3)."""
    from worldmodel.data.played import decode_tokens

    places = np.unique(np.linspace(0, len(session.steps) - 1, PICTURES).round().astype(int))
    tokens = [session.steps[place].tokens for place in places]
    known = [row for row in tokens if row is not None]
    if not known:
        raise WorldModelError("the session holds no tokens")
    return np.concatenate(list(decode_tokens(tokenizer, np.stack(known))), 1)
