"""The one reader of text that comes from outside: lines of recordings, configurations, key bindings, manifests.

UTF-8, with a byte-order mark or without; JSON, at most MAX_DEPTH deep. Whatever is wrong is one sentence that names the
file, the line where lines count, the field and its value; `error` is the class of error that a caller wants. Values are
checked where they are used (`Fields`): a number has its range, so that NaN, infinity and integers of 5,000 digits are
none, and "false" is no boolean. It knows files and JSON; nothing of what they mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from worldmodel.types import WorldModelError

MAX_TEXT_BYTES = 16 << 20  # of a file that is read whole
MAX_LINE_BYTES = 1 << 20  # the longest line of a contractor's recording has some 20,000
MAX_DEPTH = 32
SHOWN = 40  # characters of a value that an error quotes

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_UTF8_MARK = b"\xef\xbb\xbf"
_OTHER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x00\x00\xfe\xff": "UTF-32"}

Error = type[WorldModelError]


def quoted(value: Any) -> str:
    """A value as an error shows it: JSON, cut short, without control characters."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**SHOWN:
        return f"a number of more than {SHOWN} digits"
    try:
        text = json.dumps(value, default=repr)
    except (ValueError, RecursionError):
        text = repr(type(value))
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def decode(raw: bytes, where: str, error: Error = WorldModelError) -> str:
    """UTF-8 bytes -> text, without a byte-order mark."""
    for mark, name in _OTHER_MARKS.items():
        if raw.startswith(mark):
            raise error(f"{where}: the text is {name}, not UTF-8: save it as UTF-8")
    try:
        return raw.removeprefix(_UTF8_MARK).decode("utf-8")
    except UnicodeDecodeError as problem:
        raise error(
            f"{where}: the text is not UTF-8 (byte {raw[problem.start]:#04x} at {problem.start}): save it as UTF-8"
        ) from None


def read_lines(path: Path, error: Error = WorldModelError) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, with their numbers from 1. A file is never held whole."""
    try:
        with path.open("rb") as file:
            number = 0
            while raw := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(raw) > MAX_LINE_BYTES:
                    raise error(f"{path}:{number}: a line of more than {MAX_LINE_BYTES} bytes: this is no such text")
                text = decode(raw, f"{path}:{number}", error)
                if text.strip():
                    yield number, text
    except OSError as problem:
        raise error(f"{path} cannot be read ({problem.strerror})") from None


def read_text(path: Path, error: Error = WorldModelError, most: int = MAX_TEXT_BYTES) -> str:
    """A small text file, whole. most: bytes."""
    try:
        with path.open("rb") as file:
            raw = file.read(most + 1)
    except FileNotFoundError:
        raise error(f"there is no file {path}") from None
    except OSError as problem:
        raise error(f"{path} cannot be read ({problem.strerror})") from None
    if len(raw) > most:
        raise error(f"{path}: more than {most} bytes is too large for such a file")
    return decode(raw, str(path), error)


def parse_json(text: str, where: str, error: Error = WorldModelError) -> Any:
    """JSON -> its value. where: file, or file:line, for the sentence of an error."""
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise error(f"{where}: nested more than {MAX_DEPTH} deep")
    try:
        return json.loads(text)
    except json.JSONDecodeError as problem:
        place = f"line {problem.lineno}, column {problem.colno}" if problem.lineno > 1 else f"column {problem.colno}"
        raise error(f"{where}: not JSON ({problem.msg.removesuffix(' at')} at {place})") from None
    except ValueError:  # Python's own limit on the digits of an integer
        raise error(f"{where}: a number has thousands of digits") from None


def read_json(path: Path, error: Error = WorldModelError, most: int = MAX_TEXT_BYTES) -> Any:
    """A JSON file -> its value."""
    return parse_json(read_text(path, error, most), str(path), error)


def _depth(text: str) -> int:
    """How deeply the brackets of a JSON text are nested; without recursion."""
    depth = deepest = 0
    for sign in _STRING.sub("", text):
        if sign in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif sign in "]}":
            depth -= 1
    return deepest


def is_whole(value: Any) -> bool:
    """An integer of JSON, also one that is written as 3.0 (Lua knows no others); true and false are none."""
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Fields:
    """The fields of a JSON object, taken out one by one and checked. where: file, file:line, or a path in it."""

    __slots__ = ("error", "values", "where")

    def __init__(self, values: Any, where: str, error: Error = WorldModelError) -> None:
        if not isinstance(values, dict):
            raise error(f"{where}: expected an object, got {quoted(values)}")
        self.values: Mapping[str, Any] = values
        self.where, self.error = where, error

    def _wrong(self, name: str, wanted: str) -> WorldModelError:
        got = quoted(self.values[name]) if name in self.values else "nothing"
        return self.error(f"{self.where}: {name} must be {wanted}, got {got}")

    def number(self, name: str, low: float, high: float) -> float:
        """A finite number in low..high."""
        value: Any = self.values.get(name)
        if not is_number(value) or not low <= value <= high:  # NaN is in no range
            raise self._wrong(name, f"a number in {low:g}..{high:g}")
        return float(value)

    def whole(self, name: str, low: int, high: int) -> int:
        """A whole number in low..high."""
        value: Any = self.values.get(name)
        if not is_whole(value) or not low <= value <= high:
            raise self._wrong(name, f"a whole number in {low}..{high}")
        return int(value)

    def flag(self, name: str) -> bool:
        """true or false; a field that is missing or null is false."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return bool(value)

    def whole_numbers(self, name: str) -> list[int]:
        value = self.values.get(name)
        if not isinstance(value, list) or not all(is_whole(item) for item in value):
            raise self._wrong(name, "a list of whole numbers")
        return [int(item) for item in value]

    def texts(self, name: str) -> list[str]:
        value = self.values.get(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(name, "a list of texts")
        return value

    def inner(self, name: str) -> Fields:
        """An object in the object."""
        if name not in self.values:
            raise self._wrong(name, "an object")
        return Fields(self.values[name], f"{self.where}: {name}", self.error)
