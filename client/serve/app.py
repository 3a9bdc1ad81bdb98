"""The server's addresses: the page, what the page needs, the socket, and files in and out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from client.serve.connection import Connection
from client.serve.room import Guest, Room
from client.sessions.playback import Playback
from client.sessions.timeline import Timeline
from worldmodel.types import WorldModelError

MAX_PICTURE = 20 << 20  # bytes of a picture's file
MAX_SESSION = 32 << 20
MAX_UPLOADS = 4  # at a time

Opener = Callable[[Path], tuple[Callable[[], Playback], Timeline]]
"""A recording's file -> what shows it. WorldModelError if it cannot be shown here."""


@dataclass(frozen=True, slots=True)
class Site:
    """described: what a page is told of the world (JSON); codes: what a page calls a key -> what we do; bits: of a
    token on the wire, or None; folder: static files, index.html among them; opener: of recordings, where there can be
    any."""

    described: Mapping[str, Any]
    codes: Mapping[str, str]
    bits: int | None
    folder: Path
    opener: Opener | None


def build_app(room: Room, site: Site) -> Starlette:
    """The ASGI application; `Guard` goes around it."""
    uploads = asyncio.Semaphore(MAX_UPLOADS)

    async def play(socket: WebSocket) -> None:
        await Connection(socket, room, site.codes, site.described, site.bits).run()

    async def world(request: Request) -> Response:
        return JSONResponse({**site.described, "served": True, "bits": site.bits})

    async def take_picture(request: Request) -> Response:
        return await _upload(request, room, uploads, MAX_PICTURE, ".picture", open_picture)

    async def open_picture(guest: Guest, file: Path) -> None:
        guest.player.open_picture(file)  # what is wrong with it is told by a notice

    async def take_session(request: Request) -> Response:
        return await _upload(request, room, uploads, MAX_SESSION, ".wms", open_session)

    async def open_session(guest: Guest, file: Path) -> None:
        if site.opener is None:
            raise WorldModelError("recordings are shown where a neural world is played")
        make, timeline = await asyncio.to_thread(site.opener, file)
        await asyncio.to_thread(guest.player.replay, make, timeline)

    async def recording(request: Request) -> Response:
        guest = room.guests.get(request.query_params.get("player", ""))
        if guest is None or not guest.player.file.is_file():
            return PlainTextResponse("nothing is recorded", 404)
        # A copy of what is written so far: whole steps, while the game goes on.
        data = await asyncio.to_thread(guest.player.file.read_bytes)
        named = {"Content-Disposition": 'attachment; filename="session.wms"'}
        return Response(data, media_type="application/octet-stream", headers=named)

    async def index(request: Request) -> Response:
        return FileResponse(site.folder / "index.html", headers={"Cache-Control": "no-store"})

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await room.close()

    return Starlette(
        routes=[
            Route("/", index),
            Route("/world.json", world),
            Route("/picture", take_picture, methods=["POST"]),
            Route("/session", take_session, methods=["POST"]),
            Route("/recording", recording),
            WebSocketRoute("/play", play),
            Mount("/", StaticFiles(directory=site.folder)),
        ],
        lifespan=lifespan,
    )


async def _upload(
    request: Request, room: Room, uploads: asyncio.Semaphore, most: int, suffix: str, use: Callable[[Guest, Path], Any]
) -> Response:
    """A file of a player's, at most `most` bytes, to `use`. What is wrong with it is one sentence."""
    guest = room.guests.get(request.query_params.get("player", ""))
    if guest is None:
        return PlainTextResponse("no such player", 404)
    if uploads.locked():
        return PlainTextResponse("too many files at once: try again", 429)
    file = guest.player.uploads.with_suffix(suffix)
    async with uploads:
        try:
            with file.open("wb") as out:
                size = 0
                async for part in request.stream():
                    size += len(part)
                    if size > most:
                        return PlainTextResponse(f"the file is larger than {most >> 20} MB", 413)
                    out.write(part)
            await use(guest, file)
        except ClientDisconnect:
            return PlainTextResponse("the page is gone", 400)
        except WorldModelError as error:
            return PlainTextResponse(str(error).replace(str(file), "the file"), 422)
        except OSError as error:
            return PlainTextResponse(f"the server cannot keep the file ({error.strerror})", 507)
        finally:
            if suffix != ".picture":  # a picture is read by the worker, and replaced by the next
                file.unlink(missing_ok=True)
    return PlainTextResponse("")
