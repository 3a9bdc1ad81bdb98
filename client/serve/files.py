"""A file that comes over a page's socket, in pieces, and what it is for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from client.serve.player import Player
from client.serve.protocol import MAX_CHUNK, MAX_FILE, ProtocolError, Upload
from client.sessions.playback import Playback
from client.sessions.timeline import Timeline
from worldmodel.types import WorldModelError

Opener = Callable[[Path], tuple[Callable[[], Playback], Timeline]]
"""A recording's file -> what shows it. WorldModelError if it cannot be shown here."""


class Incoming:
    """opener: of recordings, where there can be any. WorldModelError for a file that is not taken."""

    def __init__(self, upload: Upload, player: Player, opener: Opener | None) -> None:
        most = MAX_FILE[upload.what]
        if upload.size > most:
            raise WorldModelError(f"the file is larger than {most >> 20} MB")
        if upload.what == "session" and opener is None:
            raise WorldModelError("recordings are shown where a neural world is played")
        self._what, self._left, self._player, self._opener = upload.what, upload.size, player, opener
        self._path = player.uploads.with_suffix(f".{upload.what}")
        self._file: BinaryIO = self._open()

    def _open(self) -> BinaryIO:
        try:
            return self._path.open("wb")
        except OSError as error:
            raise _not_kept(error) from None

    @property
    def complete(self) -> bool:
        return self._left == 0

    async def add(self, piece: bytes) -> None:
        """ProtocolError for more than was said."""
        if not 0 < len(piece) <= min(MAX_CHUNK, self._left):
            raise ProtocolError(f"a piece of {len(piece)} bytes, of a file that lacks {self._left}")
        self._left -= len(piece)
        try:
            await asyncio.to_thread(self._file.write, piece)
        except OSError as error:
            raise _not_kept(error) from None

    async def use(self) -> None:
        """The game goes on from the picture, or the recording is watched. WorldModelError if it is neither."""
        try:
            self._file.close()
            if self._what == "picture":
                self._player.open_picture(self._path)  # what is wrong with it is told by a notice
                return
            assert self._opener is not None, "checked at the beginning"
            make, timeline = await asyncio.to_thread(self._opener, self._path)
            await asyncio.to_thread(self._player.replay, make, timeline)
        except OSError as error:
            raise _not_kept(error) from None
        except WorldModelError as error:
            raise WorldModelError(str(error).replace(str(self._path), "the file")) from None

    def close(self) -> None:
        """A picture is read by the worker, and replaced by the next; a recording has been read."""
        with contextlib.suppress(OSError):  # told with the piece that could not be written
            self._file.close()
        if self._what != "picture" or not self.complete:
            self._path.unlink(missing_ok=True)


def _not_kept(error: OSError) -> WorldModelError:
    return WorldModelError(f"the server cannot keep the file ({error.strerror})")
