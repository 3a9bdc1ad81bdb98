"""The start scenes that a freshly trained world opens with: cut from held-out clips, with something in reach."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from worldmodel.data.frames import StoredClip
from worldmodel.data.outline import outlined
from worldmodel.data.tokens import TokenClip
from worldmodel.data.windows import Windows
from worldmodel.evaluation.episodes import black
from worldmodel.model.loading import StartScene

SCENES = 10
TRIED = 24  # places of each part of the clips


def pick_starts(
    clips: Sequence[tuple[StoredClip, TokenClip]], context: int, rows: int, columns: int
) -> list[StartScene]:
    """SCENES stretches of `context` frames, one of each part of the clips; fewer if they are that short.

    Of each part, the first that ends on a frame with an outlined block, where recordings show outlines; else the first
    in which anything can be seen. rows, columns: of the tokens of a frame.
    """
    places = Windows([tokens for _, tokens in clips], context).starts

    def worth(place: tuple[int, int]) -> int:
        index, start = place
        last = clips[index][0].frames[start + context - 1 : start + context]
        return 0 if black(clips, place, context) else 1 + int(outlined(last, rows, columns).any())

    scenes = []
    for part in np.array_split(np.arange(len(places)), min(SCENES, len(places))):
        tried = [places[int(at)] for at in part[np.linspace(0, len(part) - 1, min(TRIED, len(part))).astype(int)]]
        index, start = max(tried, key=worth)  # of equals, the first
        tokens = clips[index][1]
        scenes.append(
            StartScene(
                tokens.tokens[start : start + context].astype(np.int32), tokens.actions[start : start + context - 1]
            )
        )
    return scenes
