"""`worldmodel serve --ray`: a real cluster of this machine's own, with two replicas."""

import os
import signal
import socket
from pathlib import Path

import numpy as np
import pytest
from serving import Page, Server, serving
from websockets.exceptions import ConnectionClosed, InvalidStatus

from client.options import Serve
from client.serve.cluster import serve_on_a_cluster
from client.serve.connection import ELSEWHERE
from recordings.reader import read_session
from worldmodel.types import WorldModelError

RAY = 'Ray Serve is not installed: pip install "ray[serve]"'


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"record": None}, "--ray needs --record"),
        ({"port": 0}, "--ray needs a --port"),
        ({"replicas": 0}, r"--replicas must lie in 1\.\.1024, got 0"),
    ],
)
def test_what_cannot_be_served_on_a_cluster_is_said(tmp_path, options, said):
    with pytest.raises(WorldModelError, match=said):
        serve_on_a_cluster(Serve(**{"ray": "local", "record": tmp_path, **options}))


@pytest.mark.slow
def test_a_second_replica_starts_for_who_waits_and_takes_over_when_the_first_one_dies(tiny_folder, tmp_path):
    pytest.importorskip("ray.serve", reason=RAY)
    games = tmp_path / "games"
    given = ("--ray", "local", "--replicas", "2", "--players", "1", "--record", str(games), "--port", str(_free_port()))
    with serving(str(tiny_folder), *given, "--engine", "eager", "--threads", "1") as server:
        assert server.ask("/")[0] == 403
        one = _Visitor(server)
        one.plays(until=6)
        two = _Visitor(server)
        two.plays(until=3)
        assert two.waited, "it was told its place, and sent to look elsewhere"
        assert one.process(games) != two.process(games)
        os.kill(one.process(games), signal.SIGKILL)
        with pytest.raises(ConnectionClosed):
            one.page.until(lambda *_: False)
        kept = read_session(games / f"{one.ident}-000.wms")
        two.leaves()  # its seat is the only one, until Ray has another replica
        again = one.plays(until=0)
        assert np.array_equal(again.tokens, kept.steps[-1].tokens), "at most the step being written is lost"
        one.plays(until=3)
        status, data, _ = server.ask(f"/recording?player={two.ident}&token={server.token}")
        assert (status, data[:4]) == (200, (games / f"{two.ident}-000.wms").read_bytes()[:4]), (
            "whichever replica is asked"
        )
    assert len(list(games.glob(f"{one.ident}-*.wms"))) >= 2


class _Visitor:
    """A page that comes back by itself."""

    def __init__(self, server: Server) -> None:
        self.server, self.ident, self.waited = server, None, False
        self.page: Page

    def plays(self, until: int):
        """The first picture with this index or a later one; a new connection first."""
        while True:
            try:
                self._socket = self.server.page(self.ident)
                self.page = self._socket.__enter__()
                self.page.until(lambda page, _: page.world)
            except InvalidStatus:
                continue  # no replica lives just now
            except ConnectionClosed as closed:
                self.waited = self.waited or (closed.rcvd is not None and closed.rcvd.code == ELSEWHERE)
                continue
            self.ident = self.page.world["player"]
            if until:
                self.page.do("play")
            return self.page.until(lambda _, picture: picture is not None and picture.index >= until)

    def leaves(self) -> None:
        self._socket.__exit__(None, None, None)

    def process(self, games: Path) -> int:
        """The replica that writes this player's recording."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if any(os.readlink(file).startswith(f"{games}/{self.ident}") for file in (process / "fd").iterdir()):
                    return int(process.name)
            except OSError:
                continue  # it has ended meanwhile, or is not ours
        raise AssertionError("no process records this game")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
