"""`worldmodel serve`: makes the world ready for so many players, prints the link, and serves until it is ended."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from client.options import Serve
from client.serve.guard import Guard, is_loopback
from client.serve.protocol import MAX_CHUNK
from client.serve.site import announce, bindings_of, check, prepare, rules_of
from worldmodel.ending import ENDING, Ended
from worldmodel.types import WorldModelError

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from client.serve.room import Room

BACKLOG = 128
PING_S = 20.0  # a socket that does not answer for so long is gone
END_S = 5  # that connections have to end


def serve(options: Serve) -> int:
    """Until a signal ends it (raised as Ended). WorldModelError for what cannot be served."""
    check(options)
    if options.ray is not None:
        from client.serve.cluster import serve_on_a_cluster

        return serve_on_a_cluster(options)
    table = bindings_of(options)
    with _listening(options.host, options.port) as listener, tempfile.TemporaryDirectory(prefix="worldmodel-") as made:
        port = listener.getsockname()[1]
        folder = Path(made)
        rules = rules_of(options, table, folder / "games")
        seats, site = prepare(options, table, folder / "page")
        from client.serve.app import build_app
        from client.serve.room import Room

        room = Room(seats, rules)
        token = secrets.token_urlsafe(24)
        announce(options.host, port, token)
        number = asyncio.run(_run(build_app(room, site), room, Guard, token, options.host, port, listener))
    if number is not None:
        raise Ended(number)
    return 0


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that is bound before any work is done."""
    try:
        found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(found[0], socket.SOCK_STREAM)
    except OSError as error:
        raise WorldModelError(f"--host {host!r} is no address of this machine ({error.strerror})") from None
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(found[4])
            listener.listen(BACKLOG)
        except OSError as error:
            way = "give another --port" if host and is_loopback(host) else "give another --host or --port"
            raise WorldModelError(f"cannot listen on {host} port {port} ({error.strerror}): {way}") from None
        yield listener


async def _run(
    app: Starlette, room: Room, guard: type[Guard], token: str, host: str, port: int, listener: socket.socket
) -> int | None:
    """Serves; the number of the signal that ended it."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:  # the loop's own handlers, below, are for all of ours
            yield

    config = uvicorn.Config(
        guard(app, token, host, port),  # type: ignore[arg-type]
        log_level="warning",
        access_log=False,  # it would hold the token
        server_header=False,
        ws_max_size=MAX_CHUNK,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        timeout_graceful_shutdown=END_S,
        lifespan="on",
    )
    server, ended, loop = Server(config), [], asyncio.get_running_loop()

    def end(number: int) -> None:
        ended.append(number)
        server.should_exit = True

    for number in ENDING:
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, end, number)
    await server.serve(sockets=[listener])
    return ended[0] if ended else None
