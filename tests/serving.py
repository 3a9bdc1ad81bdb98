"""A server in a process of its own, and a page without a browser: what the tests of `worldmodel serve` share."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from websockets.sync.client import ClientConnection, connect

from client.serve.protocol import FRAME, MAX_CHUNK, TOKENS, VERSION
from recordings.reader import read_session

PATIENCE_S = 120.0  # a busy machine needs some


@dataclass
class Server:
    link: str
    process: subprocess.Popen[str]

    @property
    def token(self) -> str:
        return self.link.partition("token=")[2]

    @property
    def host(self) -> str:
        return urlsplit(self.link).netloc

    def ask(self, path: str, data: bytes | None = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of a request. headers: Host, Origin, Cookie, ..."""
        request = urllib.request.Request(f"http://{self.host}{path}", data, headers)
        try:
            with urllib.request.build_opener(_Stay).open(request, timeout=PATIENCE_S) as answer:
                return answer.status, answer.read(), dict(answer.headers)
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read(), dict(answer.headers)

    @contextmanager
    def page(self, player: str | None = None, pixels: bool = False, **options: Any) -> Iterator[Page]:
        with self.socket(**options) as socket:
            socket.send(json.dumps({"kind": "hello", "version": VERSION, "player": player, "pixels": pixels}))
            yield Page(socket)

    def socket(self, token: str | None = None, **options: Any) -> ClientConnection:
        address = f"ws://{self.host}/play?token={self.token if token is None else token}"
        return connect(address, open_timeout=PATIENCE_S, **options)

    def steps(self, player: str) -> int:
        """How many a player's recording has so far."""
        status, data, _ = self.ask(f"/recording?player={player}&token={self.token}")
        assert status == 200, data
        with tempfile.NamedTemporaryFile(suffix=".wms") as file:
            Path(file.name).write_bytes(data)
            return len(read_session(Path(file.name)).steps)

    def memory(self) -> int:
        """Bytes that the process holds."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * 4096


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass
class Picture:
    number: int
    index: int
    time: float
    missed: int
    tokens: np.ndarray | None
    jpeg: bytes


class Page:
    """What the page's script does, without a picture. `world`, `state`, `file`: the newest messages of these
    kinds."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.world: dict[str, Any] = {}
        self.state: dict[str, Any] = {}
        self.file: dict[str, Any] = {}
        self.places: list[int] = []
        self.error = ""

    def do(self, what: str, value: float | None = None) -> None:
        self.socket.send(json.dumps({"kind": "do", "what": what, "value": value}))

    def input(self, *events: list[Any], time: float = 0.0) -> None:
        self.socket.send(json.dumps({"kind": "input", "time": time, "events": events}))

    def upload(self, what: str, data: bytes) -> str:
        """Sends a file; what is wrong with it, or ""."""
        self.file = {}
        self.socket.send(json.dumps({"kind": "file", "what": what, "size": len(data)}))
        self.until(lambda page, _: page.file)
        if not self.file["wanted"]:
            return self.file["text"]
        for at in range(0, len(data), MAX_CHUNK):
            self.socket.send(data[at : at + MAX_CHUNK])
        self.until(lambda page, _: not page.file["wanted"])
        return self.file["text"]

    def next(self, shown: bool = True) -> Picture:
        """The next picture; shown: it is said to be on the screen."""
        while True:
            message = self.socket.recv(PATIENCE_S)
            if isinstance(message, bytes):
                picture = self._picture(message)
                if shown:
                    self.socket.send(json.dumps({"kind": "shown", "number": picture.number}))
                return picture
            self._told(json.loads(message))

    def until(self, ready: Any) -> Picture | None:
        """Takes messages until ready(self, newest picture or None); that picture."""
        picture = None
        while not ready(self, picture):
            message = self.socket.recv(PATIENCE_S)
            if isinstance(message, bytes):
                picture = self._picture(message)
                self.socket.send(json.dumps({"kind": "shown", "number": picture.number}))
            else:
                self._told(json.loads(message))
        return picture

    def _told(self, message: dict[str, Any]) -> None:
        kind = message["kind"]
        if kind == "queue":
            self.places.append(message["place"])
        elif kind == "error":
            self.error = message["text"]
        else:
            assert kind in ("world", "state", "file"), kind
            setattr(self, kind, message)

    def _picture(self, data: bytes) -> Picture:
        version, kind, bits, number, index, time, missed = FRAME.unpack_from(data)
        assert version == VERSION
        payload = data[FRAME.size :]
        if kind != TOKENS:
            return Picture(number, index, time, missed, None, payload)
        rows = np.unpackbits(np.frombuffer(payload, np.uint8))
        rows = rows[: self.world["places"] * bits].reshape(-1, bits).astype(np.int64)
        return Picture(number, index, time, missed, (rows << np.arange(bits)[::-1]).sum(1).astype(np.int32), b"")


def answered(picture: Picture | None) -> bool:
    return picture is not None and not math.isnan(picture.time)


@contextmanager
def serving(world: str, *options: str) -> Iterator[Server]:
    port = () if "--port" in options else ("--port", "0")
    command = [sys.executable, "-m", "worldmodel", "serve", "--world", world, *port, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found, process.wait(PATIENCE_S)
        yield Server(found[0], process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
