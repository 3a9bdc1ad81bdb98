"""Seats, who sits in them, and who waits: in the event loop's thread alone."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.play.game import Start
from client.serve.player import Player
from client.sessions.resume import Resume
from recordings.format import SUFFIX, RecordingError
from recordings.reader import read_session
from worldmodel.types import World, WorldModelError

GRACE_S = 30.0
MOST_WAITING = 64

Seat = Callable[[], World]


@dataclass(frozen=True, slots=True)
class Rules:
    """table: of the keys; folder: where games are recorded; keep: whether they stay there when their players are gone,
    so that a game can be gone on with later, on another server too; start, seed: what a new game begins with; grace_s:
    that a player who has vanished finds the game again; patience_s: that a page waits for a seat before it is sent to
    look for one on another server (None: there is no other)."""

    table: Mapping[str, str]
    folder: Path
    keep: bool = False
    start: Start = 0
    seed: int = 0
    grace_s: float = GRACE_S
    patience_s: float | None = None


class ElsewhereError(WorldModelError):
    """There may be a seat on another server by now."""


@dataclass(slots=True)
class Guest:
    """A player, and the connection that plays. changed: set whenever there is something new to send."""

    player: Player
    seat: Seat
    changed: asyncio.Event
    connection: object | None = None
    leaving: asyncio.Task[None] | None = None


class Room:
    """seats: a world for each player at a time."""

    def __init__(self, seats: Sequence[Seat], rules: Rules) -> None:
        self.rules = rules
        self.guests: dict[str, Guest] = {}
        self._free = list(reversed(seats))
        self._queue: list[object] = []
        self._moved = asyncio.Condition()
        self.closing = False

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def recording(self, ident: str) -> Path | None:
        """The file of a player's game, here or, where they stay, on another server that writes to the same folder."""
        guest = self.guests.get(ident)
        if guest is not None and guest.player.file.is_file():
            return guest.player.file
        return next(reversed(self._recorded(ident)), None)

    async def enter(self, ident: str | None, connection: object, tell: Callable[[int], object]) -> Guest:
        """The game of that player, or a new one as soon as there is a seat. tell: called with the place in the queue.
        A second connection of a player takes the first one's place. WorldModelError if too many wait, ElsewhereError if
        it takes too long."""
        guest = self.guests.get(ident) if ident is not None else None
        if guest is not None and self._files(guest.player.ident)[-1:] not in ([], [guest.player.file]):
            await self._remove(guest, 0.0)  # the game has gone on on another server meanwhile
            guest = None
        if guest is None:
            seat = await self._seat(tell)
            guest = self.guests.get(ident) if ident is not None else None
            if guest is not None:  # it came back on another connection meanwhile
                self._free.append(seat)
            else:
                guest = self._begin(ident, seat)
        if guest.leaving is not None:
            guest.leaving.cancel()
            guest.leaving = None
        guest.connection = connection
        guest.changed.set()
        return guest

    def leave(self, guest: Guest, connection: object) -> None:
        """The connection has ended; unless another one has taken its place, the game waits for a while."""
        if guest.connection is not connection:
            return
        guest.connection = None
        guest.player.leave()
        wait = self.rules.grace_s if guest.player.begun else 0.0
        guest.leaving = asyncio.create_task(self._remove(guest, wait))

    async def close(self) -> None:
        """Ends all games, and their recordings."""
        self.closing = True
        guests = list(self.guests.values())
        for guest in guests:
            if guest.leaving is not None:
                guest.leaving.cancel()
            guest.changed.set()
        await asyncio.gather(*(self._remove(guest, 0.0) for guest in guests))

    async def _seat(self, tell: Callable[[int], object]) -> Seat:
        if len(self._queue) >= MOST_WAITING:
            raise WorldModelError(f"{MOST_WAITING} players wait already: come back later")
        ticket = object()
        self._queue.append(ticket)
        told = 0

        def ready() -> bool:
            nonlocal told
            place = self._queue.index(ticket) + 1
            free = place == 1 and bool(self._free)
            if not free and place != told:
                told = place
                tell(place)
            return free

        try:
            async with self._moved, asyncio.timeout(self.rules.patience_s):
                await self._moved.wait_for(ready)
                return self._free.pop()
        except TimeoutError:
            raise ElsewhereError("there is no seat here yet") from None
        finally:
            self._queue.remove(ticket)
            async with self._moved:
                self._moved.notify_all()

    def _begin(self, ident: str | None, seat: Seat) -> Guest:
        rules, loop, changed = self.rules, asyncio.get_running_loop(), asyncio.Event()
        start: Start = rules.start
        earlier = self._recorded(ident) if ident is not None else []
        if earlier and ident is not None:
            start = Resume(earlier[-1])
        else:
            ident = secrets.token_hex(16)
        file = rules.folder / f"{ident}-{len(self._files(ident)):03d}{SUFFIX}"

        def notify() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(changed.set)

        guest = Guest(Player(ident, seat, rules.table, file, notify, start, rules.seed), seat, changed)
        self.guests[ident] = guest
        return guest

    async def _remove(self, guest: Guest, after: float) -> None:
        await asyncio.sleep(after)
        if self.guests.get(guest.player.ident) is guest:
            del self.guests[guest.player.ident]
        if await asyncio.to_thread(guest.player.stop):
            self._free.append(guest.seat)
        for file in guest.player.uploads.parent.glob(f"{guest.player.uploads.stem}.*"):
            if file != guest.player.file or not self.rules.keep:
                file.unlink(missing_ok=True)
        async with self._moved:
            self._moved.notify_all()

    def _files(self, ident: str) -> list[Path]:
        """Of a player's games, by every server that records here, in their order."""
        return sorted(self.rules.folder.glob(f"{ident}-*{SUFFIX}"))

    def _recorded(self, ident: str) -> list[Path]:
        """Those that play can go on from."""
        return [path for path in self._files(ident) if _has_steps(path)]


def _has_steps(path: Path) -> bool:
    try:
        return bool(read_session(path).steps)
    except RecordingError:
        return False  # not a step was written
