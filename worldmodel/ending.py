"""How a program ends before its time: by a signal, or because what it prints is not taken.

A signal raises `Ended`, a KeyboardInterrupt, in the main thread: what is open is closed on the way out, as after
Ctrl-C. Nothing but the standard library is imported here: a program needs it before anything else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

SIGNAL_CODES = 128  # a program that a signal ended leaves with this and the signal's number
ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
AGAIN_S = 0.05  # until a signal that came in a destructor counts outside of it
PIPE_CODE = SIGNAL_CODES + 13  # of a program whose reader has gone (SIGPIPE, which Python itself ignores)


class Ended(KeyboardInterrupt):
    """A signal asks the program to end. number: the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """128 and the signal's number."""
    return SIGNAL_CODES + getattr(interrupt, "number", int(signal.SIGINT))


def leave_at_once() -> None:
    """From now on a signal of ENDING ends the program without a word: nothing is open yet."""
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, lambda number, frame: os._exit(SIGNAL_CODES + number))


class Signals:
    """While it is entered, the first signal of ENDING raises `Ended`, and those after it are ignored: what is being
    closed is closed. ended: that first one, or None.

    In another thread than the main one it does nothing: Python hands signals to that one alone.
    """

    def __init__(self) -> None:
        self.ended: Ended | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        self._hook = sys.unraisablehook
        if threading.current_thread() is threading.main_thread():
            sys.unraisablehook = self._unraisable
            for number in ENDING:
                before = signal.getsignal(number)
                if before != signal.SIG_IGN:
                    self._before[number] = before
                    signal.signal(number, self._end)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        sys.unraisablehook = self._hook

    def _end(self, number: int, frame: FrameType | None) -> None:
        if self.ended is None:
            self.ended = Ended(number)
            raise self.ended

    def _unraisable(self, found: sys.UnraisableHookArgs) -> None:
        if self.ended is None:
            self._hook(found)
        elif found.exc_value is self.ended:  # swallowed in a destructor or a library's callback: once more
            number, self.ended = self.ended.number, None
            threading.Timer(AGAIN_S, signal.raise_signal, (number,)).start()
        # Else a destructor that the signal left without something: no fault of the program's.


class Held:
    """While it is entered, a signal of ENDING waits: what is done is done whole. It counts when this is left.

    number: that of the first signal that came, or 0; whoever puts another one there raises it.
    """

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Held:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                before = signal.getsignal(number)
                if before != signal.SIG_IGN:
                    self._before[number] = before
                    signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if self.number:
            signal.raise_signal(self.number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = self.number or number


class Output:
    """Standard output while it is entered, as it was, but it remembers when it could not be written. A failed write is
    seen here wherever it comes up: at once (PYTHONUNBUFFERED), in the middle of a library, or at the last flush."""

    def __init__(self) -> None:
        self._stream = sys.stdout
        self._problem: OSError | None = None

    def __enter__(self) -> Output:
        self._stream = sys.stdout
        sys.stdout = self  # pyright: ignore[reportAttributeAccessIssue]
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout = self._stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return self._watched(lambda: self._stream.write(text))

    def flush(self) -> None:
        self._watched(self._stream.flush)

    def problem(self) -> OSError | None:
        """What keeps standard output from being written, if anything does. Found now, and not while Python ends; after
        that, nothing more goes there."""
        with contextlib.suppress(OSError):
            self.flush()
        if self._problem is not None:
            with contextlib.suppress(OSError, ValueError):  # no file at all, as under a test
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        return self._problem

    def _watched(self, write: Callable[[], Any]) -> Any:
        try:
            return write()
        except OSError as error:
            self._problem = error
            raise
