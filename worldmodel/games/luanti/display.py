"""A private X server without a screen (Xvfb), which several games may share."""

from __future__ import annotations

import os
import select
import subprocess
import time
from types import TracebackType
from typing import Self

from worldmodel.games.luanti.build import program
from worldmodel.types import WorldModelError

START_SECONDS = 60.0


class Display:
    """Starts Xvfb on a display number that it picks itself; `name` is what DISPLAY must be set to.

    A context manager. The server is killed by the kernel when the thread that made it ends, however it ends, so make
    it in a thread that outlives the games. Raises WorldModelError if the server does not come up.
    """

    def __init__(self) -> None:
        reader, writer = os.pipe()
        command = [
            # setpriv rather than a preexec_fn: that may deadlock in a process with threads.
            *(str(program("setpriv")), "--pdeathsig", "KILL"),
            *(str(program("Xvfb")), "-displayfd", str(writer), "-screen", "0", "800x600x24"),
            *("+extension", "GLX", "-nolisten", "tcp", "-noreset"),
        ]
        try:
            self._process = subprocess.Popen(
                command,
                pass_fds=[writer],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for us; we end the server after the games
            )
        finally:
            os.close(writer)
        try:
            self.name = f":{self._number(reader)}"
        except BaseException:
            self.close()
            raise
        finally:
            os.close(reader)

    @staticmethod
    def _number(reader: int) -> int:
        deadline, text = time.monotonic() + START_SECONDS, b""
        while not text.endswith(b"\n"):
            if not select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise WorldModelError(f"Xvfb did not start within {START_SECONDS:.0f} s")
            part = os.read(reader, 64)
            if not part:
                raise WorldModelError("Xvfb ended at once; run `Xvfb -displayfd 1` to see why")
            text += part
        return int(text)

    def close(self) -> None:
        """Ends the server; a second call does nothing."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
