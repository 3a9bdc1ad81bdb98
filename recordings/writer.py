"""Writes a session file, a record at a time: what has been written is whole, whatever happens next."""

from __future__ import annotations

import errno
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
    pack_readable,
    pack_record,
)
from recordings.index import Index


def reason_of(error: OSError) -> str:
    """Why something could not be written, in a few words."""
    full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
    return "disk full" if full else (error.strerror or str(error))


class SessionWriter:
    """Appends records to a new file. RecordingError if it exists or cannot be made, and for a record that a reader
    would refuse: nothing of that is written. OSError if the disk is full, or the file was deleted.

    After an OSError the file is cut back to its last whole record and closed: it stays valid.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        beginning = PREAMBLE.pack(MAGIC, MAJOR, MINOR) + pack_readable(HEADER, header)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO | None = path.open("xb", buffering=0)
        except FileExistsError:
            raise RecordingError(f"{path} exists: a recording is never written over; give another name") from None
        except OSError as error:
            raise RecordingError(f"{path} cannot be written: {reason_of(error)}") from None
        self.descriptor = self._file.fileno()
        self._end = 0  # of the last whole record
        self._steps: list[int] = []
        self._markers: list[int] = []
        try:
            self._write(beginning)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise RecordingError(f"{path} cannot be written: {reason_of(error)}") from None

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
        self._write(pack_readable(STEP, record))
        self._steps.append(offset)

    def mark(self, marker: Marker) -> None:
        offset = self._end
        self._write(pack_readable(MARKER, marker))
        self._markers.append(offset)

    def close(self) -> None:
        """Writes the index and closes. A second call, or one after an OSError, does nothing."""
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
            if not os.fstat(self.descriptor).st_nlink:
                raise FileNotFoundError(errno.ENOENT, "the file was deleted")
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
