"""Who may come in: the token of the link, the address that was asked for, the page that asks.

A page of another site can make a browser send requests here, and by DNS rebinding even read the answers; neither knows
the token, and each is turned away by its Origin or Host before.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[..., Awaitable[Any]], Callable[..., Awaitable[Any]]], Awaitable[None]]

LOOPBACK = ("localhost", "127.0.0.1", "::1")
EVERY_ADDRESS = ("0.0.0.0", "::", "")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self' blob:; script-src 'self' blob: 'wasm-unsafe-eval'; img-src 'self' data: blob:; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
REFUSED = 403
REFUSED_SOCKET = 4403


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware. token: of the link; host, port: what is listened on."""

    def __init__(self, app: App, token: str, host: str, port: int) -> None:
        self.app, self.token, self.host, self.port = app, token, host, port
        self.cookie = f"worldmodel-{port}"  # a browser's cookies do not tell ports apart

    async def __call__(self, scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        problem = self.problem(headers, query)
        if problem:
            await self._refuse(scope, receive, send, problem)
        elif scope["type"] == "http" and scope["path"] == "/" and "token" in query:
            # The token leaves the address: nobody reads it from the screen, or from the browser's history.
            kept = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
            asked = query.get("pixels", [""])[0]
            pixels = f"?pixels={asked}" if asked in ("0", "1") else ""
            await _answer(send, 303, "", {"Location": f"/{pixels}", "Set-Cookie": kept})
        else:
            await self.app(scope, receive, _with_headers(send))

    def problem(self, headers: dict[str, str], query: dict[str, list[str]]) -> str:
        """Why a request is refused, or ""."""
        asked = headers.get("host", "")
        if not self.is_ours(asked):
            return f"this server is not {asked[:80]!r}: use the link that it printed"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != asked.lower():
            return f"pages of {origin[:80]!r} have no business here"
        given = [*query.get("token", ()), *_cookies(headers.get("cookie", ""), self.cookie)]
        if not any(secrets.compare_digest(one.encode(), self.token.encode()) for one in given):
            return "the link's token is missing or wrong: use the whole link that the server printed"
        return ""

    def is_ours(self, asked: str) -> bool:
        """Whether a Host header names this server. Listening on every address, it has as many names as the machine has;
        an address typed as numbers was never looked up, so that nobody can have bent it."""
        try:
            parts = urlsplit(f"//{asked}")
            name, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        if port != self.port:
            return False
        if self.host in EVERY_ADDRESS:
            return name in LOOPBACK or _is_address(name) or name in (socket.gethostname().lower(), socket.getfqdn())
        return name == self.host.lower() or (is_loopback(self.host) and name in LOOPBACK)

    async def _refuse(self, scope: Scope, receive: Callable[..., Any], send: Callable[..., Any], problem: str) -> None:
        if scope["type"] == "http":
            await _answer(send, REFUSED, problem)
            return
        await receive()
        await send({"type": "websocket.close", "code": REFUSED_SOCKET, "reason": problem[:100]})


def _is_address(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _cookies(header: str, name: str) -> Iterable[str]:
    try:
        morsel = SimpleCookie(header).get(name)
    except CookieError:
        return ()
    return () if morsel is None else (morsel.value,)


def _with_headers(send: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def answer(message: Scope) -> None:
        if message["type"] == "http.response.start":
            added = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return answer


async def _answer(
    send: Callable[..., Awaitable[Any]], status: int, text: str, headers: dict[str, str] | None = None
) -> None:
    sent = {"content-type": "text/plain; charset=utf-8", **HEADERS, **(headers or {})}
    listed = [(name.lower().encode(), value.encode()) for name, value in sent.items()]
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": text.encode()})
