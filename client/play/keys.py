"""The client's own keys: one table of what they are, what they do and what is said of them. No pygame.

Window, help, the bindings' checks, README and tests read it. A command's name is a key of the dictionary of its
window's handlers; keys go by what is printed on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shortcut:
    """shown: the keys as the help writes them; help: what they do; commands: key name -> command. A line of the help
    without commands is of something else than a key that is pressed alone."""

    shown: str
    help: str
    commands: tuple[tuple[str, str], ...] = ()


_COMMON = (
    Shortcut("Tab or F2", "panel on and off", (("Tab", "panel"), ("F2", "panel"))),
    Shortcut("F11", "full screen", (("F11", "full screen"),)),
    Shortcut("F12", "save a picture", (("F12", "picture"),)),
)
_HELP = Shortcut("F1", "help", (("F1", "help"),))  # said in the hint
_FREE = (("Escape", "free"),)

PLAY = (
    Shortcut("mouse, arrow keys", "look around"),
    Shortcut("click / Esc", "take the mouse and play / free it and pause", _FREE),
    Shortcut("Enter", "start again", (("Enter", "restart"),)),
    Shortcut("N", "start again with the next seed", (("N", "next seed"),)),
    Shortcut("hold Backspace", "rewind; let go to play on from there", (("Backspace", "rewind"),)),
    Shortcut("B   H", "bookmark, go on from its picture", (("B", "bookmark"), ("H", "anchor"))),
    Shortcut("drop a picture here", "go on from it"),
    Shortcut("[   ]", "previous, next start scene", (("[", "previous scene"), ("]", "next scene"))),
    Shortcut(".", "pause and go on", ((".", "pause"),)),
    Shortcut(",", "one step while paused", ((",", "step"),)),
    Shortcut("-   =", "temperature down, up", (("-", "colder"), ("=", "warmer"))),
    *_COMMON,
    Shortcut("R", "record, or end the recording", (("R", "record"),)),
    Shortcut("Ctrl+Q", "quit (with the mouse free)"),
)
REPLAY = (
    Shortcut("Space, click", "play and pause", (("Space", "pause"), *_FREE)),
    Shortcut("Left   Right", "a second back, ahead", (("Left", "second back"), ("Right", "second ahead"))),
    Shortcut(",   .", "a frame back, ahead", ((",", "frame back"), (".", "frame ahead"))),
    Shortcut("mouse on the bar", "go there"),
    Shortcut("[   ]", "previous, next bookmark", (("[", "previous bookmark"), ("]", "next bookmark"))),
    Shortcut("Home   End", "beginning, end", (("Home", "beginning"), ("Enter", "beginning"), ("End", "end"))),
    Shortcut("-   =", "slower, faster", (("-", "slower"), ("=", "faster"))),
    Shortcut("hold Backspace", "rewind", (("Backspace", "rewind"),)),
    Shortcut("K", "keys on and off", (("K", "caps"),)),
    Shortcut("P", "how to play on from here", (("P", "how to play on"),)),
    *_COMMON,
    Shortcut("Ctrl+Q", "quit"),
)
PLAY_HINT = "F1 help   Tab panel   Esc pause"
REPLAY_HINT = "Space play   Left Right seek   F1 help"
HELP_NOTE = "F1 closes this"
FIRST_NOTE = "any key goes on; F1 shows this again"


def commands_of(table: tuple[Shortcut, ...]) -> dict[str, str]:
    """Key name -> command."""
    return {key: command for shortcut in (*table, _HELP) for key, command in shortcut.commands}


def help_lines(table: tuple[Shortcut, ...]) -> tuple[tuple[str, str], ...]:
    """The lines of the help: keys, and what they do."""
    return tuple((shortcut.shown, shortcut.help) for shortcut in table)


CLIENT_KEYS = frozenset(commands_of(PLAY))
"""Keys that the client itself uses while one plays: no game button can be bound to them."""


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
