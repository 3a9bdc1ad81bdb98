"""The window's keys as a browser names them (KeyboardEvent.code: physical places, too)."""

from __future__ import annotations

from client.controls import DEFAULT_BINDINGS, PAD, table_of

MOUSE = {"Mouse Left": "Mouse0", "Mouse Middle": "Mouse1", "Mouse Right": "Mouse2"}
NAMED = {
    "Left Shift": "ShiftLeft",
    "Left Ctrl": "ControlLeft",
    **{direction: f"Arrow{direction}" for direction in ("Up", "Down", "Left", "Right")},
}


def page_code(key: str) -> str:
    """A key's name -> the browser's; the mouse buttons are "Mouse0" and so on, by MouseEvent.button."""
    if len(key) == 1:
        return f"Digit{key}" if key.isdigit() else f"Key{key}"
    return MOUSE.get(key) or NAMED.get(key, key)


def page_keys() -> dict[str, str]:
    """The browser's name of a key -> what it does in the game; a gamepad's are left out."""
    return {page_code(key): target for key, target in table_of(DEFAULT_BINDINGS).items() if not key.startswith(PAD)}
