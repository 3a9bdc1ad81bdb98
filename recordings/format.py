"""The session file, record by record: each dataclass with its packing and its unpacking side by side (see FORMAT.md).

A file is a preamble (magic, version), then records: length, CRC-32, type, MessagePack payload. Everything that a file
claims is checked before memory is taken for it. It knows bytes and numbers; nothing of files, worlds or pictures.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from recordings.opening import Opening, SamplerSettings
from recordings.values import (
    MAX_PAYLOAD,
    RecordingError,
    as_integer,
    as_list,
    as_number,
    as_text,
    dump,
    load,
    pack_action,
    pack_array,
    printable,
    unpack_action,
    unpack_array,
)
from worldmodel.types import Action, Tokens

SUFFIX = ".wms"  # of a session file's name
MAGIC = b"\x89WMS\r\n\x1a\n"  # as PNG's: shows a transfer that changed line ends or cut the eighth bit
MAJOR, MINOR = 1, 3
PREAMBLE = struct.Struct("<8sHH")
RECORD = struct.Struct("<IIB")  # payload length, CRC-32 of type and payload, type
FOOTER = struct.Struct("<Q8s")  # offset of the index record, magic again

HEADER, STEP, MARKER, INDEX = 1, 2, 3, 4

# Limits on what a file may claim; those of a value are in values.py.
MAX_INDEX = 16 << 20  # four million steps
MAX_EVENTS = 1 << 12
MAX_STEPS = 1 << 24

MARKER_KINDS = ("bookmark", "reset", "branch", "pause", "sampler")

T = TypeVar("T")
Event = tuple[str | int | float, ...]


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
        return dump(
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
        value = load(payload)
        if not isinstance(value, dict):
            raise RecordingError("the header is no map")

        def text(name: str, default: Any = None) -> str:
            return printable(as_text(name, value.get(name, default)))  # it is shown on terminals and in windows

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
            seed=as_integer("seed", value.get("seed")),
            tick_rate=as_number("tick_rate", value.get("tick_rate")),
            engine=text("engine"),
            device=text("device"),
            created=as_number("created", value.get("created")),
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
        return dump(
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
        value = load(payload)
        index, frame, time, action, tokens, latency, events = as_list(value, 7)
        if not isinstance(events, list) or len(events) > MAX_EVENTS:
            raise RecordingError(f"a step's events are no list of at most {MAX_EVENTS}")
        return StepRecord(
            index=as_integer("index", index, MAX_STEPS),
            frame=as_integer("frame", frame),
            time=as_number("time", time),
            action=unpack_action(action),
            tokens=unpack_array(tokens, 1) if tokens is not None else None,
            latency=as_number("latency", latency),
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
        return dump(
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
        value = load(payload)
        if not isinstance(value, dict):
            raise RecordingError("a marker is no map")

        def optional(name: str, convert: Callable[[Any], T]) -> T | None:
            return convert(value[name]) if value.get(name) is not None else None

        return Marker(
            kind=as_text("kind", value.get("kind")),
            index=as_integer("index", value.get("index"), MAX_STEPS),
            time=as_number("time", value.get("time")),
            label=as_text("label", value.get("label")),
            back_to=optional("back_to", lambda step: as_integer("back_to", step, MAX_STEPS, low=-1)),
            seed=optional("seed", lambda seed: as_integer("seed", seed)),
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


def _event(value: Any) -> Event:
    if not isinstance(value, list) or not all(isinstance(item, str | int | float) for item in value):
        raise RecordingError("an input event must be a list of texts and numbers")
    return tuple(value)
