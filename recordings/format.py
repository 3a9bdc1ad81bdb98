"""The session file, record by record: each dataclass with its packing and its unpacking side by side (see FORMAT.md).

A file is a preamble (magic, version), then records: length, CRC-32, type, MessagePack payload. Everything that a file
claims is checked before memory is taken for it. It knows bytes and numbers; nothing of files, worlds or pictures.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import msgpack
import numpy as np
from numpy.typing import NDArray

from worldmodel.types import BUTTONS, Action, Tokens, WorldModelError

SUFFIX = ".wms"  # of a session file's name
MAGIC = b"\x89WMS\r\n\x1a\n"  # as PNG's: shows a transfer that changed line ends or cut the eighth bit
MAJOR, MINOR = 1, 3
PREAMBLE = struct.Struct("<8sHH")
RECORD = struct.Struct("<IIB")  # payload length, CRC-32 of type and payload, type
FOOTER = struct.Struct("<Q8s")  # offset of the index record, magic again

HEADER, STEP, MARKER, INDEX = 1, 2, 3, 4

# Limits on what a file may claim.
MAX_PAYLOAD = 1 << 20
MAX_INDEX = 16 << 20  # four million steps
MAX_TOKENS = 1 << 16
MAX_CONTEXT = 1 << 10
MAX_EVENTS = 1 << 12
MAX_STEPS = 1 << 24
MAX_TEXT = 1 << 12
MAX_ITEMS = 1 << 12  # entries of one map or list
MAX_SETTINGS = 8  # of a sampler
MAX_CONTAINERS = 1 << 14  # maps and lists of one record: an empty one is a byte in the file, and 80 in memory

MARKER_KINDS = ("bookmark", "reset", "branch", "pause", "sampler")

T = TypeVar("T")
Event = tuple[str | int | float, ...]


class RecordingError(WorldModelError):
    """A session file that cannot be read or written; says what and where."""


@dataclass(frozen=True, slots=True)
class SamplerSettings:
    """As kernels.sampling.Sampler. former: what the file says of guidance by rules that no sampler has any more (see
    FORMAT.md): such tokens can be shown, but not made again; guidance is then that of most frames."""

    temperature: float
    top_k: int
    top_p: float
    guidance: float = 0.0
    former: tuple[float | None, ...] = ()

    def pack(self) -> list[Any]:
        # What older readers know comes nearest to one guidance: that of the mouse buttons and that of the rest alike.
        guided = [self.guidance, None, self.guidance] if self.guidance else []
        return [self.temperature, self.top_k, self.top_p, *(self.former or guided)]

    @staticmethod
    def unpack(value: Any) -> SamplerSettings:
        length = len(value) if isinstance(value, list) and 3 < len(value) <= MAX_SETTINGS else 3
        temperature, top_k, top_p, *others = _list(value, length)
        rest = tuple(None if number is None else _number("guidance", number) for number in others)
        guidance = (rest[2] or 0.0) if len(rest) > 2 else 0.0
        return SamplerSettings(
            _number("temperature", temperature),
            _integer("top_k", top_k),
            _number("top_p", top_p),
            guidance,
            () if rest in ((), (guidance, None, guidance)) else rest,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Opening:
    """The context that play started from. tokens: int32 (n, places); actions: int32 (n - 1, tokens an action)."""

    tokens: NDArray[np.int32]
    actions: NDArray[np.int32]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Opening):
            return NotImplemented
        return np.array_equal(self.tokens, other.tokens) and np.array_equal(self.actions, other.actions)

    def pack(self) -> list[Any]:
        return [pack_array(self.tokens), pack_array(self.actions)]

    @staticmethod
    def unpack(value: Any) -> Opening:
        tokens, actions = _list(value, 2)
        opening = Opening(unpack_array(tokens, 2), unpack_array(actions, 2))
        if len(opening.tokens) < 1 or len(opening.actions) != len(opening.tokens) - 1:
            raise RecordingError(
                f"an opening of n frames has n - 1 actions, got {len(opening.tokens)} and {len(opening.actions)}"
            )
        return opening


@dataclass(frozen=True, slots=True)
class Header:
    """What a session needs to be played again.

    world: its name; checkpoint: its folder's (before minor version 2: where that was); weights: sha256 of the weights;
    config: the model's configuration as plain values; order: decode order; seed, sampler, opening: of the start (a
    "reset" marker changes them); tick_rate: steps a second; engine, device: what made the tokens; created: seconds
    since 1970; tokenizer: names the image tokenizer whose tokens they are ("": not known, of minor version 0).
    """

    world: str
    checkpoint: str
    weights: str
    config: dict[str, Any]
    order: str
    sampler: SamplerSettings
    seed: int
    tick_rate: float
    engine: str
    device: str
    created: float
    opening: Opening | None
    tokenizer: str = ""

    def pack(self) -> bytes:
        opening = self.opening.pack() if self.opening is not None else None
        return _dump(
            {
                "world": self.world,
                "checkpoint": self.checkpoint,
                "weights": self.weights,
                "config": self.config,
                "order": self.order,
                "sampler": self.sampler.pack(),
                "seed": self.seed,
                "tick_rate": self.tick_rate,
                "engine": self.engine,
                "device": self.device,
                "created": self.created,
                "opening": opening,
                "tokenizer": self.tokenizer,
            }
        )

    @staticmethod
    def unpack(payload: bytes) -> Header:
        """Entries of a newer minor version are passed over."""
        value = _load(payload)
        if not isinstance(value, dict):
            raise RecordingError("the header is no map")

        def text(name: str, default: Any = None) -> str:
            return printable(_text(name, value.get(name, default)))  # it is shown on terminals and in windows

        config = value.get("config")
        if not isinstance(config, dict):
            raise RecordingError("the header's configuration is no map")
        opening = value.get("opening")
        return Header(
            world=text("world"),
            checkpoint=text("checkpoint"),
            weights=text("weights"),
            config=config,
            order=text("order"),
            sampler=SamplerSettings.unpack(value.get("sampler")),
            seed=_integer("seed", value.get("seed")),
            tick_rate=_number("tick_rate", value.get("tick_rate")),
            engine=text("engine"),
            device=text("device"),
            created=_number("created", value.get("created")),
            opening=Opening.unpack(opening) if opening is not None else None,
            tokenizer=text("tokenizer", ""),
        )


@dataclass(frozen=True, slots=True, eq=False)
class StepRecord:
    """One step. index: 0, 1, ... over the whole file; frame: number that keyed the random numbers (steps since the
    reset); time: seconds since the session began; latency: seconds from input to picture; events: the raw inputs
    that made the action; tokens: int32 (places,) of the frame that it led to, or None (a real game)."""

    index: int
    frame: int
    time: float
    action: Action
    tokens: Tokens | None
    latency: float = 0.0
    events: tuple[Event, ...] = field(default=())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StepRecord):
            return NotImplemented
        if (self.tokens is None) != (other.tokens is None):
            return False
        same = self.tokens is None or other.tokens is None or np.array_equal(self.tokens, other.tokens)
        mine = (self.index, self.frame, self.time, self.action, self.latency, self.events)
        return same and mine == (other.index, other.frame, other.time, other.action, other.latency, other.events)

    def pack(self) -> bytes:
        return _dump(
            [
                self.index,
                self.frame,
                self.time,
                pack_action(self.action),
                pack_array(self.tokens) if self.tokens is not None else None,
                self.latency,
                [list(event) for event in self.events],
            ]
        )

    @staticmethod
    def unpack(payload: bytes) -> StepRecord:
        value = _load(payload)
        index, frame, time, action, tokens, latency, events = _list(value, 7)
        if not isinstance(events, list) or len(events) > MAX_EVENTS:
            raise RecordingError(f"a step's events are no list of at most {MAX_EVENTS}")
        return StepRecord(
            index=_integer("index", index, MAX_STEPS),
            frame=_integer("frame", frame),
            time=_number("time", time),
            action=unpack_action(action),
            tokens=unpack_array(tokens, 1) if tokens is not None else None,
            latency=_number("latency", latency),
            events=tuple(_event(event) for event in events),
        )


@dataclass(frozen=True, slots=True)
class Marker:
    """Something that happened before step `index`.

    kind: "bookmark" (label), "pause", "sampler" (sampler), "reset" (seed, sampler and, where it changed, opening) or
    "branch" (play goes on after step `back_to` of this file; -1: after the opening).
    """

    kind: str
    index: int
    time: float
    label: str = ""
    back_to: int | None = None
    seed: int | None = None
    sampler: SamplerSettings | None = None
    opening: Opening | None = None

    def pack(self) -> bytes:
        return _dump(
            {
                "kind": self.kind,
                "index": self.index,
                "time": self.time,
                "label": self.label,
                "back_to": self.back_to,
                "seed": self.seed,
                "sampler": self.sampler.pack() if self.sampler else None,
                "opening": self.opening.pack() if self.opening else None,
            }
        )

    @staticmethod
    def unpack(payload: bytes) -> Marker:
        value = _load(payload)
        if not isinstance(value, dict):
            raise RecordingError("a marker is no map")

        def optional(name: str, convert: Callable[[Any], T]) -> T | None:
            return convert(value[name]) if value.get(name) is not None else None

        return Marker(
            kind=_text("kind", value.get("kind")),
            index=_integer("index", value.get("index"), MAX_STEPS),
            time=_number("time", value.get("time")),
            label=_text("label", value.get("label")),
            back_to=optional("back_to", lambda step: _integer("back_to", step, MAX_STEPS, low=-1)),
            seed=optional("seed", lambda seed: _integer("seed", seed)),
            sampler=optional("sampler", SamplerSettings.unpack),
            opening=optional("opening", Opening.unpack),
        )


def payload_limit(kind: int) -> int:
    """Bytes that a record of this type may have."""
    return MAX_INDEX if kind == INDEX else MAX_PAYLOAD


def pack_record(kind: int, payload: bytes) -> bytes:
    """Length, CRC, type, payload. RecordingError if the payload is too large to be read back."""
    if len(payload) > payload_limit(kind):
        raise RecordingError(f"a record of {len(payload)} bytes is larger than the format's {payload_limit(kind)}")
    return RECORD.pack(len(payload), zlib.crc32(payload, zlib.crc32(bytes([kind]))), kind) + payload


class Record(Protocol):
    def pack(self) -> bytes: ...

    @staticmethod
    def unpack(payload: bytes) -> Any: ...


def pack_readable(kind: int, record: Record) -> bytes:
    """A record as bytes. RecordingError, with what is wrong, if a reader would refuse it: each limit has one home, in
    `unpack`, and what is written has been through it."""
    try:
        payload = record.pack()
    except (OverflowError, ValueError, TypeError) as error:  # an integer of 65 bits, half a character
        raise RecordingError(f"MessagePack cannot hold it ({error})") from None
    packed = pack_record(kind, payload)
    record.unpack(payload)
    return packed


def printable(text: str, most: int = MAX_TEXT) -> str:
    """`text` without what a terminal or a font would obey or choke on (control characters, turned direction, half
    characters: each becomes "?"), and of at most `most` characters."""
    shown = text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= most else shown[: most - 3] + "..."


def pack_action(action: Action) -> list[Any]:
    """[bit i: BUTTONS[i] is held, pitch, yaw]."""
    bits = sum(1 << index for index, name in enumerate(BUTTONS) if name in action.buttons)
    return [bits, action.pitch, action.yaw]


def unpack_action(value: Any) -> Action:
    bits, pitch, yaw = _list(value, 3)
    held = _integer("buttons", bits, (1 << len(BUTTONS)) - 1)
    return Action(_buttons(held), _number("pitch", pitch), _number("yaw", yaw))


@lru_cache(maxsize=1 << 14)
def _buttons(bits: int) -> frozenset[str]:
    """Shared between steps: a set of names takes a hundred times the bytes that it has in the file."""
    return frozenset({name for index, name in enumerate(BUTTONS) if bits >> index & 1})


def pack_array(array: NDArray[np.integer]) -> list[Any]:
    """[shape, bytes an item (2 or 4), little-endian bytes]; 2 where all values fit."""
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < 1 << 31:
        raise RecordingError(f"tokens must lie in 0..2^31-1, got {array.min()}..{array.max()}")
    size = 2 if not array.size or int(array.max()) < 1 << 16 else 4
    return [list(array.shape), size, array.astype("<u2" if size == 2 else "<u4").tobytes()]


def unpack_array(value: Any, dimensions: int) -> NDArray[np.int32]:
    shape, size, data = _list(value, 3)
    lengths = [_integer("an array's length", length, MAX_TOKENS) for length in _list(shape, dimensions)]
    if dimensions == 2 and lengths[0] > MAX_CONTEXT:
        raise RecordingError(f"a context of {lengths[0]} frames is longer than the format's {MAX_CONTEXT}")
    count = int(np.prod(lengths, dtype=np.int64))
    if size not in (2, 4) or not isinstance(data, bytes) or len(data) != count * size:
        raise RecordingError(f"an array of shape {lengths} does not fit its bytes")
    values = np.frombuffer(data, "<u2" if size == 2 else "<u4")
    if values.size and int(values.max()) >= 1 << 31:
        raise RecordingError("a token is larger than 2^31-1")
    return values.astype(np.int32).reshape(lengths)


def _dump(value: Any) -> bytes:
    packed = msgpack.packb(value, use_bin_type=True)
    assert packed is not None, "packb returns bytes"
    return packed


def _load(payload: bytes) -> Any:
    left = MAX_CONTAINERS

    def count(container: T) -> T:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"more than {MAX_CONTAINERS} lists and maps")
        return container

    try:
        return msgpack.unpackb(
            payload,
            raw=False,
            strict_map_key=True,
            object_hook=count,
            list_hook=count,
            max_str_len=MAX_TEXT,
            max_bin_len=MAX_PAYLOAD,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
            max_ext_len=0,
        )
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise RecordingError(f"a record is no MessagePack within the limits ({error})") from None


def _list(value: Any, length: int) -> list[Any]:
    if not isinstance(value, list) or len(value) != length:
        raise RecordingError(f"expected a list of {length}")
    return value


def _integer(name: str, value: Any, most: int = (1 << 64) - 1, low: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= most:
        raise RecordingError(f"{name} must be an integer in {low}..{most}, got {_shown(value)}")
    return value


def _number(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e18:
        raise RecordingError(f"{name} must be a number below 1e18, got {_shown(value)}")
    return float(value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise RecordingError(f"{name} must be text, got {_shown(value)}")
    return value


def _event(value: Any) -> Event:
    if not isinstance(value, list) or not all(isinstance(item, str | int | float) for item in value):
        raise RecordingError("an input event must be a list of texts and numbers")
    return tuple(value)


def _shown(value: Any) -> str:
    """A number as it is; of anything else, what it is."""
    return str(value) if isinstance(value, int | float) else f"a {type(value).__name__}"
