"""Bindings: which keys of the keyboard, the mouse and gamepads do what in the game.

The game's keys are physical places on the keyboard (USB scancodes), named as on a US layout; the client's own go by
what is printed on them (`client.window.inputs`). A bindings file is JSON that maps a
game button to a key or a list of keys; what it does not mention keeps its default:

    {"forward": "Up", "jump": ["Space", "Mouse 4"], "camera.left": [], "drop": "G"}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from client.play.keys import CLIENT_KEYS
from worldmodel.parsing import quoted, read_json
from worldmodel.types import BUTTONS, WorldModelError

HOTBAR_SLOTS = 9

SCANCODES: Mapping[str, int] = MappingProxyType(
    {chr(ord("A") + i): 4 + i for i in range(26)}
    | {str(digit): 29 + digit for digit in range(1, 10)}
    | {"0": 39, "Enter": 40, "Escape": 41, "Backspace": 42, "Tab": 43, "Space": 44, "-": 45, "=": 46, "[": 47, "]": 48}
    | {"\\": 49, ";": 51, "'": 52, "`": 53, ",": 54, ".": 55, "/": 56, "Caps Lock": 57}
    | {f"F{i}": 57 + i for i in range(1, 13)}
    | {"Insert": 73, "Home": 74, "Page Up": 75, "Delete": 76, "End": 77, "Page Down": 78}
    | {"Right": 79, "Left": 80, "Down": 81, "Up": 82}
    | {"Keypad /": 84, "Keypad *": 85, "Keypad -": 86, "Keypad +": 87, "Keypad Enter": 88}
    | {f"Keypad {digit}": 88 + digit for digit in range(1, 10)}
    | {"Keypad 0": 98, "Keypad .": 99}
    | {"Left Ctrl": 224, "Left Shift": 225, "Left Alt": 226}
    | {"Right Ctrl": 228, "Right Shift": 229, "Right Alt": 230}
)
"""Key name -> USB (and SDL) scancode."""
_KEY_NAMES = {code: name for name, code in SCANCODES.items()}

MOUSE_KEYS: Mapping[int, str] = MappingProxyType(
    {1: "Mouse Left", 2: "Mouse Middle", 3: "Mouse Right", 6: "Mouse 4", 7: "Mouse 5"}
)
"""pygame's mouse button numbers (4 and 5 are the wheel, which comes as `Wheel`) -> key name."""

PAD = "Pad "  # that the names of a gamepad's keys begin with
PAD_KEYS: tuple[str, ...] = (
    *("Pad A", "Pad B", "Pad X", "Pad Y", "Pad Back", "Pad Guide", "Pad Start"),
    *("Pad Left Stick", "Pad Right Stick", "Pad Left Shoulder", "Pad Right Shoulder"),
    *("Pad D-Up", "Pad D-Down", "Pad D-Left", "Pad D-Right"),
)
"""Gamepad buttons, in SDL's order."""
# Axis -> the keys that it holds down at its negative and at its positive side.
AXIS_KEYS: Mapping[str, tuple[str | None, str | None]] = MappingProxyType(
    {
        "left x": ("Pad Stick-Left", "Pad Stick-Right"),
        "left y": ("Pad Stick-Up", "Pad Stick-Down"),
        "left trigger": (None, "Pad Left Trigger"),
        "right trigger": (None, "Pad Right Trigger"),
    }
)
LONGEST_NAME = 20
_KNOWN_KEYS = frozenset(
    (
        *SCANCODES,
        *MOUSE_KEYS.values(),
        *PAD_KEYS,
        *(key for pair in AXIS_KEYS.values() for key in pair if key is not None),
    )
)
# Direction of each camera key: (pitch, yaw).
CAMERA: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"camera.up": (-1, 0), "camera.down": (1, 0), "camera.left": (0, -1), "camera.right": (0, 1)}
)
TARGETS = (*BUTTONS, *CAMERA, "hotbar.next", "hotbar.previous")

DEFAULT_BINDINGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "forward": ("W", "Pad Stick-Up"),
        "back": ("S", "Pad Stick-Down"),
        "left": ("A", "Pad Stick-Left"),
        "right": ("D", "Pad Stick-Right"),
        "jump": ("Space", "Pad A"),
        "sneak": ("Left Shift", "Pad B"),
        "sprint": ("Left Ctrl", "Pad Left Stick"),
        "attack": ("Mouse Left", "Pad Right Trigger"),
        "use": ("Mouse Right", "Pad Left Trigger"),
        "pickItem": ("Mouse Middle", "Pad Right Stick"),
        "drop": ("Q", "Pad D-Down"),
        "swapHands": ("F", "Pad X"),
        "inventory": ("E", "Pad Y"),
        **{f"hotbar.{slot}": (str(slot),) for slot in range(1, HOTBAR_SLOTS + 1)},
        "hotbar.previous": ("Pad Left Shoulder",),
        "hotbar.next": ("Pad Right Shoulder",),
        "camera.up": ("Up",),
        "camera.down": ("Down",),
        "camera.left": ("Left",),
        "camera.right": ("Right",),
    }
)
"""Game button, camera direction or hotbar move -> the keys that do it."""


class BindingsError(WorldModelError):
    """A bindings file that cannot be used; the message names the file and the entry."""


def key_name(scancode: int) -> str | None:
    """USB scancode -> the key's name; None for a key that has none here."""
    return _KEY_NAMES.get(scancode)


def table_of(bindings: Mapping[str, tuple[str, ...]], where: str = "bindings") -> dict[str, str]:
    """Bindings -> key name: what it does. BindingsError for an unknown button or key, a key of the client's own, or a
    key with two meanings."""
    table: dict[str, str] = {}
    for target, keys in bindings.items():
        if target not in TARGETS:
            near = _nearest(target, TARGETS, "such names as forward, jump, attack, hotbar.1, camera.up")
            raise BindingsError(f"{where}: unknown button {quoted(target)}; {near}")
        for key in keys:
            if key in CLIENT_KEYS:
                raise BindingsError(f"{where}: {target!r} cannot be on {key!r}, which the client itself uses")
            if key not in _KNOWN_KEYS:
                near = _nearest(key, _KNOWN_KEYS, "such names as W, 5, Space, Left Shift, F5, Keypad 1, Mouse 4, Pad A")
                raise BindingsError(f"{where}: unknown key {quoted(key)} for {target!r}; {near}")
            if table.setdefault(key, target) != target:
                raise BindingsError(f"{where}: key {key!r} is bound to both {table[key]!r} and {target!r}")
    return table


def _nearest(name: str, known: Iterable[str], such: str) -> str:
    """What may have been meant, or how names look."""
    by_lower = {one.lower(): one for one in sorted(known)}
    found = get_close_matches(name[:LONGEST_NAME].lower(), by_lower, 1)
    return f"did you mean {by_lower[found[0]]!r}?" if found else f"there are {such}"


def read_bindings(path: Path) -> dict[str, str]:
    """A bindings file laid over the defaults -> key name: what it does. BindingsError with the file's name."""
    values = read_json(path, BindingsError)
    if not isinstance(values, dict):
        raise BindingsError(f'{path}: bindings are an object such as {{"jump": "Space"}}')
    chosen: dict[str, tuple[str, ...]] = {}
    for target, keys in values.items():
        listed = [keys] if isinstance(keys, str) else keys
        if not isinstance(listed, list) or not all(isinstance(key, str) for key in listed):
            raise BindingsError(f"{path}: {quoted(target)} needs a key or a list of keys, got {quoted(keys)}")
        chosen[target] = tuple(listed)
    table_of(chosen, str(path))  # the file's own mistakes first
    # A key that the file takes is given up by the default that had it.
    taken = {key for keys in chosen.values() for key in keys}
    kept = {target: tuple(key for key in keys if key not in taken) for target, keys in DEFAULT_BINDINGS.items()}
    return table_of({**kept, **chosen}, str(path))


def key_labels(table: Mapping[str, str]) -> dict[str, str]:
    """Game button -> the name of its first key that is not on a gamepad, for the display."""
    labels: dict[str, str] = {}
    for key, target in table.items():
        if not key.startswith(PAD):
            labels.setdefault(target, key)
    return labels
