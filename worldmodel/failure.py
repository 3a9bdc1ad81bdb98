"""How a program ends: its exit code, and one sentence on stderr where something went wrong."""

from __future__ import annotations

import contextlib
import errno
import sys
import traceback
from collections.abc import Callable

from worldmodel.ending import PIPE_CODE, Output, Signals, exit_code
from worldmodel.types import WorldModelError

USER_ERROR, BROKEN = 2, 1
REFUSALS = frozenset(
    (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EEXIST, errno.ENOTDIR,
     errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
)  # fmt: skip
"""Why the system does not let a file be written or read that the user has named."""


def report_failure(error: BaseException, what: str = "the world") -> int:
    """Writes `error: ...` to stderr and returns the exit code. what: what has stopped, if the fault is ours.

    A WorldModelError is the user's to mend, and so is a file that the system refuses: a sentence alone, code 2.
    Anything else is ours: code 1, and the traceback goes before the sentence, so that nothing is lost.
    """
    if isinstance(error, WorldModelError):
        sys.stderr.write(f"error: {error}\n")
        return USER_ERROR
    if isinstance(error, OSError) and error.errno in REFUSALS:
        named = f"{error.filename} cannot be used" if error.filename else "what is written cannot be kept"
        sys.stderr.write(f"error: {named} ({error.strerror})\n")
        return USER_ERROR
    traceback.print_exception(error, file=sys.stderr)
    sys.stderr.write(f"error: {what} stopped ({type(error).__name__}: {error})\n")
    return BROKEN


def run_to_end(
    command: Callable[[], int],
    report: Callable[[BaseException], int] = report_failure,
    broken_off: Callable[[KeyboardInterrupt], object] = lambda interrupt: None,
) -> int:
    """Does the command, and returns its exit code, or that of its end: 128 and the number of the signal that ended it,
    or of SIGPIPE if nobody reads what it prints. SystemExit is raised: tyro's, for --help or a wrong option.

    report: tells a failure, and gives its code; broken_off: told of a signal, once all is closed.
    """
    with Signals() as signals, Output() as output:
        code, failure, leaving = 0, None, None
        try:
            code = command()
        except SystemExit as error:
            leaving = error
        except (Exception, KeyboardInterrupt) as error:
            failure = error
        unread = output.problem()
        with contextlib.suppress(OSError):  # nobody reads the errors either
            if isinstance(unread, BrokenPipeError):  # `| head` has seen enough
                code = PIPE_CODE
            elif unread is not None:
                code = report(WorldModelError(f"standard output cannot be written ({unread.strerror})"))
            elif signals.ended is not None or isinstance(failure, KeyboardInterrupt):
                # Broken off within a library, it can look like any other failure.
                interrupt = failure if isinstance(failure, KeyboardInterrupt) else signals.ended
                assert interrupt is not None, "one of the two is there"
                code = exit_code(interrupt)
                broken_off(interrupt)
            elif failure is not None:
                code = report(failure)
            elif leaving is not None:
                raise leaving
        return code
