"""The window's keys as a browser names them, and those of its commands that the page knows. One table behind both:
client/play/keys.py and the bindings of client/play/controls.py."""

from __future__ import annotations

from client.play.controls import DEFAULT_BINDINGS, PAD, key_labels, table_of
from client.play.keys import PLAY, game_keys

MOUSE = {"Mouse Left": "Mouse0", "Mouse Middle": "Mouse1", "Mouse Right": "Mouse2"}
NAMED = {
    "Left Shift": "ShiftLeft",
    "Left Ctrl": "ControlLeft",
    **{direction: f"Arrow{direction}" for direction in ("Up", "Down", "Left", "Right")},
}
COMMANDS = ("restart", "next seed", "previous scene", "next scene", "pause", "step", "colder", "warmer", "full screen")
"""What the page does by a key of its own (page.js)."""
LOOK = ("mouse, arrow keys", "click / Esc")  # lines of the help that are not of a key pressed alone


def page_code(key: str) -> str:
    """A key's name -> KeyboardEvent.code (a physical place, too); the mouse buttons are "Mouse0" and so on."""
    if len(key) == 1:
        return f"Digit{key}" if key.isdigit() else f"Key{key}"
    return MOUSE.get(key) or NAMED.get(key, key)


def page_keys() -> dict[str, str]:
    """The browser's name of a key -> what it does in the game; a gamepad's are left out."""
    return {page_code(key): target for key, target in table_of(DEFAULT_BINDINGS).items() if not key.startswith(PAD)}


def page_commands() -> dict[str, str]:
    """What is printed on a key (KeyboardEvent.key, letters in upper case) -> one of COMMANDS."""
    known = {key: command for shortcut in PLAY for key, command in shortcut.commands}
    return {key: command for key, command in known.items() if command in COMMANDS}


def page_help() -> list[tuple[str, str]]:
    """Lines: keys, and what they do."""
    lines = [(one.shown, one.help) for one in PLAY if one.shown in LOOK]
    own = [(one.shown, one.help) for one in PLAY if any(command in COMMANDS for _, command in one.commands)]
    return [*lines, *game_keys(key_labels(table_of(DEFAULT_BINDINGS))), *own]
