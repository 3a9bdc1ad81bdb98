"""The server's addresses: the page, what the page needs, the socket, and the recording."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from client.serve.connection import Connection, Site
from client.serve.room import Room


def build_app(room: Room, site: Site) -> Starlette:
    """The ASGI application; `Guard` goes around it."""

    async def play(socket: WebSocket) -> None:
        await Connection(socket, room, site).run()

    async def world(request: Request) -> Response:
        return JSONResponse({**site.described, "served": True, "bits": site.bits})

    async def recording(request: Request) -> Response:
        file = room.recording(request.query_params.get("player", ""))
        if file is None:
            return PlainTextResponse("nothing is recorded", 404)
        # A copy of what is written so far: whole steps, while the game goes on.
        data = await asyncio.to_thread(file.read_bytes)
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
            Route("/recording", recording),
            WebSocketRoute("/play", play),
            Mount("/", StaticFiles(directory=site.folder)),
        ],
        lifespan=lifespan,
    )
