"""Which keys do what, in words, for the window's help."""

from __future__ import annotations

from collections.abc import Mapping

PLAY_KEYS: tuple[tuple[str, str], ...] = (
    ("mouse, arrow keys", "look around"),
    ("click / Esc", "take the mouse and play / free it and pause"),
    ("Enter", "start again"),
    ("N", "start again with the next seed"),
    ("hold Backspace", "rewind; let go to play on from there"),
    ("B   H", "bookmark, go on from its picture"),
    ("drop a picture here", "go on from it"),
    ("[   ]", "previous, next start scene"),
    (".", "pause and go on"),
    (",", "one step while paused"),
    ("-   =", "temperature down, up"),
    ("Tab or F2", "panel on and off"),
    ("F11", "full screen"),
    ("F12", "save a picture"),
    ("R", "record, or end the recording"),
    ("Ctrl+Q", "quit (with the mouse free)"),
)
PLAY_HINT = "F1 help   Tab panel   Esc pause"
HELP_NOTE = "F1 closes this"
FIRST_NOTE = "any key goes on; F1 shows this again"


def game_keys(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Help on the game's own buttons. labels: game button -> the name of its key."""

    def keys(*buttons: str, between: str = ", ") -> str:
        return between.join(labels.get(button, "?") for button in buttons)

    return (
        (keys("forward", "left", "back", "right", between=" "), "walk"),
        (keys("jump", "sneak", "sprint"), "jump, sneak, sprint"),
        (keys("attack", "use", "pickItem"), "attack, use, pick"),
        (keys("drop", "swapHands", "inventory"), "drop, swap hands, inventory"),
        ("1..9, wheel", "hotbar"),
    )
