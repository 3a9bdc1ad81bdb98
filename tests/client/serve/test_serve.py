"""`worldmodel serve`: who comes in, what is understood, several players, and what is left when one goes."""

import json
import random
import signal
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
from mutate import ODD, TEXTS, mutated
from serving import PATIENCE_S, answered, serving
from websockets.exceptions import ConnectionClosed, InvalidStatus

from client.play.bindings import DEFAULT_BINDINGS, table_of
from client.serve.connection import IN_FLIGHT, Allowance, Flow
from client.serve.guard import Guard
from client.serve.player import Shot
from client.serve.protocol import COMMANDS, MAX_MESSAGE, ProtocolError, pack_tokens, read_message
from client.web.keys import page_codes
from recordings.reader import read_session
from worldmodel.tokenizers.action import ActionTokenizer
from worldmodel.types import Action, WorldModelError

CODES = page_codes()


@pytest.fixture(scope="module")
def server(tiny_folder):
    """A seat is kept for a while when its player goes: there are enough for all tests."""
    with serving(str(tiny_folder), "--players", "16", "--engine", "eager") as server:
        yield server


# --- who comes in


@pytest.mark.parametrize(
    ("host", "asked", "ours"),
    [
        ("127.0.0.1", "127.0.0.1:8000", True),
        ("127.0.0.1", "localhost:8000", True),
        ("127.0.0.1", "LOCALHOST:8000", True),
        ("127.0.0.1", "localhost:8001", False),
        ("127.0.0.1", "localhost", False),
        ("127.0.0.1", "evil.example:8000", False),
        ("127.0.0.1", "192.168.0.7:8000", False),
        ("127.0.0.1", "127.0.0.1:8000.evil.example", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "[::1:8000", False),
        ("0.0.0.0", "192.168.0.7:8000", True),
        ("0.0.0.0", "[fe80::1]:8000", True),
        ("0.0.0.0", "evil.example:8000", False),
        ("game.example", "game.example:8000", True),
        ("game.example", "localhost:8000", False),
    ],
)
def test_only_names_of_the_server_are_answered(host, asked, ours):
    assert Guard(None, "t", host, 8000).is_ours(asked) is ours


def test_the_link_opens_the_page_and_the_token_leaves_the_address(server):
    status, _, headers = server.ask(f"/?token={server.token}")
    assert (status, headers["location"]) == (303, "/")
    assert server.token in headers["set-cookie"]
    assert "HttpOnly" in headers["set-cookie"]
    cookie = headers["set-cookie"].partition(";")[0]
    status, page, headers = server.ask("/", Cookie=cookie)
    assert (status, b"<canvas" in page, headers["x-content-type-options"]) == (200, True, "nosniff")
    assert server.ask("/page.js", Cookie=cookie)[0] == 200
    assert json.loads(server.ask("/world.json", Cookie=cookie)[1])["served"]
    for path in ("/../README.md", "/%2e%2e/README.md", "/page.js/x", "/games"):
        assert server.ask(path, Cookie=cookie)[0] == 404


@pytest.mark.parametrize("path", ["/", "/page.js", "/world.json", "/recording"])
def test_without_the_token_nothing_is_given(server, path):
    for query in ("", "?token=", "?token=wrong", f"?token={'x' * 5000}"):
        status, body, _ = server.ask(path + query)
        assert (status, b"token is missing or wrong" in body) == (403, True)


def test_other_pages_and_bent_names_are_refused(server):
    with_token = f"/world.json?token={server.token}"
    assert server.ask(with_token, Origin=f"http://{server.host}")[0] == 200
    for origin in ("http://evil.example", "null", f"http://{server.host}.evil.example", "http://127.0.0.1:1"):
        assert server.ask(with_token, Origin=origin)[0] == 403
    for host in ("evil.example", f"evil.example:{server.host.rpartition(':')[2]}"):
        assert server.ask(with_token, Host=host)[0] == 403
    with pytest.raises(InvalidStatus), server.socket(origin="http://evil.example"):
        pass
    with pytest.raises(InvalidStatus), server.socket("wrong"):
        pass
    with server.page(origin=f"http://{server.host}") as page:
        page.next()


# --- what is understood


def messages():
    events = [["down", "KeyW"], ["move", 3, -2.5], ["wheel", 1], ["up", "KeyW"], ["down", "Mouse0"], ["away"]]
    return [
        {"kind": "hello", "version": 1, "player": "0" * 32, "pixels": False},
        {"kind": "input", "time": 12.5, "events": events},
        {"kind": "shown", "number": 3},
        {"kind": "pixels"},
        {"kind": "file", "what": "session", "size": 1 << 20},
        *({"kind": "do", "what": what, "value": 1} for what in COMMANDS),
    ]


def test_ten_thousand_mutated_messages_are_used_or_refused():
    rng = random.Random(7)
    used, refused = 0, []
    for _ in range(10_000):
        message = json.dumps(mutated(rng.choice(messages()), rng))
        if rng.random() < 0.2:
            at = rng.randrange(len(message) + 1)
            message = message[:at] + rng.choice(TEXTS) + message[at:]
        try:
            read_message(message, CODES)
            used += 1
        except ProtocolError as error:
            refused.append(str(error))
    assert min(used, len(refused)) > 1000
    assert max(map(len, refused)) < 300
    for odd in (*ODD, *TEXTS):
        with pytest.raises(ProtocolError):
            read_message(json.dumps(odd) if not isinstance(odd, str) else odd, CODES)


def test_a_server_lives_through_what_pages_send(server):
    """Malformed, oversized, binary, too many: that page is cut off, another one plays on, and nothing piles up."""
    rng = random.Random(3)
    with server.page() as good:
        good.next()
        good.do("play")
        bad = [json.dumps(mutated(rng.choice(messages()), rng)) for _ in range(40)]
        for sent in [*bad, "x" * (MAX_MESSAGE + 1), b"\0\1", "[" * MAX_MESSAGE, json.dumps(messages()[1]), ""]:
            with server.socket() as socket, suppress(ConnectionClosed):  # as soon as it is refused
                for _ in range(4):
                    socket.send(sent)
                socket.recv(PATIENCE_S)
        before = server.memory()
        for _ in range(3):
            with server.page() as page:
                page.next()
                with suppress(ConnectionClosed):
                    for _ in range(20_000):  # it is refused long before
                        page.input(["move", 1, 1])
                with suppress(ConnectionClosed):
                    page.until(lambda page, _: page.error)
                assert "messages a second" in page.error
        assert good.next().number > 0
        first = good.next().index
        good.until(lambda _, picture: picture is not None and picture.index > first + 3)
        assert server.memory() - before < 64 << 20
    assert server.process.poll() is None


def test_tokens_are_packed_and_rates_are_limited():
    rng = np.random.default_rng(0)
    for bits in (1, 3, 9, 12, 16, 20):
        tokens = rng.integers(0, 1 << bits, 84).astype(np.int32)
        packed = pack_tokens(tokens, bits)
        assert len(packed) == -(-84 * bits // 8)
        text = "".join(f"{byte:08b}" for byte in packed)
        assert [int(text[i * bits : (i + 1) * bits], 2) for i in range(84)] == tokens.tolist()
    allowance = Allowance(rate=2.0, burst=3.0)
    assert [allowance.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [allowance.take(1.0) for _ in range(3)] == [True, True, False]


def test_a_slow_page_misses_pictures_and_is_told(server):
    flow = Flow()
    for number in (1, 2, 3):
        assert flow.wants(Shot(None, number))
        flow.send(number)
    assert not flow.wants(Shot(None, 9))
    flow.shown(1)
    assert flow.wants(Shot(None, 9))
    flow.send(9)
    assert flow.missed == 5
    with server.page() as slow, server.page() as quick:
        for page in (slow, quick):
            page.next()
            page.do("play")
        for _ in range(IN_FLIGHT):  # and not one of them is shown
            slow.next(shown=False)
        quick.until(lambda _, picture: picture is not None and picture.index > 12)
        while server.steps(slow.world["player"]) < 12:  # its game goes on, too, as fast as the machine lets it
            quick.next()
        for number in range(1, 2 + IN_FLIGHT):
            slow.socket.send(json.dumps({"kind": "shown", "number": number}))
        assert slow.next().missed > 0


# --- play


def test_keys_and_mouse_reach_the_game_and_what_is_recorded_verifies(server, tmp_path, tiny_folder):
    with server.page() as page:
        page.next()
        assert page.world["bits"] is not None
        page.do("play")
        keys = (["down", "KeyW"], ["down", "Pad A"], ["down", "KeyNone"])
        while True:  # the picture that answers is missed by a page that is kept from reading for too long
            page.input(*keys, ["move", 20, -10], time=17.0)
            seen = [page.next() for _ in range(5)]
            if picture := next(filter(answered, seen), None):
                break
        assert picture.time == 17.0
        page.do("temperature", 1.2)
        page.until(lambda page, _: page.state.get("temperature") == 1.2)
        page.do("scene", 2)
        page.until(lambda page, _: page.state["scene"] == 2)
        page.do("bookmark")
        page.do("seed", 5)
        page.until(lambda page, _: page.state["seed"] == 5)
        page.until(lambda _, picture: picture is not None and picture.index > 6)
        page.do("rewind")
        page.until(lambda _, picture: picture is not None and picture.index < 3)
        page.do("rewound")
        page.until(lambda _, picture: picture is not None and picture.index > 4)
        page.do("pause")
        page.until(lambda page, _: page.state["paused"])
        player = page.world["player"]
        status, data, headers = server.ask(f"/recording?player={player}&token={server.token}")
    assert (status, "attachment" in headers["content-disposition"]) == (200, True)
    file = tmp_path / "played.wms"
    file.write_bytes(data)
    session = read_session(file)
    assert {"reset", "branch", "bookmark"} <= {marker.kind for marker in session.markers}
    assert any(step.action.buttons >= {"forward", "jump"} for step in session.steps)
    turned = ActionTokenizer(8).told(Action(pitch=-1.5, yaw=3.0))  # as the world was told
    assert any((step.action.pitch, step.action.yaw) == (turned.pitch, turned.yaw) for step in session.steps)
    command = [sys.executable, "-m", "worldmodel", "replay", str(file), "--verify", "--engine", "eager"]
    checked = subprocess.run([*command, "--world", str(tiny_folder)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_two_play_at_once_the_third_waits_and_a_connection_that_returns_finds_its_game(tiny_folder):
    with serving(str(tiny_folder), "--players", "2") as server, server.page() as one:
        one.next()
        one.do("play")
        with server.page() as two:
            two.next()
            assert two.world["player"] != one.world["player"]
            two.do("play")
            two.until(lambda _, picture: picture is not None and picture.index > 2)
            with server.page() as three:
                three.until(lambda page, _: page.places)
                assert three.places == [1]
                two.do("pause")
                stopped = two.until(lambda page, _: page.state["paused"])
                assert stopped is None or stopped.index
            left = two.world["player"]
        with server.page(left) as again:
            assert again.next().index > 2
            assert again.world["player"] == left
            assert again.state["paused"]
            with server.page(left) as other:  # the same game, on another page
                other.next()
                with pytest.raises(ConnectionClosed):
                    again.until(lambda *_: False)
                assert "another page" in again.error
        one.until(lambda _, picture: picture is not None and picture.index > 4)


def test_pixels_instead_of_tokens(server):
    with server.page(pixels=True) as page:
        picture = page.next()
        assert picture.tokens is None
        assert picture.jpeg[:2] == b"\xff\xd8"
        assert page.world["bits"] is None
    with server.page() as page:
        assert page.next().tokens is not None
        page.socket.send(json.dumps({"kind": "pixels"}))
        page.do("play")
        page.until(lambda _, picture: picture is not None and picture.tokens is None)


# --- files


def test_a_picture_and_a_recording_are_taken_and_what_is_none_is_refused(server, tmp_path):
    from PIL import Image

    with server.page() as page:
        page.next()
        query = f"?player={page.world['player']}&token={server.token}"
        page.do("play")
        page.until(lambda _, picture: picture is not None and picture.index > 8)
        page.do("pause")
        recording = server.ask(f"/recording{query}")[1]
        for data in (b"", b"no recording", recording[: len(recording) // 3 * 2][50:]):
            told = page.upload("session", data)
            assert told
            assert "/" not in told, "no folder of the server"
        assert page.upload("session", recording) == ""
        page.until(lambda page, _: page.state["replay"])
        length = page.state["replay"]["length"]
        assert length > 8
        page.do("pause")  # while it plays, any of its pictures may be missed
        page.until(lambda page, _: page.state["paused"] and not page.state["stage"])
        page.do("seek", 3)
        page.until(lambda _, picture: picture is not None and picture.index == 3)
        page.do("play")
        page.until(lambda _, picture: picture is not None and picture.index == length)
        page.do("live")
        live = page.until(lambda page, picture: page.state["replay"] is None and picture is not None)
        picture = tmp_path / "blue.png"
        Image.new("RGB", (64, 64), (20, 40, 250)).save(picture)
        assert page.upload("picture", picture.read_bytes()) == ""
        page.until(lambda _, picture: picture is not None and picture.number > live.number)
        assert page.upload("picture", b"no picture") == ""
        page.until(lambda page, _: page.state["notice"][0])
        assert "not a readable picture" in page.state["notice"][1]
        assert page.upload("session", bytes(33 << 20)) == "the file is larger than 32 MB"
        page.socket.send(json.dumps({"kind": "file", "what": "session", "size": 10}))
        page.socket.send(b"x" * 11)  # more than it said: it is cut off
        with pytest.raises(ConnectionClosed):
            page.until(lambda *_: False)
        assert "a piece of 11 bytes" in page.error
    assert server.ask(f"/recording?player={'0' * 32}&token={server.token}")[0] == 404


# --- what is left


def test_games_that_stay_recorded_are_gone_on_with_on_another_server(tiny_folder, tmp_path):
    options = ("--players", "1", "--engine", "eager", "--record", str(tmp_path))
    with serving(str(tiny_folder), *options) as server, server.page() as page:
        page.next()
        page.do("play")
        page.until(lambda _, picture: picture is not None and picture.index > 5)
        player = page.world["player"]
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(PATIENCE_S)
    kept = read_session(next(tmp_path.glob("*.wms")))
    with serving(str(tiny_folder), *options) as server, server.page(player) as page:
        picture = page.next()
        assert page.world["player"] == player
        assert np.array_equal(picture.tokens, kept.steps[-1].tokens)
        page.do("play")
        page.until(lambda _, picture: picture is not None and picture.index > 2)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 128 + signal.SIGTERM
    assert [read_session(path).ended for path in sorted(tmp_path.glob("*.wms"))] == [False, True]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--players", "0"], "--players must lie in 1..64, got 0"),
        (["--port", "70000"], "--port must lie in 0..65535, got 70000"),
        (["--host", "203.0.113.9"], "cannot listen on 203.0.113.9"),
        (["--host", "no such host"], "is no address of this machine"),
        (["--start", "7"], "there is no start scene 7"),
        (["--world", "nowhere"], "no world 'nowhere'"),
        (["--record", "/proc/nothing"], "cannot record in /proc/nothing"),
        (["--world", "gym:Nope-v0"], "cannot make 'Nope-v0'"),
        (["--world", "luanti", "--start", "1"], "--start are for a neural world, not for --world luanti"),
    ],
)
def test_what_cannot_be_served_is_said(tiny_folder, arguments, said):
    from client.options import Serve
    from client.serve.run import serve

    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    options = {"world": str(tiny_folder), "port": 0, "players": 1} | {
        name.removeprefix("--"): int(value) if value.isdigit() else value for name, value in given.items()
    }
    if "record" in options:
        from pathlib import Path

        options["record"] = Path(str(options["record"]))
    with pytest.raises(WorldModelError, match=said.replace(".", r"\.")):
        serve(Serve(**options))


def test_a_page_knows_a_key_for_every_binding():
    table = table_of(DEFAULT_BINDINGS)
    assert sorted(CODES.values()) == sorted(table)
    assert CODES["KeyW"] == "W"
    assert CODES["ShiftLeft"] == "Left Shift"
    assert CODES["Mouse2"] == "Mouse Right"
    assert CODES["Digit1"] == "1"
