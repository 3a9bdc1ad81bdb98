"""What goes into the game each tick and what its mod tells about it. Data only: tests need no game.

Keys have the names of VPT's files without "key.keyboard."; mouse buttons are VPT's numbers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from worldmodel.data.ticks import KEYS, MOUSE_BUTTONS
from worldmodel.types import DEGREES_PER_PIXEL, Action

KEY_PREFIX = "key.keyboard."
LEFT, RIGHT, MIDDLE = 0, 1, 2  # attack, use, pickItem
HOTBAR_SLOTS = 9

# X key symbols. E, F and escape are left out: a menu would swallow the mouse, and the game has no second hand.
KEYSYMS = {
    "w": 0x77,
    "a": 0x61,
    "s": 0x73,
    "d": 0x64,
    "space": 0x20,
    "left.shift": 0xFFE1,
    "left.control": 0xFFE3,
    "q": 0x71,
    **{str(slot): 0x30 + slot for slot in range(1, HOTBAR_SLOTS + 1)},
}
X_BUTTONS = {LEFT: 1, MIDDLE: 2, RIGHT: 3}
WHEEL_UP, WHEEL_DOWN = 4, 5  # X's buttons for the wheel

KEY_OF_BUTTON = {button: key.removeprefix(KEY_PREFIX) for key, button in KEYS.items()}
MOUSE_OF_BUTTON = {button: number for number, button in MOUSE_BUTTONS.items()}
BUTTON_OF_KEY = {key: button for button, key in KEY_OF_BUTTON.items()}


@dataclass(frozen=True, slots=True)
class Controls:
    """One 20 Hz tick of input. keys: held keys (of KEYSYMS); mouse: held mouse buttons (LEFT, RIGHT, MIDDLE);
    dx, dy: mouse motion in pixels, right and down positive; wheel: -1, 0 or 1 click, 1 away from the hand (it
    selects the slot to the left).

    Raises ValueError for anything else.
    """

    keys: frozenset[str] = frozenset()
    mouse: frozenset[int] = frozenset()
    dx: int = 0
    dy: int = 0
    wheel: int = 0

    def __post_init__(self) -> None:
        if unknown := set(self.keys) - set(KEYSYMS):
            raise ValueError(f"the game has no keys {sorted(unknown)}; known are {', '.join(KEYSYMS)}")
        if unknown := set(self.mouse) - set(X_BUTTONS):
            raise ValueError(f"no mouse buttons {sorted(unknown)}; known are {sorted(X_BUTTONS)}")
        if self.wheel not in (-1, 0, 1):
            raise ValueError(f"the wheel moves one click a tick: -1, 0 or 1, not {self.wheel}")
        if max(abs(self.dx), abs(self.dy)) > 10_000:
            raise ValueError(f"mouse motion of ({self.dx}, {self.dy}) pixels in one tick")


IDLE = Controls()


def next_slot(slot: int, before: Controls, now: Controls) -> int:
    """The hotbar slot (0..8) in hand after the tick `now`: by a number key that was not yet down, or the wheel."""
    for key in sorted(now.keys - before.keys):
        if key.isdigit():
            slot = int(key) - 1
    return (slot - now.wheel) % HOTBAR_SLOTS


@dataclass(frozen=True, slots=True)
class Position:
    """Of a node, in nodes, y upwards."""

    x: float
    y: float
    z: float


@dataclass(frozen=True, slots=True)
class Event:
    """A node that the player dug or placed. kind: "dig" or "place"; x, y, z: in nodes."""

    kind: str
    node: str
    x: float
    y: float
    z: float


@dataclass(frozen=True, slots=True)
class Pointed:
    """The node that the crosshair points at."""

    node: str
    at: Position


@dataclass(frozen=True, slots=True)
class GameState:
    """What the game's server knew after its newest step: one or two ticks behind the frame.

    clock: seconds of game time; ready: the world around the player is there; x, y, z: the player's feet in nodes, y
    upwards; yaw, pitch: degrees, right and down positive, yaw 0..360, 0 looks along +z and 90 along +x; slot: hotbar
    slot in hand, 0..8; wet: 1 feet, 2 head in water; light: 0..15 at the head; pointed: the node at the crosshair, if
    one is in reach; buries: whether a block that is placed against it would be round the player's head; walled: whether
    something as high as the eyes fills the view; tree: the nearest trunk, if one is within ten nodes; events: those
    since the state before.
    """

    clock: float = 0.0
    ready: bool = False
    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    slot: int = 0
    wet: int = 0
    light: int = 15
    pointed: Pointed | None = None
    buries: bool = False
    walled: bool = False
    tree: Position | None = None
    events: tuple[Event, ...] = field(default=())


def parse_state(line: str) -> GameState:
    """One line of the mod's log. A line it cannot read is a bug of mod.lua, so errors are left as they come."""
    values: dict[str, Any] = json.loads(line)
    events = tuple(Event(**event) for event in values.pop("events", None) or ())
    tree = values.pop("tree", None)
    for name in ("slot", "wet", "light"):
        values[name] = int(values[name])  # Lua's numbers are all floats
    pointed = values.pop("pointed", None)
    return GameState(
        **values,
        pointed=Pointed(pointed["node"], Position(**{axis: pointed[axis] for axis in "xyz"})) if pointed else None,
        tree=Position(**tree) if tree else None,
        events=events,
    )


class ActionMapper:
    """Turns 10 Hz actions into 20 Hz controls, two an action.

    Buttons are held in both ticks. Half of the camera move goes into each, as a hand spreads it; what is left of a
    pixel (0.15 degrees) is carried over to the next action, so long slow turns do not drift. `inventory`, `ESC` and
    `swapHands` do nothing.
    """

    def __init__(self) -> None:
        self._carry_x = self._carry_y = 0.0

    def ticks(self, action: Action) -> tuple[Controls, Controls]:
        keys = {KEY_OF_BUTTON[b] for b in action.buttons if b in KEY_OF_BUTTON} & KEYSYMS.keys()
        mouse = {MOUSE_OF_BUTTON[b] for b in action.buttons if b in MOUSE_OF_BUTTON}
        exact_x = action.yaw / DEGREES_PER_PIXEL + self._carry_x
        exact_y = action.pitch / DEGREES_PER_PIXEL + self._carry_y
        dx, dy = round(exact_x), round(exact_y)
        self._carry_x, self._carry_y = exact_x - dx, exact_y - dy
        first_x, first_y = int(dx / 2), int(dy / 2)
        held = frozenset(keys), frozenset(mouse)
        return Controls(*held, first_x, first_y), Controls(*held, dx - first_x, dy - first_y)
