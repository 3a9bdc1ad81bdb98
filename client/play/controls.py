"""Controls: keyboard, mouse and gamepad events -> one Action a step. Pure: no clock, no pygame, no threads.

Keys have names (`client.play.bindings`), and a table says what they do. Camera: degrees, positive pitch looks down,
positive yaw looks right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, field

from client.play.bindings import AXIS_KEYS, CAMERA, DEFAULT_BINDINGS, HOTBAR_SLOTS, PAD, table_of
from worldmodel.data.hud import SLOT_SHOWN_STEPS
from worldmodel.types import BUTTONS, DEGREES_PER_PIXEL, HOTBAR, Action

KEY_DEGREES_PER_SECOND = 90.0  # a camera key held down
STICK_DEGREES_PER_SECOND = 180.0  # the right stick at its stop
STICK_DEAD_ZONE = 0.15
# The left stick and the triggers act as keys: they go down at the first value and up below the second.
PRESS_AT, RELEASE_AT = 0.5, 0.4
MAX_INPUTS = 1024  # raw inputs that are kept of one step

_PLAIN_BUTTONS = frozenset(BUTTONS) - HOTBAR


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


class InputLog:
    """The raw inputs of the step that was taken last, for a recording. Fed by Controls, read by the worker."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str | int | float, ...]] = []
        self._taken: tuple[tuple[str | int | float, ...], ...] = ()

    def note(self, event: Event) -> None:
        if len(self._waiting) < MAX_INPUTS:
            self._waiting.append((type(event).__name__, *astuple(event)))

    def take(self) -> None:
        self._taken, self._waiting = tuple(self._waiting), []

    def taken(self) -> tuple[tuple[str | int | float, ...], ...]:
        """[(kind, values...), ...] of the last step."""
        return self._taken


@dataclass(slots=True)
class Controls:
    """Held keys and what happened since the last step -> Action.

    table: key name -> what it does; sensitivity: factor on the mouse and the sticks; tick_rate: steps a second, for
    the camera keys; told: the action that a world takes in place of one (see Neural). Mouse motion is summed and short
    presses are latched until `take`. What a world was not told of a move of the camera is part of the next one: else a
    slow hand would not turn at all. Not thread-safe.

    The wheel counts from the hotbar slot that the world has selected, which `see_slot` tells; of several slots chosen
    in one step, the last is the action.
    """

    table: Mapping[str, str] = field(default_factory=lambda: table_of(DEFAULT_BINDINGS))
    sensitivity: float = 1.0
    tick_rate: float = 10.0
    told: Callable[[Action], Action] | None = None
    inputs: InputLog = field(default_factory=InputLog)
    _held: set[str] = field(default_factory=set)
    _latched: set[str] = field(default_factory=set)
    _dx: float = 0.0
    _dy: float = 0.0
    _untold: tuple[float, float] = (0.0, 0.0)  # degrees of pitch and yaw
    _slot: int = 1  # selected in the world, as far as is known
    _key_slot: int | None = None  # chosen by a key since the last step
    _notches: int = 0  # slots that the wheel went on since then
    _steps_since_slot: int = SLOT_SHOWN_STEPS  # since a slot was chosen
    _axes: dict[str, float] = field(default_factory=dict)

    def play_in(self, tick_rate: float | None, told: Callable[[Action], Action] | None) -> None:
        """A world's numbers, as far as they are known."""
        self.tick_rate, self.told = tick_rate or self.tick_rate, told

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
        self._untold = (0.0, 0.0)
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
        asked = Action(frozenset(buttons), pitch + self._untold[0], yaw + self._untold[1])
        told = asked if self.told is None else self.told(asked)
        self.forget()
        self._untold = asked.pitch - told.pitch, asked.yaw - told.yaw
        return told


def _without_dead_zone(value: float) -> float:
    """Stick deflection -1..1 -> the same range, zero inside the dead zone and without a jump at its edge."""
    depth = max(0.0, abs(value) - STICK_DEAD_ZONE) / (1 - STICK_DEAD_ZONE)
    return depth if value > 0 else -depth
