"""Controls: keyboard, mouse and gamepad events -> one Action a step. Pure: no clock, no pygame, no threads.

The game's keys are physical places on the keyboard (USB scancodes), named as on a US layout; the client's own go by
what is printed on them (`client.window.inputs`). A bindings file is JSON that maps a
game button to a key or a list of keys; what it does not mention keeps its default:

    {"forward": "Up", "jump": ["Space", "Mouse 4"], "camera.left": [], "drop": "G"}

Camera: degrees, positive pitch looks down, positive yaw looks right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from client.play.keys import CLIENT_KEYS
from worldmodel.data.hud import SLOT_SHOWN_STEPS
from worldmodel.parsing import quoted, read_json
from worldmodel.types import BUTTONS, DEGREES_PER_PIXEL, HOTBAR, Action, WorldModelError

KEY_DEGREES_PER_SECOND = 90.0  # a camera key held down
STICK_DEGREES_PER_SECOND = 180.0  # the right stick at its stop
STICK_DEAD_ZONE = 0.15
# The left stick and the triggers act as keys: they go down at the first value and up below the second.
PRESS_AT, RELEASE_AT = 0.5, 0.4
HOTBAR_SLOTS = 9
MAX_INPUTS = 1024  # raw inputs that are kept of one step

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
_PLAIN_BUTTONS = frozenset(BUTTONS) - HOTBAR
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


@dataclass(frozen=True, slots=True)
class Press:
    """A key, mouse button or gamepad button went down."""

    key: str


@dataclass(frozen=True, slots=True)
class Release:
    key: str


@dataclass(frozen=True, slots=True)
class Motion:
    """The mouse moved, in pixels: dx to the right, dy down."""

    dx: float
    dy: float


@dataclass(frozen=True, slots=True)
class Wheel:
    """The mouse wheel turned; positive is away from the hand and chooses the previous hotbar slot."""

    notches: int


@dataclass(frozen=True, slots=True)
class Axis:
    """A gamepad axis moved. name: "left x", "right y", "left trigger", ...; value: -1..1, down and right positive."""

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class ReleaseAll:
    """The window lost the keyboard: every key is up, and nothing that was latched counts any more."""


@dataclass(frozen=True, slots=True)
class ReleasePads:
    """A gamepad is gone: what it held is up."""


Event = Press | Release | Motion | Wheel | Axis | ReleaseAll | ReleasePads


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


class InputLog:
    """The raw inputs of the step that was taken last, for a recording. Fed by Controls, read by the worker."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str | int | float, ...]] = []
        self._taken: tuple[tuple[str | int | float, ...], ...] = ()

    def note(self, event: Event) -> None:
        if len(self._waiting) < MAX_INPUTS:
            self._waiting.append((type(event).__name__, *(getattr(event, name) for name in event.__dataclass_fields__)))

    def take(self) -> None:
        self._taken, self._waiting = tuple(self._waiting), []

    def taken(self) -> tuple[tuple[str | int | float, ...], ...]:
        """[(kind, values...), ...] of the last step."""
        return self._taken


@dataclass(slots=True)
class Controls:
    """Held keys and what happened since the last step -> Action.

    table: key name -> what it does; sensitivity: factor on the mouse and the sticks; tick_rate: steps a second, for
    the camera keys. Mouse motion is summed and short presses are latched until `take`. Not thread-safe.

    The wheel counts from the hotbar slot that the world has selected, which `see_slot` tells; of several slots chosen
    in one step, the last is the action.
    """

    table: Mapping[str, str] = field(default_factory=lambda: table_of(DEFAULT_BINDINGS))
    sensitivity: float = 1.0
    tick_rate: float = 10.0
    inputs: InputLog = field(default_factory=InputLog)
    _held: set[str] = field(default_factory=set)
    _latched: set[str] = field(default_factory=set)
    _dx: float = 0.0
    _dy: float = 0.0
    _slot: int = 1  # selected in the world, as far as is known
    _key_slot: int | None = None  # chosen by a key since the last step
    _notches: int = 0  # slots that the wheel went on since then
    _steps_since_slot: int = SLOT_SHOWN_STEPS  # since a slot was chosen
    _axes: dict[str, float] = field(default_factory=dict)

    def handle(self, event: Event) -> None:
        """Takes one event in. Keys without a binding are ignored."""
        self.inputs.note(event)
        match event:
            case Press(key):
                self._press(key)
            case Release(key):
                self._held.discard(key)
            case Motion(dx, dy):
                self._dx += dx
                self._dy += dy
            case Wheel(notches):
                self._notches -= notches
            case Axis(name, value):
                self._axes[name] = value
                for key, side in zip(AXIS_KEYS.get(name, (None, None)), (-1, 1), strict=True):
                    if key is not None and side * value >= PRESS_AT and key not in self._held:
                        self._press(key)
                    elif key is not None and side * value < RELEASE_AT:
                        self._held.discard(key)
            case ReleaseAll():
                self._held.clear()
                self._axes.clear()
                self.forget()
            case ReleasePads():
                self._held = {key for key in self._held if not key.startswith(PAD)}
                self._latched = {key for key in self._latched if not key.startswith(PAD)}
                self._axes.clear()

    def _press(self, key: str) -> None:
        target = self.table.get(key)
        if target is None:
            return
        self._held.add(key)
        self._latched.add(key)
        if target in ("hotbar.next", "hotbar.previous"):
            self._notches += 1 if target == "hotbar.next" else -1
        elif target.startswith("hotbar."):
            self._key_slot, self._notches = int(target.removeprefix("hotbar.")), 0

    def _chosen(self) -> int:
        """The slot that is selected once the inputs since the last step count."""
        base = self._slot if self._key_slot is None else self._key_slot
        return (base - 1 + self._notches) % HOTBAR_SLOTS + 1

    def _hotbar(self, targets: set[str]) -> set[str]:
        """Of the hotbar's keys among `targets`, the one that counts: after another choice, a key that is still down
        selects nothing."""
        return {f"hotbar.{self._chosen()}"} & targets

    def see_slot(self, slot: int | None, cut: bool) -> None:
        """The slot (1 to 9) that the world's newest picture shows; None where it cannot tell.

        cut: the picture is not the result of the last step (an opening, a moment gone back to). Else it counts once the
        picture has had the time to show what was chosen last.
        """
        if slot is not None and (cut or self._steps_since_slot >= SLOT_SHOWN_STEPS):
            self._slot = slot
            self._steps_since_slot = SLOT_SHOWN_STEPS

    def held(self) -> frozenset[str]:
        """Game buttons that are down now, for the display."""
        targets = {self.table[key] for key in self._held}
        return frozenset((targets & _PLAIN_BUTTONS) | self._hotbar(targets))

    def forget(self) -> None:
        """Drops what has happened since the last step: it is no input. Held keys stay."""
        self.inputs.take()
        self._latched.clear()
        self._dx = self._dy = 0.0
        self._key_slot, self._notches = None, 0

    def take(self) -> Action:
        """The action of the step that starts now. Clears the mouse motion and the latches; held keys stay."""
        targets = {self.table[key] for key in self._held | self._latched}
        buttons = targets & _PLAIN_BUTTONS
        if self._key_slot is not None or self._notches:
            buttons.add(f"hotbar.{self._chosen()}")
        else:
            buttons |= self._hotbar(targets)
        self._slot = self._chosen()
        self._steps_since_slot = 0 if buttons & HOTBAR else self._steps_since_slot + 1
        pitch = self._dy * DEGREES_PER_PIXEL * self.sensitivity
        yaw = self._dx * DEGREES_PER_PIXEL * self.sensitivity
        for target in targets & CAMERA.keys():
            up_down, left_right = CAMERA[target]
            pitch += up_down * KEY_DEGREES_PER_SECOND / self.tick_rate
            yaw += left_right * KEY_DEGREES_PER_SECOND / self.tick_rate
        turn = STICK_DEGREES_PER_SECOND * self.sensitivity / self.tick_rate
        pitch += turn * _without_dead_zone(self._axes.get("right y", 0.0))
        yaw += turn * _without_dead_zone(self._axes.get("right x", 0.0))
        self.forget()
        return Action(frozenset(buttons), pitch, yaw)


def _without_dead_zone(value: float) -> float:
    """Stick deflection -1..1 -> the same range, zero inside the dead zone and without a jump at its edge."""
    depth = max(0.0, abs(value) - STICK_DEAD_ZONE) / (1 - STICK_DEAD_ZONE)
    return depth if value > 0 else -depth
