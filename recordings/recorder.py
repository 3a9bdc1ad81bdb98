"""A writer with a thread of its own: recording never delays a frame. A full disk ends the recording, not the game."""

from __future__ import annotations

import queue
import threading
from pathlib import Path

from recordings.format import Header, Marker, RecordingError, StepRecord
from recordings.writer import SessionWriter


class Recorder:
    """Takes records from any thread and writes them in order. `problem` says why it has stopped, if it has.

    RecordingError at once if the file cannot be made.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        self.problem: str | None = None
        self._writer = SessionWriter(path, header)
        self._queue: queue.SimpleQueue[StepRecord | Marker | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def step(self, record: StepRecord) -> None:
        self._queue.put(record)

    def mark(self, marker: Marker) -> None:
        self._queue.put(marker)

    def close(self, timeout: float = 10.0) -> None:
        """Writes what is waiting, then the index. A second call does nothing."""
        self._queue.put(None)
        self._thread.join(timeout)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._writer.size

    def _run(self) -> None:
        try:
            while (record := self._queue.get()) is not None:
                if isinstance(record, StepRecord):
                    self._writer.step(record)
                else:
                    self._writer.mark(record)
            self._writer.close()
        except (OSError, RecordingError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self.problem = f"recording stopped: {reason}; {self.path} is whole up to step {self._writer.steps - 1}"
