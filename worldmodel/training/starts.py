"""The start scenes that a freshly trained world opens with: cut from held-out clips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from worldmodel.data.frames import StoredClip
from worldmodel.data.tokens import TokenClip
from worldmodel.data.windows import Windows
from worldmodel.evaluation.following.episodes import black
from worldmodel.types import StartScene

SCENES = 10
TRIED = 24  # places of each part of the clips


def pick_starts(clips: Sequence[tuple[StoredClip, TokenClip]], context: int) -> list[StartScene]:
    """SCENES stretches of `context` frames, one of each part of the clips; fewer if they are that short. Of each part,
    the first in which anything can be seen."""
    places = Windows([tokens for _, tokens in clips], context).starts
    scenes = []
    for part in np.array_split(np.arange(len(places)), min(SCENES, len(places))):
        tried = [places[int(at)] for at in part[np.linspace(0, len(part) - 1, min(TRIED, len(part))).astype(int)]]
        index, start = next((place for place in tried if not black(clips, place, context)), tried[0])
        tokens = clips[index][1]
        scenes.append(
            StartScene(
                tokens.tokens[start : start + context].astype(np.int32), tokens.actions[start : start + context - 1]
            )
        )
    return scenes
