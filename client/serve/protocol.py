"""What passes between a page and the server: checked messages in, packed frames out. Pure.

A page sends JSON, one object a message:

    {"kind": "hello", "version": 1, "player": ID or null, "pixels": false}   first; an ID finds its game again
    {"kind": "input", "time": MS, "events": [["down", CODE], ["up", CODE], ["move", DX, DY], ["wheel", N], ["away"]]}
    {"kind": "do", "what": COMMAND, "value": NUMBER or null}
    {"kind": "shown", "number": N}                                           a frame is on the screen
    {"kind": "pixels"}                                                       from now on pictures, not tokens
    {"kind": "file", "what": "picture" or "session", "size": BYTES}          to go on from, or to watch

CODE is KeyboardEvent.code (a place on the keyboard), "Mouse0" and so on, or a gamepad's key; motion is in pixels,
"away" means that the page has lost the keyboard. The server sends JSON ("world", "queue", "state", "file", "error") and
frames, which are binary: FRAME and then the payload. A file is answered by "file": "wanted" is true where its bytes may
come, in binary messages of at most MAX_CHUNK; afterwards, or where it is refused, false, with what is wrong in "text".
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from client.play.controls import Event, Motion, Press, Release, ReleaseAll, Wheel
from worldmodel.parsing import is_number, is_whole, parse_json, quoted
from worldmodel.types import Frame, Tokens, WorldModelError

VERSION = 1
MAX_MESSAGE = 16_384  # bytes
MAX_CHUNK = 1 << 16  # bytes of a file in one message
MAX_EVENTS = 256  # a message
MAX_FILE: Mapping[str, int] = {"picture": 20 << 20, "session": 32 << 20}  # bytes
FRAME = struct.Struct("<BBHIIdI")
"""version; TOKENS or JPEG; bits a token (0: JPEG); number of the frame, from 1; steps since the opening; the time of
the newest input that it answers (the page's own clock, in ms; NaN: none since the frame before); frames that this page
missed so far."""
TOKENS, JPEG = 0, 1
JPEG_QUALITY = 85
LIMIT = 2.0  # of temperature and guidance
COMMANDS: Mapping[str, tuple[float, float] | None] = {
    **dict.fromkeys(("play", "pause", "step", "restart", "next seed", "previous scene", "next scene"), None),
    **dict.fromkeys(("rewind", "rewound", "bookmark", "anchor", "live", "colder", "warmer"), None),
    "scene": (0, 2**31),
    "seed": (0, 2**63 - 1),
    "temperature": (0.0, LIMIT),
    "guidance": (0.0, LIMIT),
    "seek": (0, 2**31),
    "speed": (0.25, 8.0),
}
"""What a page can ask for -> the range of its number, or None where there is none. "live" leaves a replay."""
WHOLE = ("scene", "seed", "seek")


class ProtocolError(WorldModelError):
    """A message that is none of ours: its sender is cut off."""


@dataclass(frozen=True, slots=True)
class Hello:
    player: str | None
    pixels: bool


@dataclass(frozen=True, slots=True)
class Input:
    """time: when the newest of the events came, in ms of the page's clock."""

    time: float
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Do:
    what: str
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    number: int


@dataclass(frozen=True, slots=True)
class Pixels:
    """The page cannot make pictures of tokens as fast as they come."""


@dataclass(frozen=True, slots=True)
class Upload:
    """what: a key of MAX_FILE; size: bytes, as the page says."""

    what: str
    size: int


Message = Hello | Input | Do | Shown | Pixels | Upload


def read_message(text: str, keys: Mapping[str, str]) -> Message:
    """keys: CODE -> the controls' name of the key; others are left out. ProtocolError for anything else."""
    if len(text) > MAX_MESSAGE:
        raise ProtocolError(f"a message of {len(text)} characters; {MAX_MESSAGE} are allowed")
    values = parse_json(text, "message", ProtocolError)
    if not isinstance(values, dict):
        raise ProtocolError("a message is a JSON object")
    kind = values.get("kind")
    if kind == "hello":
        return _hello(values)
    if kind == "input":
        time, events = values.get("time", 0), values.get("events")
        if not _finite(time) or not isinstance(events, list) or len(events) > MAX_EVENTS:
            raise ProtocolError(f"input needs a time and at most {MAX_EVENTS} events")
        translated = [_event(event, keys) for event in events]
        return Input(float(time), tuple(event for event in translated if event is not None))
    if kind == "do":
        return _do(values.get("what"), values.get("value"))
    if kind == "shown":
        number = values.get("number", "none")
        if not is_whole(number) or not 0 <= number < 2**32:
            raise ProtocolError(f"no number of a frame: {quoted(number)}")
        return Shown(int(number))
    if kind == "pixels":
        return Pixels()
    if kind == "file":
        return _upload(values.get("what"), values.get("size"))
    raise ProtocolError(f"an unknown message {quoted(kind)}")


def _hello(values: dict[str, object]) -> Hello:
    version, player, pixels = values.get("version"), values.get("player"), values.get("pixels", False)
    if version != VERSION:
        raise ProtocolError(f"the page speaks version {quoted(version)}, the server {VERSION}: reload the page")
    if player is not None and not (isinstance(player, str) and is_player(player)):
        raise ProtocolError("no player's number")
    if not isinstance(pixels, bool):
        raise ProtocolError(f"pixels is true or false, got {quoted(pixels)}")
    return Hello(player, pixels)


def is_player(name: str) -> bool:
    """A player's number as the server gives it: hexadecimal digits, which are safe in a file's name."""
    return len(name) == 32 and all(sign in "0123456789abcdef" for sign in name)


def _event(event: object, keys: Mapping[str, str]) -> Event | None:
    match event:
        case ["down" | "up" as way, str(code)]:
            key = keys.get(code)
            return None if key is None else Press(key) if way == "down" else Release(key)
        case ["move", dx, dy] if _finite(dx) and _finite(dy):
            return Motion(float(dx), float(dy))
        case ["wheel", notches] if is_whole(notches) and abs(notches) <= MAX_EVENTS:
            return Wheel(-int(notches))  # a page's wheel is positive towards the hand
        case ["away"]:
            return ReleaseAll()
    raise ProtocolError(f"no input: {quoted(event)}")


def _do(what: object, value: object) -> Do:
    if not isinstance(what, str) or what not in COMMANDS:
        raise ProtocolError(f"no command {quoted(what)}")
    limits = COMMANDS[what]
    if limits is None:
        return Do(what)
    low, high = limits
    if not is_number(value) or not low <= value <= high or (what in WHOLE and not is_whole(value)):  # type: ignore[operator]
        raise ProtocolError(f"{what} needs a number from {low} to {high}, got {quoted(value)}")
    return Do(what, int(value) if what in WHOLE else float(value))  # type: ignore[arg-type]


def _upload(what: object, size: object) -> Upload:
    if not isinstance(what, str) or what not in MAX_FILE:
        raise ProtocolError(f"no kind of file {quoted(what)}")
    if not is_whole(size) or not 0 <= size < 2**53:  # type: ignore[operator]
        raise ProtocolError(f"no size of a file: {quoted(size)}")
    return Upload(what, int(size))  # type: ignore[arg-type]


def _finite(value: object) -> bool:
    return is_number(value) and abs(value) <= 1e15  # type: ignore[arg-type]


def pack_tokens(tokens: Tokens, bits: int) -> bytes:
    """(places,) tokens below 2**bits -> `bits` bits each, the highest first, one after the other."""
    assert tokens.min(initial=0) >= 0, "tokens are codes"
    assert tokens.max(initial=0) < 1 << bits, "tokens are codes"
    each = np.asarray(tokens, ">u4").view(np.uint8).reshape(-1, 4)
    return np.packbits(np.unpackbits(each, axis=1)[:, 32 - bits :]).tobytes()


def pack_jpeg(frame: Frame) -> bytes:
    """uint8 (H, W, 3) -> a JPEG file."""
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return file.getvalue()
