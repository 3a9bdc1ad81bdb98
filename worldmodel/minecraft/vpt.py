"""VPT's and BASALT's contractor recordings as the public tools read them: 20 Hz, a line an action.

Two readings are known, and data/clips.py is a third, which repairs what both get wrong. `rules`:

"vpt": the public loader of openai/Video-Pre-Training. Camera from the line's mouse motion. A left button that starts
the recording is up until it is pressed again. A hotbar key is pressed on the line on which `hotbar` has changed; before
the first line it counts as 0, so that a recording which starts on another slot begins with a press. Lines without any
input are dropped, their pictures too; this is judged before the hotbar's keys are added, so that lines with the wheel
alone vanish. While a screen is open, a cursor is drawn into the picture.

"minerl": MineRL's converter. Camera from the next line's `pitch` and `yaw`. Escape becomes `inventory` while a screen
is open. A hotbar key is pressed one line earlier, on the line after which the slot has changed. Nothing is dropped.

Index files are `{"basedir": ..., "relpaths": [...]}`. Sources: the READMEs and loaders of openai/Video-Pre-Training and
minerllabs/minerl; described, not copied.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from worldmodel.data.clips import MAX_MISSING_TICKS, ClipStep, find_clips
from worldmodel.data.ticks import HOTBAR_SLOTS, KEYS, MAX_TICK_PIXELS, MOUSE_BUTTONS, parse_line, within_reach
from worldmodel.data.video import TICKS_PER_SECOND, ClipError, fit_to, fitted, open_video, pictures
from worldmodel.parsing import Fields, quoted, read_json, read_lines
from worldmodel.types import DEGREES_PER_PIXEL, HOTBAR, Action, Frame

RULES = ("vpt", "minerl")
CURSOR_HEIGHT = 720  # of the window that a line's cursor place counts in
CURSOR_SIDE = 16  # pixels, in a picture of VIDEO_HEIGHT
VIDEO_HEIGHT = 360
MAX_INDEX = 1_000_000  # files
MAX_DEGREES = 1e6  # of a line's pitch and yaw: yaw is never wrapped


@dataclass(frozen=True, slots=True)
class Line:
    """What one line says. buttons: held; dx, dy: pixels; hotbar: the slot, from 0; gui: whether a screen is open;
    cursor: its place (x, y) of a window CURSOR_HEIGHT high; turn: the view's (pitch, yaw) in degrees, where told."""

    buttons: frozenset[str]
    dx: float
    dy: float
    hotbar: int
    gui: bool
    cursor: tuple[float, float]
    turn: tuple[float, float] | None
    number: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A line that is used. tick: number of its picture; cursor: where one is drawn, or None."""

    tick: int
    action: Action
    gui: bool
    cursor: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Read:
    """lines: the ones that are used; dropped: how many have no input; guis: how many have a screen open."""

    lines: tuple[Kept, ...]
    dropped: int
    guis: int
    total: int


def read_recording(path: Path, rules: str) -> Read:
    """The lines of a recording's jsonl by `rules`. ClipError with file and line for one that cannot be read."""
    if rules not in RULES:
        raise ClipError(f"unknown rules {rules!r}; known are {', '.join(RULES)}")
    lines = list(_lines(path))
    if not lines:
        raise ClipError(f"{path} holds no lines")
    kept = tuple(_by_vpt(lines) if rules == "vpt" else _by_minerl(lines, path))
    return Read(kept, len(lines) - len(kept), sum(line.gui for line in lines), len(lines))


def _lines(path: Path) -> Iterator[Line]:
    stuck = False
    for number, text in read_lines(path, ClipError):
        where = f"{path}:{number}"
        values = parse_line(text, path, number)
        fields = Fields(values, where, ClipError)
        mouse, keys = fields.inner("mouse"), fields.inner("keyboard").texts("keys")
        pressed = set(mouse.whole_numbers("buttons"))
        fresh = mouse.whole_numbers("newButtons") if "newButtons" in mouse.values else []
        if number == 1 and fresh == [0]:
            stuck = True
        elif stuck and 0 in fresh:
            stuck = False
        if stuck:
            pressed.discard(0)
        buttons = {MOUSE_BUTTONS[b] for b in pressed if b in MOUSE_BUTTONS} | {KEYS[k] for k in keys if k in KEYS}
        dx, dy = (mouse.number(axis, -MAX_TICK_PIXELS, MAX_TICK_PIXELS) for axis in ("dx", "dy"))
        place = tuple(
            mouse.number(axis, -MAX_TICK_PIXELS, MAX_TICK_PIXELS) if axis in mouse.values else 0.0
            for axis in ("x", "y")
        )
        turn = None
        if values.get("pitch") is not None and values.get("yaw") is not None:
            turn = (fields.number("pitch", -MAX_DEGREES, MAX_DEGREES), fields.number("yaw", -MAX_DEGREES, MAX_DEGREES))
        slot = fields.whole("hotbar", 0, HOTBAR_SLOTS - 1) if values.get("hotbar") is not None else 0
        gui = fields.flag("isGuiOpen")
        yield Line(frozenset(buttons), dx, dy, slot, gui, (place[0], place[1]), turn, number)


def _by_vpt(lines: Sequence[Line]) -> Iterator[Kept]:
    slot = 0
    for tick, line in enumerate(lines):
        buttons = line.buttons
        idle = not buttons and not line.dx and not line.dy
        if line.hotbar != slot:  # noted of dropped lines, too: the press is lost with them
            slot = line.hotbar
            buttons = buttons | {f"hotbar.{slot + 1}"}
        if idle:
            continue
        action = Action(buttons, line.dy * DEGREES_PER_PIXEL, line.dx * DEGREES_PER_PIXEL)
        yield Kept(tick, within_reach(action), line.gui, line.cursor if line.gui else None)


def _by_minerl(lines: Sequence[Line], path: Path) -> Iterator[Kept]:
    for tick, line in enumerate(lines):
        buttons = line.buttons - HOTBAR
        following = lines[tick + 1] if tick + 1 < len(lines) else None
        pitch = yaw = 0.0
        if following is not None:
            if line.turn is None or following.turn is None:
                raise ClipError(f"{path}:{line.number}: no pitch and yaw, which the rules minerl need: use --rules vpt")
            pitch = following.turn[0] - line.turn[0]
            yaw = math.remainder(following.turn[1] - line.turn[1], 360.0)
            if following.hotbar != line.hotbar:
                buttons = buttons | {f"hotbar.{following.hotbar + 1}"}
        if line.gui and "ESC" in buttons:
            buttons = (buttons - {"ESC"}) | {"inventory"}
        yield Kept(tick, within_reach(Action(buttons, pitch, yaw)), line.gui, None)


def read_steps(path: Path, read: Read, height: int, width: int, gui: bool = True) -> Iterator[ClipStep]:
    """The used lines with their pictures, 20 a second at most. gui: whether those with a screen open are used; else
    they cut the recording into segments, as pauses in the pictures do. ClipError for a video that cannot be used."""
    video = open_video(path)
    if abs(video.ticks - read.total) > MAX_MISSING_TICKS:
        raise ClipError(
            f"{path}: {video.frames} frames but {read.total} lines: they may differ by "
            f"{MAX_MISSING_TICKS / TICKS_PER_SECOND:g} s"
        )
    fit = fit_to(video, height, width)
    kept = [line for line in read.lines if line.tick < video.ticks]
    segment, broken, any_yet = 0, False, False
    for line, picture in zip(kept, pictures(video, (line.tick for line in kept)), strict=True):
        if picture is None or (line.gui and not gui):
            broken = any_yet
            continue
        if broken:
            segment, broken = segment + 1, False
        any_yet = True
        frame = fitted(picture, video, fit, height, width)
        if line.cursor is not None:
            draw_cursor(frame, line.cursor)
        yield ClipStep(frame, line.action, segment)


def draw_cursor(frame: Frame, place: tuple[float, float]) -> None:
    """Draws an arrow, white with a black rim, with its point at `place` of a window CURSOR_HEIGHT high, into a picture
    (H, W, 3) of any size; what lies outside is cut off."""
    height, width = frame.shape[:2]
    scale = height / CURSOR_HEIGHT
    side = max(4, round(CURSOR_SIDE * height / VIDEO_HEIGHT))
    left, top = round(place[0] * scale), round(place[1] * scale)
    rows, columns = np.mgrid[0:side, 0:side]
    inside = columns <= np.minimum(rows, (side - 1) - rows // 2)
    rim = inside & ~(np.roll(inside, 1, 0) & np.roll(inside, -1, 0) & np.roll(inside, 1, 1) & np.roll(inside, -1, 1))
    for shape, light in ((inside, 255), (rim, 0)):
        y, x = rows[shape] + top, columns[shape] + left
        seen = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        frame[y[seen], x[seen]] = light


def find_recordings(source: Path, root: Path | None = None) -> list[tuple[Path, str]]:
    """The recordings of a folder, or of an index file, and their names: unique, plain file names, in an order that is
    always the same. root: the folder that an index file's paths are below, instead of its basedir (often an address).

    ClipError for an index that is none, that names files outside its folder, or where there is nothing.
    """
    if source.is_dir():
        return [(clip, ".".join(clip.relative_to(source).with_suffix("").parts)) for clip in find_clips(source)]
    values: Any = read_json(source, ClipError)
    basedir = values.get("basedir") if isinstance(values, dict) else None
    relpaths = values.get("relpaths") if isinstance(values, dict) else None
    if not isinstance(basedir, str) or not isinstance(relpaths, list) or not relpaths:
        raise ClipError(f'{source}: an index file is {{"basedir": FOLDER, "relpaths": [FILE, ...]}}')
    if len(relpaths) > MAX_INDEX:
        raise ClipError(f"{source}: more than {MAX_INDEX} files")
    if root is None and "://" in basedir:
        raise ClipError(
            f"{source}: its files are at {quoted(basedir)}: give the folder that they lie in here, with --root"
        )
    folder = root if root is not None else source.parent / basedir
    found: dict[str, Path] = {}
    for path in relpaths:
        parts = PurePosixPath(path).parts if isinstance(path, str) else ()
        if not parts or ".." in parts or parts[0].startswith("/") or "\0" in path or not path.endswith(".mp4"):
            raise ClipError(f"{source}: {quoted(path)} is no file below the index's folder (NAME.mp4)")
        found[".".join((*parts[:-1], PurePosixPath(path).stem))] = folder.joinpath(*parts)
    return [(path, name) for name, path in found.items()]
