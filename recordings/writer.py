"""Writes a session file, a record at a time: what has been written is whole, whatever happens next."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from recordings.format import (
    FOOTER,
    HEADER,
    INDEX,
    MAGIC,
    MAJOR,
    MARKER,
    MINOR,
    PREAMBLE,
    STEP,
    Header,
    Marker,
    RecordingError,
    StepRecord,
    pack_record,
)
from recordings.index import Index


class SessionWriter:
    """Appends records to a new file. RecordingError if it exists or cannot be made; OSError if the disk is full.

    After an OSError the file is cut back to its last whole record and closed: it stays valid.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO | None = path.open("xb", buffering=0)
        except FileExistsError:
            raise RecordingError(f"{path} exists: a recording is never written over; give another name") from None
        except OSError as error:
            raise RecordingError(f"{path} cannot be written: {error.strerror}") from None
        self._end = 0  # of the last whole record
        self._steps: list[int] = []
        self._markers: list[int] = []
        self._write(PREAMBLE.pack(MAGIC, MAJOR, MINOR) + pack_record(HEADER, header.pack()))

    @property
    def steps(self) -> int:
        return len(self._steps)

    @property
    def size(self) -> int:
        """Bytes written."""
        return self._end

    def step(self, record: StepRecord) -> None:
        """Appends one step. Steps count on without a gap."""
        assert record.index == len(self._steps), f"step {record.index} follows step {len(self._steps) - 1}"
        offset = self._end
        self._write(pack_record(STEP, record.pack()))
        self._steps.append(offset)

    def mark(self, marker: Marker) -> None:
        offset = self._end
        self._write(pack_record(MARKER, marker.pack()))
        self._markers.append(offset)

    def close(self) -> None:
        """Writes the index and closes. A second call does nothing."""
        if self._file is None:
            return
        offset = self._end
        index = pack_record(INDEX, Index(tuple(self._steps), tuple(self._markers)).pack())
        self._write(index + FOOTER.pack(offset, MAGIC))
        assert self._file is not None, "a failed write has raised"
        os.fsync(self._file.fileno())
        self._file.close()
        self._file = None

    def _write(self, data: bytes) -> None:
        assert self._file is not None, "the session is closed"
        try:
            view = memoryview(data)
            while view:  # a raw write may be short
                view = view[self._file.write(view) :]
        except OSError:
            file, self._file = self._file, None
            try:
                file.truncate(self._end)
            finally:
                file.close()
            raise
        self._end += len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
