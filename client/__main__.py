"""The door of the command `worldmodel`, and of `python -m client`: light, so that Ctrl-C is quiet from the first
moment on."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from worldmodel.ending import leave_at_once


def main(argv: Sequence[str] | None = None) -> int:
    """argv: instead of the command line's. Returns the exit code."""
    leave_at_once()
    from client.cli import main as command  # takes a fifth of a second, in which nothing is open

    return command(argv)


if __name__ == "__main__":
    sys.exit(main())
