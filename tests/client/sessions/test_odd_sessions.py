"""Sessions whose records are whole but whose content is odd: each use takes them, or refuses them in one sentence."""

import contextlib
import math
import os
import socket
import struct
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from odd import packed, write_odd
from records import record_branched

from client.cli import main
from client.play.game import Game
from client.sessions.playback import ReplayWorld, date_of, name_of, open_session
from client.sessions.resume import Resume
from client.sessions.simulation import verify
from client.sessions.timeline import timeline_of
from recordings.check import Shapes, check_session
from recordings.format import Marker, RecordingError
from recordings.opening import SamplerSettings
from recordings.reader import read_session
from recordings.values import printable
from worldmodel.settings import EngineOptions
from worldmodel.types import BUTTONS, WorldModelError
from worldmodel.worlds.neural import NeuralWorld

STEPS = 6
CODES, PLACES = 16, 15  # of the tiny world


@pytest.fixture(scope="module")
def world(tiny_folder):
    return NeuralWorld(tiny_folder, EngineOptions("eager", threads=1))


@pytest.fixture(scope="module")
def plain(world, tmp_path_factory):
    return read_session(record_branched(world, tmp_path_factory.mktemp("plain") / "s.wms"))


def array(shape, value, size=2):
    return [list(shape), size, struct.pack("<H" if size == 2 else "<I", value) * math.prod(shape)]


def header(**values):
    return lambda head, steps, markers: head.update(values)


def field(index, value, at=3):
    """Of step `at`: index, frame, time, action, tokens, latency, events."""

    def change(head, steps, markers):
        steps[at][index] = value

    return change


def marker(kind, **values):
    """The first marker of a kind, with other values."""

    def change(head, steps, markers):
        next(found for found in markers if found["kind"] == kind).update(values)

    return change


def fewer(steps_kept):
    def change(head, steps, markers):
        del steps[steps_kept:]
        markers[:] = [found for found in markers if found["index"] < steps_kept]

    return change


def maps(head, steps, markers):
    head["config"] = {"a": [[{}] * 4000] * 200}


def opening(frames, places=PLACES, value=1, width=11, action=CODES + 3):
    return [array((frames, places), value, 4), array((max(0, frames - 1), width), action, 4)]


ODD = {
    "back to beyond the file": marker("branch", back_to=5000),
    "back to itself": marker("branch", back_to=3),
    "back to the future": marker("branch", back_to=5),
    "back to nothing": marker("branch", back_to=None),
    "back to minus two": marker("branch", back_to=-2),
    "back to an opening that is not there": lambda head, steps, markers: (
        head.update(opening=None),
        markers[0].update(opening=None),
        markers[2].update(back_to=-1),
    ),
    "a marker beyond the file": marker("bookmark", index=4000),
    **{f"created {value:g}": header(created=value) for value in (9e17, -9e17, 1e12, 0.0)},
    **{f"rate {value:g}": header(tick_rate=value) for value in (0.0, -1.0, 0.3, 1e17, 1e-300, 5e-324, math.nan)},
    "time before the beginning": field(2, -5.0),
    "negative latency": field(5, -1e17),
    **{
        f"{where} {name} {value}": (header if where == "header" else lambda **v: marker("reset", **v))(
            sampler=[settings.temperature, settings.top_k, settings.top_p]
        )
        for where in ("header", "marker")
        for name, value in (("top_p", 9.0), ("temperature", -1.0), ("top_k", 2**63))
        for settings in [replace(SamplerSettings(1.0, 0, 0.8), **{name: value})]
    },
    "no opening": header(opening=None),
    **{f"opening of {n}": header(opening=opening(n)) for n in (0, 1, 30)},
    "opening of another width": header(opening=opening(2, places=7)),
    "opening of no width": header(opening=opening(2, places=0)),
    "opening beyond the vocabulary": header(opening=opening(2, value=CODES)),
    "opening of 2^31": header(opening=opening(2, value=2**31)),
    "opening's actions of 3": header(opening=opening(2, width=3)),
    "opening's actions of 0": header(opening=opening(2, width=0)),
    "opening's actions beyond the vocabulary": header(opening=opening(2, action=5000)),
    "opening's actions among the pictures": header(opening=opening(2, action=1)),
    "reset's opening of another width": marker("reset", opening=opening(2, places=7)),
    "reset without seed and opening": marker("reset", opening=None, seed=None),
    "no tokens": field(4, None),
    "no tokens at first": field(4, None, 0),
    "empty tokens": field(4, array((0,), 0)),
    "short tokens": field(4, array((7,), 1)),
    "tokens beyond the vocabulary": field(4, array((PLACES,), CODES)),
    **{
        f"{name} {label}": header(**{name: value})
        for name in ("checkpoint", "world")
        for label, value in {
            "empty": "",
            "long": "x" * 4000,
            "long path": "/" + "x/" * 2000,
            "gone": "/nowhere/at/all",
            "above": "..",
            "here": ".",
            "root": "/",
            "NUL": "a\0b",
            "escapes": "\x1b[31mred\x9b2J\u202e",
            "newline": "a\nb",
        }.items()
    },
    "weights and tokenizer with escapes": header(weights="\x1b[2J", tokenizer="\x1b[2J"),
    "events no list": field(6, "click"),
    "events of lists": field(6, [[["deep"]]]),
    "event of nothing": field(6, [[None]]),
    "empty events": field(6, [[]] * 50),
    "all buttons": field(3, [(1 << len(BUTTONS)) - 1, 0.0, 0.0]),
    "camera 1e20": field(3, [0, 1e20, 0.0]),
    "camera 1e17": field(3, [0, 1e17, -1e17]),
    "frame 2^64 - 1": field(1, 2**64 - 1),
    "no steps": fewer(0),
    "one step": fewer(1),
    "empty configuration": header(config={}),
    "maps": maps,
}
# What must be kept of those that go wrong in the middle.
KEPT = {
    "camera 1e20": 3,
    "events no list": 3,
    "no tokens": 3,
    "tokens beyond the vocabulary": 3,
    "back to beyond the file": 3,
    "a marker beyond the file": STEPS,
    "one step": 1,
    "all buttons": STEPS,
    "camera 1e17": STEPS,
    "created 9e+17": STEPS,
    "rate 0.3": STEPS,
    "checkpoint gone": STEPS,
    "checkpoint NUL": STEPS,
    "empty configuration": STEPS,
    "opening of 30": STEPS,
}


def use(path, folder, world):
    """All that is done with a recording."""
    session, _ = open_session(path)
    timeline = timeline_of(session)
    shown = ReplayWorld(session, folder, 1)
    for position in range(len(session.steps) + 1):
        replace(timeline, position=position).clock()
        shown.seek(position)
    yield date_of(session.header), name_of(session.header)
    yield Game(world, Resume(path)).restart()
    yield from session.stretches()
    yield verify(session, world)


@pytest.mark.parametrize("name", ODD)
def test_each_use_takes_it_or_says_one_sentence(name, plain, world, tiny_folder, tmp_path):
    path = write_odd(tmp_path / "odd.wms", plain, ODD[name])
    said = ""
    try:
        list(use(path, tiny_folder, world))
    except WorldModelError as error:
        said = str(error)
    assert said.isprintable()  # no control characters, one line
    assert len(said) < 500
    if name in KEPT:
        assert len(open_session(path, str(tiny_folder))[0].steps) == KEPT[name]


def test_the_base_is_good(plain, world, tiny_folder, tmp_path):
    path = write_odd(tmp_path / "good.wms", plain, lambda head, steps, markers: None)
    session, _ = open_session(path, str(tiny_folder))
    assert session.steps == plain.steps
    assert session.markers == plain.markers
    assert session.problem is None
    assert verify(session, world).equal == STEPS


def test_verify_fails_where_a_part_cannot_be_verified(plain, tiny_folder, tmp_path, capsys):
    path = write_odd(tmp_path / "odd.wms", plain, ODD["camera 1e20"])
    arguments = ["replay", str(path), "--verify", "--engine", "eager", "--threads", "1", "--world", str(tiny_folder)]
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert "3 of 3 frames identical" in said.out
    assert "only its first 3 steps can be used" in said.err
    assert "pitch must be a number below 1e18, got 1e+20" in said.err


def test_exports_of_odd_rates_and_refusals(plain, tiny_folder, tmp_path, capsys):
    slow = write_odd(tmp_path / "slow.wms", plain, header(tick_rate=0.3))
    for name in ("a.mp4", "a.gif", "clip"):
        assert main(["replay", str(slow), "--world", str(tiny_folder), "--export", str(tmp_path / name)]) == 0
    never = write_odd(tmp_path / "never.wms", plain, header(tick_rate=0.0))
    capsys.readouterr()
    assert main(["replay", str(never), "--world", str(tiny_folder), "--export", str(tmp_path / "b.mp4")]) == 2
    error = capsys.readouterr().err
    assert "its tick_rate is 0 steps a second" in error
    assert len(error.splitlines()) == 1


def test_one_odd_file_hides_no_other(plain, tiny_folder, tmp_path, capsys):
    good = write_odd(tmp_path / "good.wms", plain, lambda head, steps, markers: None)
    for index, change in enumerate(ODD.values()):
        write_odd(tmp_path / f"odd{index}.wms", plain, change)
    os.mkfifo(tmp_path / "pipe.wms")
    (tmp_path / "folder.wms").mkdir()
    (tmp_path / "dangling.wms").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle.wms").symlink_to(tmp_path / "circle.wms")
    (tmp_path / "a\nb\x1b[31m.wms").write_bytes(good.read_bytes())
    server = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(tmp_path)  # the name of a socket may be 107 bytes long
    try:
        server.bind("socket.wms")
    finally:
        os.chdir(here)
        server.close()
    assert main(["sessions", str(tmp_path), "--no-strips"]) == 0
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.splitlines())
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert len(lines) == 1 + 1 + len(ODD) + 4 + 1 + 1
    assert "recovered" in lines["good.wms"]
    assert lines["good.wms"].split()[1:3] == ["6", "0:01"]
    assert "is no file" in lines["pipe.wms"]
    assert "is no file" in lines["folder.wms"]
    assert "cannot be read" in lines["dangling.wms"]
    assert "cannot be read" in lines["socket.wms"]
    assert lines["a?b?[31m.wms"].split()[1] == "6"
    assert main(["sessions", str(tmp_path)]) == 0  # with strips: nothing of it ends the table
    assert len(capsys.readouterr().out.splitlines()) == len(lines)


def test_a_million_maps_take_no_memory(plain, tmp_path):
    path = write_odd(tmp_path / "maps.wms", plain, maps)
    assert path.stat().st_size > 800_000
    many = write_odd(tmp_path / "steps.wms", plain, lambda head, steps, markers: steps.clear())
    record = [0, 0, 0, [0, 0, 0], None, 0, []]
    with many.open("ab") as file:
        for index in range(4000):
            record[0], record[3][0] = index, (1 << len(BUTTONS)) - 1 - index
            file.write(packed(2, record))
    for hostile in (path, many):
        tracemalloc.start()
        with contextlib.suppress(RecordingError):
            read_session(hostile)
        assert tracemalloc.get_traced_memory()[1] < 64 * hostile.stat().st_size
        tracemalloc.stop()


def test_a_check_keeps_the_good_beginning(plain):
    shapes = Shapes(PLACES, CODES, 11, CODES + 70)
    assert check_session(plain, shapes) is plain
    steps = list(plain.steps)
    steps[4] = replace(steps[4], tokens=np.zeros(PLACES + 1, np.int32))
    checked = check_session(replace(plain, steps=tuple(steps)), shapes)
    assert checked.steps == plain.steps[:4]
    assert [found.kind for found in checked.markers] == ["reset", "bookmark", "branch"]
    assert "step 4: its 16 tokens up to 0 do not fit the model's 15 below 16" in checked.problem
    disordered = (*plain.markers, Marker("bookmark", 1, 0.0))
    assert len(check_session(replace(plain, markers=disordered), shapes).steps) == 1
    with pytest.raises(RecordingError, match="the sampler's top_p"):
        check_session(plain, shapes, lambda settings: (_ for _ in ()).throw(ValueError("top_p is odd")))


def test_printable_leaves_text_alone_and_controls_out():
    assert printable("Grüße, 世界 ✓") == "Grüße, 世界 ✓"
    assert printable("\x1b[2J\0\n\u202e\x9b\udc80x") == "?[2J?????x"
    assert printable("x" * 50, 10) == "xxxxxxx..."


def test_an_unknown_kind_of_marker_is_passed_over(plain, tiny_folder, tmp_path):
    path = write_odd(
        tmp_path / "new.wms",
        plain,
        lambda head, steps, markers: markers.insert(1, {**markers[1], "kind": "news"}),
    )
    assert len(open_session(path, str(tiny_folder))[0].steps) == STEPS
