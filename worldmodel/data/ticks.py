"""The lines of a VPT clip (`<id>.jsonl`, 20 Hz) as 10 Hz actions, and back.

Two ticks are folded into one step: mouse motion summed, buttons held in either tick. Real contractor files have defects
that are survived here: a stuck left button at the start, a hotbar changed by the wheel.

In Luanti a placed block shows two ticks after the click (measured; a dug one after three). Held in either tick, a click
that began in a step's second tick would show only in the frame after the next: half of all clicks seem to do nothing
at first, and a model of such data learns just that. So in recordings of Luanti the right button goes down one tick
later, and every block is there in the next frame.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from worldmodel.data.video import TICKS_PER_SECOND, TICKS_PER_STEP, ClipError
from worldmodel.parsing import Fields, parse_json, read_lines
from worldmodel.types import DEGREES_PER_PIXEL, HOTBAR, NO_ACTION, Action

HOTBAR_SLOTS = 9
MAX_TURN = 180.0  # degrees a step, as MineRL has it; a hand's quickest flick is slower, and what is faster is cut to it
MAX_TICK_PIXELS = 100_000  # of mouse motion: 40 turns in a twentieth of a second are no hand's, but a broken line

LATE_CLICKS = frozenset({"use"})  # shown two ticks later, in recordings of Luanti
LUANTI_KEY = "events"  # that only lines of a Luanti recording have

MOUSE_BUTTONS = {0: "attack", 1: "use", 2: "pickItem"}
KEYS = {
    "key.keyboard.w": "forward",
    "key.keyboard.s": "back",
    "key.keyboard.a": "left",
    "key.keyboard.d": "right",
    "key.keyboard.space": "jump",
    "key.keyboard.left.shift": "sneak",
    "key.keyboard.left.control": "sprint",
    "key.keyboard.q": "drop",
    "key.keyboard.f": "swapHands",
    "key.keyboard.e": "inventory",
    "key.keyboard.escape": "ESC",
    **{f"key.keyboard.{slot}": f"hotbar.{slot}" for slot in range(1, 10)},
}


@dataclass(frozen=True, slots=True)
class Tick:
    buttons: frozenset[str]
    dx: float
    dy: float
    hotbar: int | None
    gui: bool
    late: bool  # clicks show two ticks later
    line: int


def parse_line(text: str, path: Path, number: int) -> dict[str, Any]:
    """One line of JSON. ClipError with file and line for bad JSON (also for Python-dict text: never eval'ed)."""
    value = parse_json(text, f"{path}:{number}", ClipError)
    if not isinstance(value, dict) or "mouse" not in value or "keyboard" not in value:
        raise ClipError(f'{path}:{number}: a VPT line is an object with "mouse" and "keyboard"')
    return value


def _ticks(path: Path) -> Iterator[Tick]:
    stuck = False
    for number, text in read_lines(path, ClipError):
        line = Fields(parse_line(text, path, number), f"{path}:{number}", ClipError)
        mouse, keys = line.inner("mouse"), line.inner("keyboard").texts("keys")
        pressed = set(mouse.whole_numbers("buttons"))
        fresh = set(mouse.whole_numbers("newButtons")) if "newButtons" in mouse.values else set[int]()
        dx, dy = (mouse.number(axis, -MAX_TICK_PIXELS, MAX_TICK_PIXELS) for axis in ("dx", "dy"))
        hotbar = line.whole("hotbar", 0, HOTBAR_SLOTS - 1) if line.values.get("hotbar") is not None else None
        # The left button that starts a recording can stay "pressed" until it is really pressed.
        if number == 1 and fresh == {0}:
            stuck = True
        elif stuck and 0 in fresh:
            stuck = False
        if stuck:
            pressed.discard(0)
        buttons = {MOUSE_BUTTONS[b] for b in pressed if b in MOUSE_BUTTONS} | {KEYS[k] for k in keys if k in KEYS}
        yield Tick(frozenset(buttons), dx, dy, hotbar, line.flag("isGuiOpen"), LUANTI_KEY in line.values, number)


def _with_slots(ticks: Iterator[Tick]) -> Iterator[Tick]:
    """At most one hotbar key a tick: that of the slot which the tick selects.

    A slot that changes without its key (the wheel) becomes a press of that key, and a key that is still down after
    another slot was chosen selects nothing. What the clip says of the slots goes before what it says of the keys.
    """
    before, chosen = frozenset[str](), ""
    for tick, following in pairwise(chain(ticks, (None,))):
        assert tick is not None, "only the last one has nothing after it"
        down = tick.buttons & HOTBAR
        fresh = down - before
        slot = following.hotbar if following is not None else None
        own = f"hotbar.{slot + 1}" if slot is not None else ""
        changed = bool(own) and tick.hotbar is not None and slot != tick.hotbar
        if changed:
            chosen = own
        elif fresh:  # of several at once, nobody knows the last one: the slot that is selected already, or any
            chosen = own if own in fresh else max(fresh)
        selects = {chosen} if changed or chosen in down else set()
        before = down
        yield replace(tick, buttons=(tick.buttons - HOTBAR) | selects)


def _with_late_clicks(ticks: Iterator[Tick]) -> Iterator[Tick]:
    """In recordings of Luanti a click begins one tick later than it did; its end stays, and none is lost."""
    held, begun = frozenset[str](), frozenset[str]()
    for tick in ticks:
        clicks = tick.buttons & LATE_CLICKS if tick.late else frozenset[str]()
        yield replace(tick, buttons=(tick.buttons - clicks) | (clicks & held) | begun)
        held, begun = clicks, clicks - held


def read_ticks(path: Path) -> Iterator[Tick]:
    return _with_late_clicks(_with_slots(_ticks(path)))


def fold(ticks: list[Tick]) -> Action:
    """Ticks -> one action: mouse motion summed, buttons held in any tick, and of the hotbar's slots the last one."""
    buttons = frozenset().union(*(tick.buttons for tick in ticks))
    slots = [tick.buttons & HOTBAR for tick in ticks if tick.buttons & HOTBAR]
    if slots:
        buttons = (buttons - HOTBAR) | slots[-1]
    pitch = sum(tick.dy for tick in ticks) * DEGREES_PER_PIXEL
    yaw = sum(tick.dx for tick in ticks) * DEGREES_PER_PIXEL
    return Action(buttons, pitch, yaw)


def fold_actions(actions: Sequence[Action]) -> Action:
    """The same of actions that are known already."""
    buttons = frozenset().union(*(action.buttons for action in actions))
    slots = [action.buttons & HOTBAR for action in actions if action.buttons & HOTBAR]
    if slots:
        buttons = (buttons - HOTBAR) | slots[-1]
    return within_reach(Action(buttons, sum(a.pitch for a in actions), sum(a.yaw for a in actions)))


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is held in one tick. keys: VPT's names (of KEYS); mouse: VPT's button numbers."""

    keys: frozenset[str] = frozenset()
    mouse: frozenset[int] = frozenset()


def input_entries(
    now: Inputs, before: Inputs, dx: float, dy: float, wheel: float = 0.0, pointer: tuple[float, float] = (0.0, 0.0)
) -> dict[str, Any]:
    """The "mouse" and "keyboard" of a VPT line. dx, dy: motion in pixels; wheel: clicks; pointer: its place (x, y)."""
    return {
        "mouse": {
            "x": pointer[0],
            "y": pointer[1],
            "dx": float(dx),
            "dy": float(dy),
            "scaledX": 0.0,
            "scaledY": 0.0,
            "dwheel": float(wheel),
            "buttons": sorted(now.mouse),
            "newButtons": sorted(now.mouse - before.mouse),
        },
        "keyboard": {"keys": sorted(now.keys), "newKeys": sorted(now.keys - before.keys), "chars": ""},
    }


def action_lines(actions: Iterable[Action | None], ticks: int = TICKS_PER_STEP) -> Iterator[str]:
    """The inverse of `fold`: VPT lines (JSON, without line ends), `ticks` for each action.

    The mouse moves in the first tick, buttons are held in all of them. The camera is exact: `dx` need not be whole.
    None: a cut, as by an open GUI; what follows it is a new segment.
    """
    key_of = {name: key for key, name in KEYS.items()}
    mouse_of = {name: number for number, name in MOUSE_BUTTONS.items()}
    tick, hotbar = 0, 0
    before = Inputs()
    for taken in actions:
        action = taken or NO_ACTION
        slots = action.buttons & HOTBAR
        if len(slots) > 1:  # of an old recording: nobody knows the last one, and the model was told none
            slots = frozenset[str]()
        held = (action.buttons - HOTBAR) | slots
        now = Inputs(
            frozenset(key_of[name] for name in held if name in key_of),
            frozenset(mouse_of[name] for name in held if name in mouse_of),
        )
        for part in range(ticks):
            dx, dy = (action.yaw / DEGREES_PER_PIXEL, action.pitch / DEGREES_PER_PIXEL) if part == 0 else (0.0, 0.0)
            yield json.dumps(
                {
                    **input_entries(now, before, dx, dy),
                    "hotbar": hotbar,
                    "isGuiOpen": taken is None,
                    "tick": tick,
                    "milli": tick * 1000 // TICKS_PER_SECOND,
                }
            )
            for name in slots:
                hotbar = int(name.removeprefix("hotbar.")) - 1
            before = now
            tick += 1


def read_actions(path: Path) -> list[Action]:
    """All 10 Hz actions of a `<id>.jsonl` (small: text only). Used to play a recorded input back.

    ClipError with file and line for a bad line, or for a camera move of more than MAX_TURN degrees a step.
    """
    ticks = list(read_ticks(path))
    actions = []
    for first in range(0, len(ticks) - TICKS_PER_STEP + 1, TICKS_PER_STEP):
        action = fold(ticks[first : first + TICKS_PER_STEP])
        if turned_too_far(action):
            raise ClipError(
                f"{path}:{ticks[first].line}: the camera moves by {action.pitch:.1f}, {action.yaw:.1f} degrees in a "
                f"step; at most {MAX_TURN:g} can be played"
            )
        actions.append(action)
    return actions


def turned_too_far(action: Action) -> bool:
    return max(abs(action.pitch), abs(action.yaw)) > MAX_TURN + 1e-6  # pixels times degrees a pixel: rounded


def within_reach(action: Action) -> Action:
    """The same with a camera move of at most MAX_TURN degrees."""
    pitch, yaw = (max(-MAX_TURN, min(MAX_TURN, angle)) for angle in (action.pitch, action.yaw))
    return replace(action, pitch=pitch, yaw=yaw)
