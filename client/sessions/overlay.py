"""What is drawn over exported pictures: the keys that are down, and titles. Pillow only: it needs no display."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from client.play.bindings import DEFAULT_BINDINGS, key_labels, table_of
from client.play.caps import key_caps
from worldmodel.types import Frame

KEY_SHARE = 13  # key caps are the picture's height divided by this
MIN_KEY = 12  # pixels, so that letters can be read
TITLE_PIXELS = 20  # height of the strip above a picture
# Bright and dark only: a GIF's few colours go to the game.
_INK, _DOWN_INK, _CAP, _CAP_DOWN = (238, 241, 245), (10, 14, 18), (14, 18, 24, 140), (238, 241, 245, 245)
_LABELS = key_labels(table_of(DEFAULT_BINDINGS))


def enlarged(frame: Frame, scale: int) -> Frame:
    """uint8 (H, W, 3) -> (scale * H, scale * W, 3), sharp pixels."""
    return frame.repeat(scale, 0).repeat(scale, 1) if scale > 1 else frame


def with_keys(frame: Frame, lit: frozenset[str]) -> Frame:
    """The picture with key caps in its upper left corner: a game has its own bars below. lit: buttons that are down."""
    picture = Image.fromarray(frame)
    draw = ImageDraw.Draw(picture, "RGBA")
    key = max(MIN_KEY, frame.shape[0] // KEY_SHARE)
    font = ImageFont.load_default(size=key * 0.5)
    for cap in key_caps(lit, _LABELS):
        left, top = key / 2 + cap.left * key, key / 2 + cap.top * key
        box = (round(left), round(top), round(left + cap.width * key), round(top + key))
        draw.rounded_rectangle(box, radius=key // 6, fill=_CAP_DOWN if cap.down else _CAP)
        middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        draw.text(middle, cap.label, fill=_DOWN_INK if cap.down else _INK, font=font, anchor="mm")
    return np.asarray(picture)


def with_titles(frame: Frame, titles: Sequence[str]) -> Frame:
    """The picture under a strip of TITLE_PIXELS with titles, evenly spread from left to right."""
    H, W = frame.shape[:2]
    picture = Image.new("RGB", (W, H + TITLE_PIXELS))
    picture.paste(Image.fromarray(frame), (0, TITLE_PIXELS))
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=TITLE_PIXELS * 0.6)
    for number, title in enumerate(titles):
        draw.text((round(number * W / len(titles)) + 4, TITLE_PIXELS / 2), title, fill=_INK, font=font, anchor="lm")
    return np.asarray(picture)
