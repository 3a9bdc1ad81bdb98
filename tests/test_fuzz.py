"""The fuzz and the soak themselves: some hundred seeded cases of each kind are used or refused, and a find is one."""

import itertools
import json
import random
import threading

import fuzz
import pytest
import soak
from fuzz import Arguments, Hang, limited, tried
from material import KINDS, Material
from mutate import mutated, mutated_bytes, places

from client.play.recording import RecordedWorld
from recordings.reader import read_session
from worldmodel.types import WorldModelError

CASES = {"sessions": 150, "configs": 60}  # and 100 of all others


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    return Material(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("kind", KINDS)
def test_each_case_is_used_or_refused_in_one_sentence(material, kind):
    cases = (f"{kind}-0-{at}" for at in range(CASES.get(kind, 100)))
    finds = {case: found for case in cases if (found := tried(material, case).found)}
    assert not finds


def test_a_case_is_the_same_each_time_and_not_the_one_before():
    value = {"a": [1, {"b": "text"}], "c": 2.5}
    assert places(value) == [("a",), ("a", 0), ("a", 1), ("a", 1, "b"), ("c",)]
    made = [repr(mutated(value, random.Random(seed))) for seed in range(50)]
    assert made == [repr(mutated(value, random.Random(seed))) for seed in range(50)]
    assert len(set(made)) > 25
    assert value == {"a": [1, {"b": "text"}], "c": 2.5}
    assert len({mutated_bytes(bytes(100), random.Random(seed)) for seed in range(50)}) > 25


@pytest.mark.parametrize(
    ("problem", "found"),
    [(KeyError("x"), "KeyError"), (WorldModelError("two\nlines\x1b"), "no sentence"), (Hang("long"), "Hang"),
     (WorldModelError("a file that is no good"), None)],
)  # fmt: skip
def test_what_is_a_find(material, monkeypatch, problem, found):
    def use(*_):
        raise problem

    monkeypatch.setitem(KINDS, "lines", use)
    told = tried(material, "lines-0-0").found
    assert (told is None) if found is None else (found in told)


def test_a_hang_ends():
    with pytest.raises(Hang, match="of the processor"), limited(0.05):
        for _ in itertools.count():
            pass
    with pytest.raises(Hang, match="by the clock"), limited(60, 0.05):
        threading.Event().wait()


def test_other_work_on_the_machine_is_no_hang():
    with limited(0.2):  # of the processor
        threading.Event().wait(0.4)


def test_finds_are_told_and_counted(tmp_path, monkeypatch, capsys):
    def use(*_):
        raise KeyError("x")

    monkeypatch.setitem(KINDS, "lines", use)
    out = tmp_path / "reliability.json"
    assert fuzz.main(Arguments(minutes=1e-4, seed=3, kinds=("lines",), out=out)) == 1
    assert "FIND lines-3-0" in capsys.readouterr().out
    told = json.loads(out.read_text())["fuzz"]
    assert (told["seed"], told["finds"][0]) == (3, "lines-3-0")


def test_a_soak_records_every_step(material, tmp_path, monkeypatch):
    monkeypatch.setattr(soak, "WARM", 60)  # so many are played, however slow they are
    monkeypatch.setattr(soak, "EVERY", 5)
    monkeypatch.setattr(soak, "REWIND", 0.2)
    world = RecordedWorld(material.world)
    world.record(tmp_path / "soak.wms")
    done = soak.play(world, material.world.starts, 0.005, random.Random(0))
    world.finish()
    session = read_session(tmp_path / "soak.wms")
    assert len(session.steps) == done.frames >= 60
    assert done.rewinds == sum(marker.kind == "branch" for marker in session.markers) > 0
    assert len(done.held) >= 1


def test_growth_is_told_from_noise():
    rng = random.Random(0)
    flat = [(60.0 * at, 10**9 + rng.randrange(10**6)) for at in range(60)]
    slope, error = soak.growth(flat)
    assert abs(slope) < 3 * error < 0.01
    slope, error = soak.growth([(seconds, value + int(seconds * 1e5)) for seconds, value in flat])
    assert slope == pytest.approx(0.36, rel=0.05)
    assert slope > 3 * error
