"""Session files whose records are whole but whose content may be anything: what `SessionWriter` would refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack

from recordings.format import HEADER, MAGIC, MAJOR, MARKER, MINOR, PREAMBLE, STEP, pack_record
from recordings.reader import Session

Change = Callable[[dict[str, Any], list[list[Any]], list[dict[str, Any]]], object]
"""Changes a session's plain values in place: header, steps, markers."""


def write_odd(path: Path, session: Session, change: Change) -> Path:
    """`session` after `change`, with right CRCs. A marker stands before its step; one that has none, at the end."""

    def plain(record: Any) -> Any:
        return msgpack.unpackb(record.pack(), raw=False)

    header = plain(session.header)
    steps, markers = ([plain(record) for record in records] for records in (session.steps, session.markers))
    change(header, steps, markers)
    data = [PREAMBLE.pack(MAGIC, MAJOR, MINOR), packed(HEADER, header)]
    before: dict[int, list[Any]] = {index: [] for index in range(len(steps) + 1)}
    for marker in markers:
        index = marker.get("index") if isinstance(marker, dict) else None
        before[index if type(index) is int and index in before else len(steps)].append(marker)
    for index, step in enumerate(steps):
        data += [packed(MARKER, marker) for marker in before[index]]
        data.append(packed(STEP, step))
    data += [packed(MARKER, marker) for marker in before[len(steps)]]
    path.write_bytes(b"".join(data))
    return path


def packed(kind: int, value: Any) -> bytes:
    """`value`: plain, or bytes that are MessagePack already."""
    if not isinstance(value, bytes):
        value = msgpack.packb(value, unicode_errors="surrogatepass") or b""
    return pack_record(kind, value)
