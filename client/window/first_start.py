"""Whether this user has seen the keys before: an empty file, where programs keep what they remember."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

MARK = "keys-shown"


def mark_file() -> Path:
    """The file that is there once the keys have been shown."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Application Support"
    else:
        base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(os.path.expanduser(base)) / "worldmodel" / MARK


def remembered(mark: Path) -> bool:
    """Is the file there?"""
    return os.path.exists(mark)  # False, too, where it may not be looked for


def remember(mark: Path) -> None:
    """Makes the file. Where that cannot be, the keys are shown once more the next time."""
    with contextlib.suppress(OSError):
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
