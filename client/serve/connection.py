"""One page's socket: its messages to its player, and its player's pictures to it, no faster than it shows them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from client.serve.files import Incoming, Opener
from client.serve.player import Player, Shot
from client.serve.protocol import (
    FRAME,
    JPEG,
    TOKENS,
    VERSION,
    Do,
    Hello,
    Input,
    Pixels,
    ProtocolError,
    Shown,
    Upload,
    pack_jpeg,
    pack_tokens,
    read_message,
)
from client.serve.room import ElsewhereError, Guest, Room
from worldmodel.failure import report_failure
from worldmodel.types import WorldModelError

IN_FLIGHT = 3  # pictures that may be on their way to a page
HELLO_S = 20.0  # that a page may take for its first message
RATE, BURST = 200.0, 600.0  # messages a second, and at once
# Why a socket is closed.
BAD_MESSAGE, TAKEN_OVER, OVER, FULL, ELSEWHERE = 4400, 4409, 4410, 4429, 4503


@dataclass(slots=True)
class Allowance:
    """A rate limit: `take` is False once more is taken than `rate` a second, beyond a burst."""

    rate: float
    burst: float
    _left: float = -1.0
    _at: float = 0.0

    def take(self, now: float) -> bool:
        self._left = self.burst if self._left < 0 else min(self.burst, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass(slots=True)
class Flow:
    """Pictures that are sent and not yet shown: who cannot follow misses some, and nobody waits."""

    sent: int = 0  # number of the last
    missed: int = 0
    _waiting: int = 0

    def wants(self, shot: Shot | None) -> bool:
        return shot is not None and shot.number > self.sent and self._waiting < IN_FLIGHT

    def send(self, number: int) -> None:
        if self.sent:
            self.missed += number - self.sent - 1
        self.sent = number
        self._waiting += 1

    def shown(self, number: int) -> None:
        if number <= self.sent:
            self._waiting = max(0, self._waiting - 1)


@dataclass(frozen=True, slots=True)
class Site:
    """described: what a page is told of the world (JSON); codes: what a page calls a key -> what we do; bits: of a
    token on the wire (None: this world has none, and JPEGs are sent); folder: static files, index.html among them;
    opener: of recordings, where there can be any."""

    described: Mapping[str, Any]
    codes: Mapping[str, str]
    bits: int | None
    folder: Path
    opener: Opener | None


class Connection:
    def __init__(self, socket: WebSocket, room: Room, site: Site) -> None:
        self._socket, self._room, self._site, self._bits = socket, room, site, site.bits
        self._allowance = Allowance(RATE, BURST)
        self._flow = Flow()
        self._told: dict[str, Any] = {}
        self._guest: Guest | None = None
        self._incoming: Incoming | None = None

    async def run(self) -> None:
        """Until the page or the game ends. Whatever the page sends, the server lives."""
        await self._socket.accept()
        try:
            async with asyncio.timeout(HELLO_S):
                hello = await self._receive()
            if not isinstance(hello, Hello):
                raise ProtocolError("the first message is hello")
            await self._play(hello)
        except (WebSocketDisconnect, TimeoutError):
            pass
        except ElsewhereError as error:
            await self._close(ELSEWHERE, str(error))
        except WorldModelError as error:
            await self._close(BAD_MESSAGE if isinstance(error, ProtocolError) else FULL, str(error))
        finally:
            self._drop_file()
            if self._guest is not None:
                self._room.leave(self._guest, self)
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await self._socket.close()

    async def _play(self, hello: Hello) -> None:
        reading: asyncio.Task[None] | None = None
        try:
            self._guest = guest = await self._enter(hello)
            self._bits = None if hello.pixels else self._bits
            world = {"kind": "world", "version": VERSION, "player": guest.player.ident, **self._site.described}
            await self._send({**world, "bits": self._bits})
            reading = asyncio.create_task(self._read(guest))
            reading.add_done_callback(lambda _: guest.changed.set())
            await self._write(guest, reading)
        finally:
            if reading is not None:
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, WorldModelError):
                    await reading

    async def _enter(self, hello: Hello) -> Guest:
        """Waits for a seat; the page's place in the queue is told, and its leaving seen."""
        places: asyncio.Queue[int] = asyncio.Queue()
        entering = asyncio.create_task(self._room.enter(hello.player, self, places.put_nowait))
        leaving = asyncio.create_task(self._receive())
        try:
            while not entering.done():
                telling = asyncio.create_task(places.get())
                done, _ = await asyncio.wait({entering, leaving, telling}, return_when=asyncio.FIRST_COMPLETED)
                if telling in done:
                    await self._send({"kind": "queue", "place": telling.result()})
                else:
                    telling.cancel()
                if leaving in done:
                    leaving.result()  # a disconnect; anything else is ignored while there is no game
                    leaving = asyncio.create_task(self._receive())
            return entering.result()
        finally:
            leaving.cancel()
            if not entering.done():
                entering.cancel()
            elif not entering.cancelled() and entering.exception() is None and self._guest is None:
                self._guest = entering.result()  # for `run` to leave, if the page has gone just now

    async def _read(self, guest: Guest) -> None:
        player = guest.player
        while True:
            message = await self._receive()
            if isinstance(message, Shown):
                self._flow.shown(message.number)
                guest.changed.set()
            elif isinstance(message, Input):
                player.handle(message)
            elif isinstance(message, Do):
                # Ending a replay waits for its last step.
                await asyncio.to_thread(player.do, message)
            elif isinstance(message, Pixels):
                self._bits = None
            elif isinstance(message, (Upload, bytes)):
                await self._take_file(message, player)
            else:
                raise ProtocolError("hello is said once")

    async def _take_file(self, message: Upload | bytes, player: Player) -> None:
        """A file's beginning, or a piece of it; the page is told when bytes may come, and how it ended."""
        try:
            if isinstance(message, Upload):
                self._drop_file()
                self._incoming = Incoming(message, player, self._site.opener)
                await self._send({"kind": "file", "wanted": True})
            elif self._incoming is None:
                return  # the rest of a file that could not be kept
            else:
                await self._incoming.add(message)
            if self._incoming.complete:
                await self._incoming.use()
                await self._end_file("")
        except ProtocolError:
            raise
        except WorldModelError as error:
            await self._end_file(str(error))

    async def _end_file(self, problem: str) -> None:
        self._drop_file()
        await self._send({"kind": "file", "wanted": False, "text": problem})

    def _drop_file(self) -> None:
        if self._incoming is not None:
            self._incoming.close()
            self._incoming = None

    async def _write(self, guest: Guest, reading: asyncio.Task[None]) -> None:
        player = guest.player
        while not self._room.closing and guest.connection is self:
            guest.changed.clear()
            state, shot = player.news()
            if state != self._told:
                self._told = state
                await self._send(state)
            if shot is not None and self._flow.wants(shot):
                self._flow.send(shot.number)
                await self._socket.send_bytes(await self._packed(shot))
                continue
            if player.finished:
                await self._end(player.error)
                return
            if reading.done():
                reading.result()
                return
            await guest.changed.wait()
        if guest.connection is not self:
            await self._close(TAKEN_OVER, "this game is played on another page now")
        else:
            await self._close(OVER, "the server ends")

    async def _end(self, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, WorldModelError):
            report_failure(error)
        told = str(error) if isinstance(error, WorldModelError) else "a fault on the server's side"
        await self._close(OVER, f"the game has stopped: {told}")

    async def _packed(self, shot: Shot) -> bytes:
        picture, tokens = shot.picture, shot.picture.tokens
        if self._bits is not None and tokens is not None:
            kind, bits, payload = TOKENS, self._bits, pack_tokens(tokens, self._bits)
        else:
            kind, bits = JPEG, 0
            payload = await asyncio.to_thread(pack_jpeg, picture.frame)
        numbers = (shot.number & 0xFFFFFFFF, picture.index & 0xFFFFFFFF, shot.time, self._flow.missed)
        return FRAME.pack(VERSION, kind, bits, *numbers) + payload

    async def _receive(self) -> Any:
        """The next message, or a piece of a file. WebSocketDisconnect at the end; ProtocolError for what is neither, or
        too many."""
        received = await self._socket.receive()
        if received["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(received.get("code") or 1006)
        if not self._allowance.take(time.monotonic()):
            raise ProtocolError(f"more than {RATE:.0f} messages a second")
        text = received.get("text")
        return received["bytes"] if text is None else read_message(text, self._site.codes)

    async def _send(self, message: dict[str, Any]) -> None:
        await self._socket.send_text(json.dumps(message, allow_nan=False, default=_plain))

    async def _close(self, code: int, reason: str) -> None:
        """With the reason as a message before: a close frame has room for 123 bytes."""
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await self._send({"kind": "error", "code": code, "text": reason})
            await self._socket.close(code)


def _plain(value: Any) -> Any:
    """What the JSON of a message knows no form for."""
    return value.item()  # a number of NumPy's
