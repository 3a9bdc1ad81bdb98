"""Reads session files: as a stream, or whole. A file without its end opens up to its last good record."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from recordings.format import (
    FOOTER,
    HEADER,
    INDEX,
    MAGIC,
    MAJOR,
    MARKER,
    PREAMBLE,
    RECORD,
    STEP,
    Header,
    Marker,
    RecordingError,
    StepRecord,
    payload_limit,
)
from recordings.opening import Opening
from worldmodel.types import Action, Tokens


@dataclass(frozen=True)
class Session:
    """A whole session. lost: bytes after the last good record (0: nothing was lost); ended: the index stands at the
    end, i.e. the recording was closed; it is not for files that a crash cut off; problem: what is wrong with the record
    that ended the reading, where it was a bad one."""

    header: Header
    steps: tuple[StepRecord, ...]
    markers: tuple[Marker, ...]
    lost: int
    ended: bool
    problem: str | None = None

    def opening_of(self, step: int) -> Opening | None:
        """What the stretch that contains step `step` started from: the last reset's opening, or the header's."""
        openings = [m.opening for m in self.markers if m.kind == "reset" and m.index <= step]
        return openings[-1] if openings else self.header.opening

    def seed_of(self, step: int) -> int:
        """The seed of the stretch that contains step `step`."""
        seeds = [m.seed for m in self.markers if m.kind == "reset" and m.index <= step and m.seed is not None]
        return seeds[-1] if seeds else self.header.seed

    def path_to(self, step: int, most: int | None = None) -> list[StepRecord]:
        """The steps that lead to step `step`, from the last reset on, through every branch. most: the last so many of
        them (None: all). ValueError out of range."""
        if not 0 <= step < len(self.steps):
            raise ValueError(f"there is no step {step}: the session has {len(self.steps)}")
        path: list[StepRecord] = []
        at: int | None = step
        while at is not None and len(path) != most:
            path.append(self.steps[at])
            at = self.before(at)
        return path[::-1]

    def before(self, step: int) -> int | None:
        """The step that step `step` follows; None: it follows an opening."""
        return self._parents.get(step, step - 1 if step else None)

    def stretches(self) -> Iterator[tuple[Tokens, Action, int]]:
        """Every step as (tokens before its action, action, number of its stretch); a reset or a branch begins the next
        stretch. RecordingError where the session has no tokens (a real game) or does not say what it started from."""
        openings = [marker for marker in self.markers if marker.kind == "reset"]
        opening, passed = self.header.opening, 0
        stretch = -1 if 0 in self._parents else 0
        for record in self.steps:
            stretch += record.index in self._parents
            while passed < len(openings) and openings[passed].index <= record.index:
                opening, passed = openings[passed].opening, passed + 1
            parent = self.before(record.index)
            before = self.steps[parent].tokens if parent is not None else (opening.tokens[-1] if opening else None)
            if before is None:
                raise RecordingError(f"step {record.index} has no picture before it: the session holds no tokens there")
            yield before, record.action, stretch

    @cached_property
    def _parents(self) -> dict[int, int | None]:
        """Steps before which play jumped -> the step that they follow; None: they follow an opening."""
        parents: dict[int, int | None] = {}
        for marker in self.markers:
            if marker.kind == "reset":
                parents[marker.index] = None
            elif marker.kind == "branch":
                back = marker.back_to if marker.back_to is not None else -1
                parents[marker.index] = back if 0 <= back < marker.index else None  # never ahead: no path is a circle
        return parents


class SessionReader:
    """A stream over a session file. RecordingError if it is no session, of a newer version, or has no good header.

    Iterating yields StepRecord and Marker in file order, and stops at the first byte that is no whole record, or at a
    record whose content is not of this format: `lost` then says how many bytes were left behind, and `problem` what was
    wrong with the content. Unknown record types (of a newer minor version) are passed over.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost = 0
        self.ended = False
        self.problem: str | None = None
        self._file: BinaryIO = _open(path)
        try:
            self._size = os.fstat(self._file.fileno()).st_size
            self._preamble()
            kind, payload = self._record() or (0, b"")
            if kind != HEADER:
                raise RecordingError(f"{path}: no whole header; nothing was recorded")
            try:
                self.header = Header.unpack(payload)
            except RecordingError as error:
                raise RecordingError(f"{path}: {error}") from None
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[StepRecord | Marker]:
        expected = 0
        while True:
            start = self._file.tell()
            found = self._record()
            if found is None:
                self.lost = self._size - start
                return
            kind, payload = found
            if kind == INDEX:
                self.ended = self._is_end(start)
                self.lost = 0 if self.ended else self._size - start
                return
            if kind not in (STEP, MARKER):
                continue
            try:
                record = StepRecord.unpack(payload) if kind == STEP else Marker.unpack(payload)
                if isinstance(record, StepRecord) and record.index != expected:
                    raise RecordingError(f"step {record.index} stands where step {expected} should")
            except RecordingError as error:
                # Its CRC is right, so no crash wrote this; what stands before it is as good as ever.
                self.lost, self.problem = self._size - start, f"the record at byte {start}: {error}"
                return
            expected += kind == STEP
            yield record

    def _preamble(self) -> None:
        data = self._read(PREAMBLE.size)
        if len(data) < PREAMBLE.size:
            raise RecordingError(f"{self.path}: {len(data)} bytes are no session file")
        magic, major, _ = PREAMBLE.unpack(data)
        if magic != MAGIC:
            raise RecordingError(f"{self.path} is no session file (a .wms of `worldmodel play --record`)")
        if major != MAJOR:
            raise RecordingError(f"{self.path} is of format {major}; this version reads format {MAJOR}")

    def _record(self) -> tuple[int, bytes] | None:
        """The next record's type and payload; None where no whole one stands."""
        head = self._read(RECORD.size)
        if len(head) < RECORD.size:
            return None
        length, crc, kind = RECORD.unpack(head)
        if length > min(payload_limit(kind), self._size - self._file.tell()):
            return None  # before memory is taken for it
        payload = self._read(length)
        if len(payload) < length or zlib.crc32(payload, zlib.crc32(bytes([kind]))) != crc:
            return None
        return kind, payload

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:  # a broken disk, a network folder that has gone
            raise RecordingError(f"{self.path} cannot be read: {error.strerror}") from None

    def _is_end(self, start: int) -> bool:
        data = self._read(FOOTER.size + 1)
        return len(data) == FOOTER.size and FOOTER.unpack(data) == (start, MAGIC)


def _open(path: Path) -> BinaryIO:
    """A regular file; a pipe would wait for ever. RecordingError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise RecordingError(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RecordingError(f"{path} is no file (a folder, a pipe or a device)")
    return os.fdopen(descriptor, "rb")


def read_session(path: Path) -> Session:
    """The whole file. Steps of nano take about 300 bytes; an hour is 11 MB."""
    reader = SessionReader(path)
    try:
        steps: list[StepRecord] = []
        markers: list[Marker] = []
        for record in reader:
            if isinstance(record, StepRecord):
                steps.append(record)
            else:
                markers.append(record)
        return Session(reader.header, tuple(steps), tuple(markers), reader.lost, reader.ended, reader.problem)
    finally:
        reader.close()
