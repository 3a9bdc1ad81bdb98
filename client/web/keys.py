"""The window's keys as a browser names them, and those of its commands that the page knows. One table behind both:
client/play/keys.py and the bindings of client/play/controls.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from client.play.bindings import DEFAULT_BINDINGS, PAD, key_labels, table_of
from client.play.keys import PLAY, game_keys

MODIFIERS = {"Shift": "Shift", "Ctrl": "Control", "Alt": "Alt"}
MOUSE_NAMES = ("Left", "Middle", "Right", "4", "5")  # in a browser's order
MOUSE = {f"Mouse {name}": f"Mouse{number}" for number, name in enumerate(MOUSE_NAMES)}
SIGNS = {
    "-": "Minus",
    "=": "Equal",
    "[": "BracketLeft",
    "]": "BracketRight",
    "\\": "Backslash",
    ";": "Semicolon",
    "'": "Quote",
    "`": "Backquote",
    ",": "Comma",
    ".": "Period",
    "/": "Slash",
}
NAMED = {
    **{f"{side} {key}": f"{code}{side}" for side in ("Left", "Right") for key, code in MODIFIERS.items()},
    **{direction: f"Arrow{direction}" for direction in ("Up", "Down", "Left", "Right")},
}
COMMANDS = ("restart", "next seed", "previous scene", "next scene", "pause", "step", "colder", "warmer", "full screen")
"""What the page does by a key of its own (page.js)."""
SERVED = (*COMMANDS, "rewind", "bookmark", "anchor", "record")
"""And what it does where a server plays."""
LOOK = ("mouse, arrow keys", "click / Esc")  # lines of the help that are not of a key pressed alone


def page_code(key: str) -> str:
    """A key's name -> KeyboardEvent.code (a physical place, too); the mouse buttons are "Mouse0" and so on."""
    if key.startswith(PAD):
        return key
    if len(key) == 1 and key.isalnum():
        return f"Digit{key}" if key.isdigit() else f"Key{key}"
    if key.startswith("Keypad "):
        sign = key.removeprefix("Keypad ")
        return f"Numpad{SIGNS.get(sign, sign)}"
    return MOUSE.get(key) or SIGNS.get(key) or NAMED.get(key) or key.replace(" ", "")


def page_keys(table: Mapping[str, str] | None = None) -> dict[str, str]:
    """The browser's name of a key -> what it does in the game; a gamepad's keys have our names. table: of the keys, as
    `table_of` gives them (None: the defaults)."""
    return {page_code(key): target for key, target in _table(table).items()}


def page_codes(table: Mapping[str, str] | None = None) -> dict[str, str]:
    """The browser's name of a key of the game's -> our name."""
    return {page_code(key): key for key in _table(table)}


def page_commands(commands: Sequence[str] = COMMANDS) -> dict[str, str]:
    """What is printed on a key (KeyboardEvent.key, letters in upper case) -> one of `commands`."""
    known = {key: command for shortcut in PLAY for key, command in shortcut.commands}
    return {key: command for key, command in known.items() if command in commands}


def page_help(commands: Sequence[str] = COMMANDS, table: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """Lines: keys, and what they do."""
    lines = [(one.shown, one.help) for one in PLAY if one.shown in LOOK]
    own = [(one.shown, one.help) for one in PLAY if any(command in commands for _, command in one.commands)]
    return [*lines, *game_keys(key_labels(_table(table))), *own]


def _table(table: Mapping[str, str] | None) -> Mapping[str, str]:
    return table_of(DEFAULT_BINDINGS) if table is None else table
