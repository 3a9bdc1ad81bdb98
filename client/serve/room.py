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

GRACE_S = 30.0  # that a player who has vanished finds the game again
MOST_WAITING = 64

Seat = Callable[[], World]


@dataclass(frozen=True, slots=True)
class Rules:
    """table: of the keys; folder: where games are recorded; keep: whether they stay there when their players are gone,
    so that a game can be gone on with later, on another server too; start, seed: what a new game begins with."""

    table: Mapping[str, str]
    folder: Path
    keep: bool = False
    start: Start = 0
    seed: int = 0
    grace_s: float = GRACE_S


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

    async def enter(self, ident: str | None, connection: object, tell: Callable[[int], object]) -> Guest:
        """The game of that player, or a new one as soon as there is a seat. tell: called with the place in the queue.
        A second connection of a player takes the first one's place. WorldModelError if too many wait."""
        guest = self.guests.get(ident) if ident is not None else None
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
            async with self._moved:
                await self._moved.wait_for(ready)
                return self._free.pop()
        finally:
            self._queue.remove(ticket)
            async with self._moved:
                self._moved.notify_all()

    def _begin(self, ident: str | None, seat: Seat) -> Guest:
        rules, loop, changed = self.rules, asyncio.get_running_loop(), asyncio.Event()
        start: Start = rules.start
        earlier = _recorded(rules.folder, ident) if ident is not None else []
        if earlier and ident is not None:
            start = Resume(earlier[-1])
        else:
            ident = secrets.token_hex(16)
        file = rules.folder / f"{ident}-{len(list(rules.folder.glob(f'{ident}-*{SUFFIX}'))):03d}{SUFFIX}"

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


def _recorded(folder: Path, ident: str) -> list[Path]:
    """A player's recordings that play can go on from, in their order."""
    found = []
    for path in sorted(folder.glob(f"{ident}-*{SUFFIX}")):
        try:
            if read_session(path).steps:
                found.append(path)
        except RecordingError:
            continue  # not a step was written
    return found
