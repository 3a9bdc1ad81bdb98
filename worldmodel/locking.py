"""One builder at a time: the processes that fill the same folder wait for each other.

A lock of the process (POSIX record lock), not of the open file: a worker that outlives its killed parent does not hold
it, and the system frees it with the process, however that ends. Where there are no such locks, several build at once:
files have names of their own until they are renamed, so that this costs time alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worldmodel.types import WorldModelError

LOCK_FILE = ".lock"
UNFINISHED = ".tmp"  # the ending of what is being written


def unfinished(path: Path) -> Path:
    """Another name beside `path`, of this process alone, to write to before it is renamed."""
    return path.with_name(f"{path.name}.{os.getpid()}{UNFINISHED}")


@contextmanager
def building(folder: Path) -> Iterator[None]:
    """Makes the folder and holds it; waits, and says so, while another process does. What killed builders left
    unfinished is removed. WorldModelError if it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorldModelError(f"{folder} cannot be made ({error.strerror})") from None
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with (folder / LOCK_FILE).open("a") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # which of them, the system chooses
            print(f"another process fills {folder}: waiting for it", file=sys.stderr)
            fcntl.lockf(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            yield
            return
        for path in folder.glob(f"*{UNFINISHED}"):
            path.unlink(missing_ok=True)
        yield
