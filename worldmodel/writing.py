"""Files that are whole, or not there: written beside their name and then renamed. What the system refuses, a full disk
above all, is one sentence, whichever library was told of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from worldmodel.locking import unfinished
from worldmodel.types import WorldModelError

_NUMBER = re.compile(r"\(os error (\d+)\)")  # as libraries in Rust tell one


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """The name to write to, which becomes `path` at the end; of what fails, nothing stays. WorldModelError where the
    system refuses."""
    temporary = unfinished(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except WorldModelError:  # of what was to be written
        raise
    except Exception as error:
        reason = refusal(error)
        if reason is None:
            raise
        raise WorldModelError(f"{path} cannot be written ({reason})") from None
    finally:
        temporary.unlink(missing_ok=True)


def refusal(error: BaseException) -> str | None:
    """What the system has said, if that is what an error comes from: some libraries raise one of their own over it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause.strerror or str(cause)
        if told := _NUMBER.search(str(cause)):
            return os.strerror(int(told[1]))
        cause = cause.__cause__ if cause.__suppress_context__ else cause.__context__
    return None


def new_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap:
    """A .npy file to fill. OSError if there is no room for it: a system ends a program that fills what has none."""
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
