"""Forms of an action in Minecraft's recordings: MineRL's dictionary, as JSON or as Python writes it, and VPT's line.

    {"forward": 1, "jump": 0, "camera": [0.0, -1.5], ...}      camera in degrees, [pitch, yaw]
    {'ESC': 0, 'back': 0, 'camera': [0.0, -1.5], ...}          a literal: read with limits, never evaluated
    {"mouse": {...}, "keyboard": {...}, ...}                   VPT's (data/clips.py)

A line that holds anything else, `array([0., 1.])` for one, is refused.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worldmodel.data.ticks import MAX_TURN, fold, read_ticks
from worldmodel.data.video import ClipError
from worldmodel.parsing import is_number, parse_json, quoted, read_lines
from worldmodel.types import BUTTONS, Action

MAX_LITERAL = 16 << 10  # characters; a line of the released clips has some 500
MAX_NESTED = 6  # brackets within brackets
MAX_LINES = 100_000
_NAMES = frozenset((*BUTTONS, "camera"))


def read_literal(text: str, where: str) -> Any:
    """A Python literal (numbers, texts, lists, dictionaries) -> its value. ClipError for anything else."""
    if len(text) > MAX_LITERAL:
        raise ClipError(f"{where}: a literal of more than {MAX_LITERAL} characters")
    depth = deepest = 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        deepest = max(deepest, depth)
    if deepest > MAX_NESTED or any(sign in text for sign in "*@~\\\0"):
        raise ClipError(f"{where}: neither JSON nor a plain dictionary")
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ClipError(f"{where}: neither JSON nor a plain dictionary (nothing is evaluated)") from None


def read_value(text: str, where: str) -> Any:
    """JSON, or else a literal."""
    try:
        return parse_json(text, where, ClipError)
    except ClipError:
        return read_literal(text, where)


def action_of(values: Any, where: str) -> Action:
    """MineRL's dictionary -> Action. Buttons that are left out are up. ClipError for an unknown name, a button that is
    not 0 or 1, or a camera that is not [pitch, yaw] within MAX_TURN degrees."""
    if not isinstance(values, Mapping):
        raise ClipError(f"{where}: an action is a dictionary of buttons and camera, got {quoted(values)}")
    unknown = sorted(str(name) for name in values.keys() - _NAMES)
    if unknown:
        raise ClipError(f"{where}: unknown buttons {quoted(unknown)}; known are MineRL's")
    held = set()
    for name in BUTTONS:
        value = values.get(name, 0)
        if isinstance(value, list | tuple) and len(value) == 1:
            (value,) = value
        if not isinstance(value, int | float) or value not in (0, 1):
            raise ClipError(f"{where}: {name} must be 0 or 1, got {quoted(value)}")
        if value:
            held.add(name)
    camera = values.get("camera", (0.0, 0.0))
    if isinstance(camera, list | tuple) and len(camera) == 1:
        (camera,) = camera
    fits = isinstance(camera, list | tuple) and len(camera) == 2
    if not fits or not all(is_number(angle) and abs(angle) <= MAX_TURN for angle in camera):
        raise ClipError(f"{where}: camera must be [pitch, yaw] in degrees within {MAX_TURN:g}, got {quoted(camera)}")
    return Action(frozenset(held), float(camera[0]), float(camera[1]))


def read_action_lines(path: Path) -> list[Action]:
    """The actions of a file, one a frame of 20 Hz: a line each, or one list of them. ClipError with file and line."""
    lines: list[tuple[str, Any]] = []
    for number, text in read_lines(path, ClipError):
        if number > MAX_LINES:
            raise ClipError(f"{path}: more than {MAX_LINES} lines")
        lines.append((f"{path}:{number}", read_value(text, f"{path}:{number}")))
        if number == 1 and isinstance(lines[0][1], dict) and {"mouse", "keyboard"} <= lines[0][1].keys():
            return [fold([tick]) for tick in read_ticks(path)]
    if len(lines) == 1 and isinstance(lines[0][1], list):
        where, values = lines[0]
        lines = [(f"{where}[{index}]", value) for index, value in enumerate(values)]
    if not lines:
        raise ClipError(f"{path} holds no actions")
    return [action_of(value, where) for where, value in lines]
