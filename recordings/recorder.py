"""A writer with threads of its own: recording does not delay a frame. What stops it ends the recording, not the game.

What is lost if the process dies at any moment: at most the step that was handed over last. If the machine does, at
most what was recorded in the last second.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import traceback
from dataclasses import dataclass
from pathlib import Path

from recordings.format import Header, Marker, RecordingError, StepRecord
from recordings.writer import SessionWriter, reason_of

SYNC_S = 0.5  # between two times that what was written is forced to the disk: with its own time, below a second
PATIENCE_S = 10.0  # that a disk may take for one record


@dataclass(frozen=True, slots=True)
class Stopped:
    """A recording that has ended before its time. kept: steps that are in the file."""

    path: Path
    reason: str
    kept: int

    def sentence(self, steps: int | None = None) -> str:
        """What the player is told. steps: how many there are in all, where that is known."""
        of = f" of {steps}" if steps is not None else ""
        return f"recording stopped: {self.reason}, {self.kept}{of} steps kept in {self.path}"


class Recorder:
    """Takes records from one thread and writes them in order. `stopped` says why it has stopped, if it has.

    A record is taken when the one before it has been written: no queue grows while a disk is slow, and none is lost.
    RecordingError at once if the file cannot be made.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        self.stopped: Stopped | None = None
        self._writer = SessionWriter(path, header)
        self._queue: queue.SimpleQueue[StepRecord | Marker | None] = queue.SimpleQueue()
        self._free = threading.Semaphore(1)  # taken while a record is on its way
        self._over = threading.Event()
        descriptor = os.dup(self._writer.descriptor)  # the syncer's own: the writer may close its file at any time
        self._threads = (
            threading.Thread(target=self._run, name="recorder", daemon=True),
            threading.Thread(target=self._sync, args=(descriptor,), name="recorder sync", daemon=True),
        )
        for thread in self._threads:
            thread.start()

    @property
    def problem(self) -> str | None:
        """`stopped` as a sentence."""
        return self.stopped.sentence() if self.stopped is not None else None

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._writer.size

    def step(self, record: StepRecord) -> None:
        self._take(record)

    def mark(self, marker: Marker) -> None:
        self._take(marker)

    def close(self, timeout: float = PATIENCE_S) -> None:
        """Writes what is waiting, then the index. A second call does nothing."""
        self._queue.put(None)
        for thread in self._threads:
            thread.join(timeout)
        if any(thread.is_alive() for thread in self._threads):
            self._stop("the disk does not answer")

    def _take(self, record: StepRecord | Marker) -> None:
        if self.stopped is not None:
            return
        if self._free.acquire(timeout=PATIENCE_S):
            self._queue.put(record)
        else:
            self._stop("the disk does not answer")

    def _stop(self, reason: str) -> None:
        kept = self._writer.steps if self.path.exists() else 0
        self.stopped = self.stopped or Stopped(self.path, reason, kept)

    def _run(self) -> None:
        try:
            while (record := self._queue.get()) is not None:
                if isinstance(record, StepRecord):
                    self._writer.step(record)
                else:
                    self._writer.mark(record)
                self._free.release()
            self._writer.close()
        except OSError as error:
            self._stop(reason_of(error))
        except BaseException as error:  # all of them: a recorder that dies in silence loses what is played on
            if not isinstance(error, RecordingError):
                traceback.print_exception(error)
            self._stop(str(error) if isinstance(error, RecordingError) else f"{type(error).__name__}: {error}")
            with contextlib.suppress(OSError):  # without the index it is read just as well
                self._writer.close()
        finally:
            self._over.set()
            self._free.release()

    def _sync(self, descriptor: int) -> None:
        """Forces to the disk what has been written, in a thread of its own: it may take long."""
        sync = getattr(os, "fdatasync", os.fsync)
        synced = 0
        try:
            _sync_folder(self.path.parent)
            while not self._over.wait(SYNC_S):
                if self._writer.size > synced:
                    synced = self._writer.size
                    sync(descriptor)
        except OSError as error:
            self._stop(reason_of(error))
        finally:
            os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """The name of a new file is its folder's to keep."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):  # some network folders cannot
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
