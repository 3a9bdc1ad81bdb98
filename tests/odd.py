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
    for index, step in enumerate(steps):
        data += [packed(MARKER, marker) for marker in markers if marker.get("index") == index]
        data.append(packed(STEP, step))
    data += [packed(MARKER, marker) for marker in markers if marker.get("index") not in range(len(steps))]
    path.write_bytes(b"".join(data))
    return path


def packed(kind: int, value: Any) -> bytes:
    """`value`: plain, or bytes that are MessagePack already."""
    return pack_record(kind, value if isinstance(value, bytes) else msgpack.packb(value, use_bin_type=True) or b"")
