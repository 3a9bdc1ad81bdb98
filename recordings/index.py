"""The index at a session file's end: where every step and marker lies. A file without it is read from the start."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from recordings.format import MAX_STEPS, RecordingError

_COUNTS = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class Index:
    """steps, markers: file offsets of their records, in order."""

    steps: tuple[int, ...]
    markers: tuple[int, ...]

    def pack(self) -> bytes:
        """Counts, then the distances between neighbours: 4 bytes a record."""
        out = [_COUNTS.pack(len(self.steps), len(self.markers))]
        for offsets in (self.steps, self.markers):
            distances = [b - a for a, b in zip((0, *offsets), offsets, strict=False)]
            out.append(struct.pack(f"<{len(distances)}I", *distances))
        return b"".join(out)

    @staticmethod
    def unpack(payload: bytes) -> Index:
        if len(payload) < _COUNTS.size:
            raise RecordingError("the index is too short")
        steps, markers = _COUNTS.unpack_from(payload)
        if steps > MAX_STEPS or markers > MAX_STEPS or len(payload) != _COUNTS.size + 4 * (steps + markers):
            raise RecordingError("the index does not fit its counts")
        values = struct.unpack_from(f"<{steps + markers}I", payload, _COUNTS.size)

        def offsets(distances: tuple[int, ...]) -> tuple[int, ...]:
            total, out = 0, []
            for distance in distances:
                total += distance
                out.append(total)
            return tuple(out)

        return Index(offsets(values[:steps]), offsets(values[steps:]))
