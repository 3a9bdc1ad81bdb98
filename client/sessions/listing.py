"""`worldmodel sessions`: a table of the recordings in a folder, and a thumbnail strip of each."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tqdm import tqdm

from client.sessions.playback import date_of, name_of
from client.sessions.strips import make_strip
from client.sessions.timeline import clock_of
from recordings.check import RATES
from recordings.format import SUFFIX
from recordings.reader import Session, read_session
from recordings.values import printable
from worldmodel.types import WorldModelError

COLUMNS = ("file", "steps", "length", "size", "world", "weights", "date", "state", "strip")
WIDEST = 200  # characters of a cell


def row_of(path: Path, folder: Path, strips: bool) -> tuple[str, ...]:
    """One line of the table. A file that cannot be read says so in its state, a strip that cannot be made in its
    place. strips: they are made where they are missing."""
    name = str(path.relative_to(folder))
    try:
        session = read_session(path)
        size = f"{path.stat().st_size / 1024:.0f} KiB"
    except (WorldModelError, OSError) as error:
        return (name, *["-"] * 6, str(error), "-")
    header = session.header
    bookmarks = sum(marker.kind == "bookmark" for marker in session.markers)
    state = "whole" if session.ended else f"recovered, {session.lost} bytes lost"
    if session.problem is not None:
        state = f"{state} ({session.problem})"
    return (
        name,
        str(len(session.steps)),
        clock_of(len(session.steps), header.tick_rate) if RATES[0] <= header.tick_rate <= RATES[1] else "-",
        size,
        name_of(header),
        header.weights[:8],
        date_of(header),
        f"{state}, {bookmarks} bookmarks" if bookmarks else state,
        _strip(path, session, folder) if strips and session.steps else "-",
    )


def _strip(path: Path, session: Session, folder: Path) -> str:
    try:
        return str(make_strip(path, session).relative_to(folder))
    except WorldModelError as error:
        return str(error)


def list_sessions(folder: Path, strips: bool = True) -> int:
    """Prints the table. strips: thumbnails are made beside the files. WorldModelError if there is no such folder or
    nothing in it. Folders that may not be read are named on stderr."""
    if not folder.is_dir():
        raise WorldModelError(f"there is no folder {folder}: R in the window, or --record FILE, makes recordings")
    closed: list[OSError] = []
    paths = sorted(
        Path(at) / name
        for at, below, files in os.walk(folder, onerror=closed.append)
        for name in (*files, *below)
        if name.endswith(SUFFIX)
    )
    for error in closed:
        print(f"{printable(str(error.filename))} cannot be read: {error.strerror}", file=sys.stderr)
    if not paths:
        raise WorldModelError(f"no recordings (*{SUFFIX}) in {folder}")
    found = (row_of(path, folder, strips) for path in tqdm(paths, unit="session", file=sys.stderr, disable=None))
    rows = [COLUMNS, *(tuple(printable(cell, WIDEST) for cell in row) for row in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0
