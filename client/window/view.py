"""Everything that a window shows at a time."""

from __future__ import annotations

from dataclasses import dataclass

from client.play.keys import HELP_NOTE, PLAY_HINT
from client.sessions.timeline import Timeline
from worldmodel.types import Frame


@dataclass(frozen=True, slots=True)
class View:
    """What is shown. frame: None while loading; lines: the panel's rows, each of label-value pairs; lit: game buttons
    that are down; badge: a word on the state ("paused"); invitation: a line in the middle; toast: a passing message;
    hint: the keys to know; timeline: of a recording; caps: key caps are shown; note: the last line of the help."""

    frame: Frame | None = None
    stage: str = ""
    elapsed: float = 0.0
    lines: tuple[tuple[tuple[str, str], ...], ...] = ()
    lit: frozenset[str] = frozenset()
    badge: str = ""
    invitation: str = ""
    toast: str = ""
    hint: str = PLAY_HINT
    timeline: Timeline | None = None
    hud: bool = True
    caps: bool = True
    help: bool = False
    note: str = HELP_NOTE
