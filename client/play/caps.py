"""Where the key caps lie and which are down: for the window and for exported videos. It draws nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ROWS = 2
# Game button -> column, row in key widths, and width. Mouse buttons stand to the right.
_PLACES: Mapping[str, tuple[float, float, float]] = {
    "forward": (1, 0, 1),
    "left": (0, 1, 1),
    "back": (1, 1, 1),
    "right": (2, 1, 1),
    "sneak": (3.25, 0, 1.6),
    "sprint": (3.25, 1, 1.6),
    "jump": (5, 1, 2.2),
    "attack": (7.45, 1, 1.2),
    "use": (8.75, 1, 1.2),
}
_SPARE = (5.0, 0.0, 1.0)  # where buttons without a place of their own light up
_SHORT = {"Left Shift": "Shift", "Left Ctrl": "Ctrl", "Mouse Left": "LMB", "Mouse Right": "RMB", "Mouse Middle": "MMB"}
GAP = 1 / 8  # between caps, in key widths


@dataclass(frozen=True, slots=True)
class Cap:
    """One key cap. left, top, width: in key widths, gaps included; a cap is one key width high."""

    left: float
    top: float
    width: float
    label: str
    down: bool


HEIGHT = ROWS + (ROWS - 1) * GAP
"""Of all caps, in key widths."""


def key_caps(lit: frozenset[str], labels: Mapping[str, str]) -> list[Cap]:
    """lit: game buttons that are down; labels: game button -> its key's name."""
    spare = sorted(lit - _PLACES.keys())
    places = {**_PLACES, **{button: (_SPARE[0] + number, *_SPARE[1:]) for number, button in enumerate(spare)}}
    caps: list[Cap] = []
    for button, (column, row, width) in places.items():
        name = labels.get(button, button.removeprefix("hotbar."))
        caps.append(Cap(column * (1 + GAP), row * (1 + GAP), width, _SHORT.get(name, name), button in lit))
    return caps
