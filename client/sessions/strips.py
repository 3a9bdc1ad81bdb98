"""Thumbnail strips of recordings: a few of their pictures side by side, in a PNG beside the file, made once."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from client.sessions.playback import checkpoint_of, usable
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

    tokenizer = _tokenizer(checkpoint_of(session, path), session.header.tokenizer)
    picture = _pictures(usable(session, path, tokenizer.config), tokenizer)
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
    known = [tokens for place in places if (tokens := session.steps[place].tokens) is not None]
    return np.concatenate(list(decode_tokens(tokenizer, np.stack(known))), 1)
