"""The door of a script that is one of the commands."""

from __future__ import annotations

import sys


def script(*words: str) -> int:
    """What a script does that is the door of the command of these words. Returns the exit code."""
    from client.__main__ import main

    return main([*words, *sys.argv[1:]])
