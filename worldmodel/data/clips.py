"""Reads VPT contractor clips (`<id>.mp4` + `<id>.jsonl`, 20 Hz) as a stream of 10 Hz steps.

Line t is the action taken on frame t; frame t+1 is its result. Two ticks are folded into one step: mouse
motion summed, buttons held in either tick. A clip is never loaded whole. Real contractor files have
defects that are survived here: a stuck left button at the start, missing or extra lines at the end, frames
with a GUI open, a hotbar changed by the wheel. It knows files and actions; nothing of models.

In Luanti a placed block shows two ticks after the click (measured; a dug one after three). Held in either tick, a click
that began in a step's second tick would show only in the frame after the next: half of all clicks seem to do nothing
at first, and a model of such data learns just that. So in recordings of Luanti the right button goes down one tick
later, and every block is there in the next frame.

Format source: the VPT repository's README (openai/Video-Pre-Training) and arXiv 2206.11795.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from worldmodel.data.video import (
    TICKS_PER_SECOND,
    TICKS_PER_STEP,
    ClipError,
    Video,
    fit_to,
    fitted,
    open_video,
    pictures,
)
from worldmodel.parsing import Fields, parse_json, read_lines
from worldmodel.types import DEGREES_PER_PIXEL, HOTBAR, NO_ACTION, Action, Frame

# Real files end with a few lines or frames too many. More than two seconds is a broken file.
MAX_MISSING_TICKS = 2 * TICKS_PER_SECOND
RATE_NOTED = 0.02  # how far a rate may be from 20 Hz before it is said
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
class ClipStep:
    """frame: uint8 (H, W, 3) at the step's start; action: what was done on it; segment: number of the unbroken run of
    play that it belongs to (a GUI screen, or a pause in the pictures, cuts a clip into segments)."""

    frame: Frame
    action: Action
    segment: int


ClipReader = Callable[[Path, int, int], Iterator[ClipStep]]
"""A clip's file, height and width of the frames -> its 10 Hz steps, as `read_clip`."""


@dataclass(frozen=True, slots=True)
class _Tick:
    buttons: frozenset[str]
    dx: float
    dy: float
    hotbar: int | None
    gui: bool
    late: bool  # clicks show two ticks later
    line: int


def find_clips(folder: Path, suffixes: Sequence[str] = (".mp4",)) -> list[Path]:
    """The files of all clips below `folder`, sorted. ClipError if there is none."""
    if not folder.is_dir():
        raise ClipError(f"{folder} is not a folder; give a folder of VPT clips (<id>.mp4 and <id>.jsonl)")
    found = (path for suffix in suffixes for path in folder.rglob(f"*{suffix}"))
    clips = sorted(found, key=lambda path: (str(path.parent), len(path.stem), path.stem))
    if not clips:
        raise ClipError(f"no clips in {folder}: it needs <id>.mp4 and <id>.jsonl (make some with worldmodel record)")
    return clips


def check_length(folders: Sequence[Path], steps: int) -> None:
    """ClipError if no clip has so many 10 Hz steps, told from the small jsonl files alone."""
    longest = 0
    for folder in folders:
        for clip in find_clips(folder):
            lines = clip.with_suffix(".jsonl")
            if lines.is_file():
                with lines.open("rb") as file:
                    longest = max(longest, sum(1 for line in file if line.strip()) // TICKS_PER_STEP)
            if longest >= steps:
                return
    raise ClipError(
        f"no clip is long enough: {steps} steps are needed (context and frames); the longest clip has {longest}"
    )


def parse_line(text: str, path: Path, number: int) -> dict[str, Any]:
    """One line of JSON. ClipError with file and line for bad JSON (also for Python-dict text: never eval'ed)."""
    value = parse_json(text, f"{path}:{number}", ClipError)
    if not isinstance(value, dict) or "mouse" not in value or "keyboard" not in value:
        raise ClipError(f'{path}:{number}: a VPT line is an object with "mouse" and "keyboard"')
    return value


def _ticks(path: Path) -> Iterator[_Tick]:
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
        yield _Tick(frozenset(buttons), dx, dy, hotbar, line.flag("isGuiOpen"), LUANTI_KEY in line.values, number)


def _with_slots(ticks: Iterator[_Tick]) -> Iterator[_Tick]:
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


def _with_late_clicks(ticks: Iterator[_Tick]) -> Iterator[_Tick]:
    """In recordings of Luanti a click begins one tick later than it did; its end stays, and none is lost."""
    held, begun = frozenset[str](), frozenset[str]()
    for tick in ticks:
        clicks = tick.buttons & LATE_CLICKS if tick.late else frozenset[str]()
        yield replace(tick, buttons=(tick.buttons - clicks) | (clicks & held) | begun)
        held, begun = clicks, clicks - held


def read_ticks(path: Path) -> Iterator[_Tick]:
    return _with_late_clicks(_with_slots(_ticks(path)))


def fold(ticks: list[_Tick]) -> Action:
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


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """A clip that can be used, before any picture but the first is decoded. size: (height, width) of its frames; steps:
    (first tick, action, segment) of each; notes: what is not read as it stands, without the clip's name."""

    video: Video
    size: tuple[int, int]
    steps: tuple[tuple[int, Action, int], ...]
    notes: tuple[str, ...]


def plan_clip(path: Path, height: int, width: int) -> ClipPlan:
    """All that can be told of a clip without decoding it; frames are to be (height, width).

    path: the mp4; its jsonl lies beside it. Raises ClipError for an unreadable video, one smaller than asked or of
    fewer pictures than steps, a bad line (file and line), or lines and video that differ by more than
    MAX_MISSING_TICKS.
    """
    lines = path.with_suffix(".jsonl")
    if not lines.is_file():
        raise ClipError(f"{path} has no {lines.name} beside it")
    ticks = list(read_ticks(lines))
    video = open_video(path)
    fit = fit_to(video, height, width)
    if abs(video.ticks - len(ticks)) > MAX_MISSING_TICKS:
        raise ClipError(
            f"{path}: {video.frames} frames but {len(ticks)} lines in {lines.name} ({video.ticks / TICKS_PER_SECOND:g} "
            f"and {len(ticks) / TICKS_PER_SECOND:g} s): they may differ by {MAX_MISSING_TICKS / TICKS_PER_SECOND:g} s"
        )
    steps = _steps(ticks[: video.ticks])
    notes = []
    if abs(video.rate / TICKS_PER_SECOND - 1) > RATE_NOTED:
        notes.append(f"{video.rate:.3g} pictures a second, taken by their times at {TICKS_PER_SECOND}")
    if video.gaps:
        notes.append("pauses in the pictures, whose steps are left out")
    if fit.cropped:
        notes.append(f"{video.width}x{video.height} px, cut around the centre to the shape of {width}x{height}")
    if any(turned_too_far(action) for _, action, _ in steps):
        notes.append(f"camera moves over {MAX_TURN:g} degrees a step, cut to that")
    reached = tuple((tick, within_reach(action), segment) for tick, action, segment in steps)
    return ClipPlan(video, (height, width), reached, tuple(notes))


def _steps(ticks: Sequence[_Tick]) -> list[tuple[int, Action, int]]:
    """Pairs of ticks -> (first tick, action, segment). Ticks with a GUI are left out, and cut the clip."""
    steps: list[tuple[int, Action, int]] = []
    pending: list[_Tick] = []
    segment, in_gui = 0, False
    for number, tick in enumerate(ticks):
        if tick.gui:  # the step is dropped, and play after it is a new segment
            pending, in_gui = [], True
            continue
        if in_gui:
            in_gui, segment = False, segment + (1 if steps else 0)
        pending.append(tick)
        if len(pending) == TICKS_PER_STEP:
            steps.append((number - TICKS_PER_STEP + 1, fold(pending), segment))
            pending = []
    return steps


def read_clip(path: Path, height: int, width: int) -> Iterator[ClipStep]:
    """Streams a clip's 10 Hz steps, frames reduced to (height, width) by area averaging: of each step, the picture that
    the video shows when it begins. ClipError as plan_clip, and where the video breaks off."""
    return read_plan(plan_clip(path, height, width))


def read_plan(plan: ClipPlan) -> Iterator[ClipStep]:
    """The steps of a clip that was looked at. ClipError where the video breaks off."""
    fit = fit_to(plan.video, *plan.size)
    pauses, paused = 0, False
    shown = pictures(plan.video, (tick for tick, _, _ in plan.steps))
    for picture, (_, action, segment) in zip(shown, plan.steps, strict=True):
        if picture is None:
            paused = True
            continue
        pauses, paused = pauses + paused, False
        yield ClipStep(fitted(picture, plan.video, fit, *plan.size), action, segment + pauses)
