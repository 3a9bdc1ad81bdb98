"""How a failure ends the program: one sentence on stderr and an exit code."""

from __future__ import annotations

import sys
import traceback

from worldmodel.types import WorldModelError

USER_ERROR, BROKEN = 2, 1


def report_failure(error: BaseException) -> int:
    """Writes `error: ...` to stderr and returns the exit code.

    A WorldModelError is the user's to mend: its sentence alone, code 2. Anything else is ours: code 1, and the
    traceback goes before the sentence, so that nothing is lost.
    """
    if isinstance(error, WorldModelError):
        sys.stderr.write(f"error: {error}\n")
        return USER_ERROR
    traceback.print_exception(error, file=sys.stderr)
    sys.stderr.write(f"error: the world stopped ({type(error).__name__}: {error})\n")
    return BROKEN
