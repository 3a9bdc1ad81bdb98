"""`worldmodel import`: VPT clips become sessions that are replayed, compared, resumed and trained on."""

import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import ROOT, vpt_line, write_clip

from client.cli import main
from client.sessions.playback import ReplayWorld
from recordings.format import Marker
from recordings.reader import Session, read_session
from worldmodel.data.clips import read_clip
from worldmodel.data.frames import build_frame_store, open_frame_store
from worldmodel.data.played import batches, decode_steps
from worldmodel.model.loading import load_tokenizer
from worldmodel.settings import EngineOptions
from worldmodel.tokenizers.image import to_pixels
from worldmodel.types import WorldModelError
from worldmodel.worlds.neural import NeuralWorld, find_checkpoint

H, W = 48, 80


@pytest.fixture
def clip(tmp_path):
    lines = [vpt_line(dx=float(i % 5), keys=["key.keyboard.w"] if i % 3 else [], hotbar=0) for i in range(44)]
    return write_clip(tmp_path / "clips" / "a", lines)


def imported(source, folder, out):
    assert main(["import", str(source), "--world", str(folder), "--out", str(out)]) == 0


def test_a_clip_becomes_a_session(clip, tiny_folder, tmp_path):
    imported(clip, tiny_folder, tmp_path / "out")
    session = read_session(tmp_path / "out" / "a.wms")
    steps = list(read_clip(clip, H, W))
    assert session.ended
    assert len(session.steps) == len(steps) - 1  # the last action's result was not recorded
    assert [record.action for record in session.steps] == [step.action for step in steps[:-1]]
    tokenizer = load_tokenizer(tiny_folder)
    codes = tokenizer.encode(to_pixels(torch.from_numpy(np.stack([step.frame for step in steps])))).numpy()
    assert np.array_equal(session.header.opening.tokens[0], codes[0])
    assert np.array_equal(np.stack([record.tokens for record in session.steps]), codes[1:])
    assert not list((tmp_path / "out").glob(".*"))


def test_a_gui_cuts_it(tiny_folder, tmp_path):
    lines = [vpt_line(dx=float(i), gui=20 <= i < 24) for i in range(44)]
    imported(write_clip(tmp_path / "g", lines), tiny_folder, tmp_path)
    session = read_session(tmp_path / "g.wms")
    assert [(marker.kind, marker.index) for marker in session.markers] == [("reset", 9)]
    assert [record.frame for record in session.steps] == [*range(9), *range(9)]
    stretches = list(session.stretches())
    assert [stretch for _, _, stretch in stretches] == [0] * 9 + [1] * 9
    assert np.array_equal(stretches[9][0], session.markers[0].opening.tokens[0])


def test_a_folder_goes_on_where_it_stopped(clip, tiny_folder, tmp_path, capsys):
    write_clip(tmp_path / "clips" / "b", [vpt_line() for _ in range(8)])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".clips.b.wms.tmp").write_bytes(b"left by a kill")
    imported(clip.parent, tiny_folder, tmp_path / "out")
    assert "2 of 2 clips imported" in capsys.readouterr().out
    before = (tmp_path / "out" / "clips.a.wms").stat().st_mtime_ns
    (tmp_path / "out" / "clips.b.wms").unlink()
    imported(clip.parent, tiny_folder, tmp_path / "out")
    assert "1 of 2 clips imported" in capsys.readouterr().out
    assert (tmp_path / "out" / "clips.a.wms").stat().st_mtime_ns == before


def test_an_imported_session_is_compared_and_resumed_but_not_verified(clip, tiny_folder, tmp_path, capsys):
    imported(clip, tiny_folder, tmp_path)
    session = tmp_path / "a.wms"
    assert main(["replay", str(session), "--verify", "--threads", "1"]) == 2
    assert "it was imported" in capsys.readouterr().err
    assert main(["replay", str(session), "--against", str(tiny_folder), "--headless", "--threads", "1"]) == 0
    assert "of the tokens are equal" in capsys.readouterr().out
    arguments = ["play", "--world", str(tiny_folder), "--headless", "--frames", "3", "--threads", "1"]
    second = tmp_path / "second.wms"
    assert main([*arguments, "--resume", f"{session}@6", "--record", str(second), "--report", str(tmp_path / "r")]) == 0
    resumed = read_session(second).markers[0].opening
    assert np.array_equal(resumed.tokens[-1], read_session(session).steps[6].tokens)


def test_users_mistakes(clip, tiny_folder, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    short = write_clip(tmp_path / "short", [vpt_line(), vpt_line()])
    for source, message in (
        (tmp_path / "empty", "no clips in"),
        (clip.with_suffix(".jsonl"), "give a clip's .mp4"),
        (tmp_path / "nothing.mp4", f"there is no file or folder {tmp_path / 'nothing.mp4'}"),
        (short, "two steps of play"),
    ):
        assert main(["import", str(source), "--world", str(tiny_folder), "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error
    assert not list((tmp_path / "out").glob("*.wms"))


def test_bad_clips_are_named_at_the_end_and_the_others_imported(clip, tiny_folder, tmp_path, capsys):
    write_clip(tmp_path / "clips" / "bad", [vpt_line(hotbar=12)] * 8)
    write_clip(tmp_path / "clips" / "cut", [vpt_line()] * 8).write_bytes(b"no video")
    write_clip(tmp_path / "clips" / "wide", [vpt_line()] * 8, height=96, width=320)
    arguments = ["import", str(clip.parent), "--world", str(tiny_folder), "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert "2 of 4 clips imported" in said.out
    assert "320x96 px, cut around the centre" in said.err
    assert "error: 2 of 4 clips cannot be used:" in said.err
    assert "bad.jsonl:1: hotbar must be a whole number in 0..8, got 12" in said.err
    assert "cut.mp4: not a readable video" in said.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clips.a.wms", "clips.wide.wms"]


@pytest.mark.slow
def test_session_to_clip_to_session(tmp_path):
    """With the shipped tokenizer: the actions come back exactly, the pictures within the codec's and its own error."""
    first = tmp_path / "s.wms"
    arguments = ["play", "--headless", "--frames", "20", "--start", "3", "--seed", "5", "--threads", "1"]
    assert main([*arguments, "--record", str(first), "--report", str(tmp_path / "report.json")]) == 0
    assert main(["replay", str(first), "--export", str(tmp_path / "clips"), "--threads", "1"]) == 0
    imported(tmp_path / "clips" / "s.mp4", "nano", tmp_path / "again")
    one, two = read_session(first), read_session(tmp_path / "again" / "s.wms")
    assert len(two.steps) == 19
    for a, b in zip(one.steps, two.steps, strict=False):
        assert a.action.buttons == b.action.buttons
        assert (a.action.pitch, a.action.yaw) == pytest.approx((b.action.pitch, b.action.yaw))
    worlds = [ReplayWorld(session, find_checkpoint("nano"), threads=1) for session in (one, two)]
    shown, again = (np.stack([world.show(position).frame for position in range(20)]).astype(float) for world in worlds)
    apart = abs(shown - again).mean(axis=(1, 2, 3))
    assert apart.mean() < 4
    assert apart.max() < 5
    assert apart.max() < abs(shown[-1] - shown[0]).mean() / 4


def played(world_folder, path):
    """A session with a branch: 6 steps, 2 back, 3 more."""
    from client.play.recording import RecordedWorld
    from worldmodel.types import Action

    world = RecordedWorld(NeuralWorld(world_folder, EngineOptions(threads=1)))
    world.record(path)
    made = [world.reset(1, 4), *(world.step(Action(yaw=float(i))) for i in range(6))]
    world.rewind(2)
    made += [world.step(Action(yaw=-float(i))) for i in range(3)]
    world.close()
    return made


def test_sessions_are_training_data(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from client.making.world import READERS

    made = played(tiny_folder, tmp_path / "data" / "s.wms")
    write_clip(tmp_path / "data" / "a", [vpt_line() for _ in range(8)])
    names = build_frame_store([tmp_path / "data"], tmp_path / "store", H, W, 1, READERS)
    clips = {clip.name: clip for clip in open_frame_store(tmp_path / "store", names)}
    assert set(clips) == {"data.a", "data.s"}
    clip = clips["data.s"]
    assert clip.segments.tolist() == [0] * 6 + [1] * 3
    assert [action.yaw for action in clip.actions()] == [0, 1, 2, 3, 4, 5, 0, -1, -2]
    # Frame t is what the action of step t was done on; after the branch that is the picture of step 3.
    for stored, step in zip(clip.frames, [*made[:6], made[4], *made[7:9]], strict=True):
        assert abs(stored.astype(int) - step.frame).mean() < 1  # two decoders, one of them in int8


def test_a_branch_survives_the_way_through_a_clip(tiny_folder, tmp_path):
    """Session -> VPT clip -> session: the branch is a cut, and no frame is taken for another action's result."""
    played(tiny_folder, tmp_path / "s.wms")
    assert main(["replay", str(tmp_path / "s.wms"), "--export", str(tmp_path / "clips"), "--threads", "1"]) == 0
    steps = list(read_clip(tmp_path / "clips" / "s.mp4", H, W))
    assert [step.segment for step in steps] == [0] * 6 + [1] * 3
    assert [round(step.action.yaw) for step in steps] == [0, 1, 2, 3, 4, 5, 0, -1, -2]
    grey = [step.frame.mean(2) for step in steps]  # of coloured noise, the codec keeps the brightness
    assert abs(grey[6] - grey[4]).mean() < abs(grey[6] - grey[5]).mean() / 2
    imported(tmp_path / "clips" / "s.mp4", tiny_folder, tmp_path / "again")
    session = read_session(tmp_path / "again" / "s.wms")
    assert [(marker.kind, marker.index) for marker in session.markers] == [("reset", 5)]


def test_sessions_of_another_size_or_tokenizer_are_refused(tiny_folder, tmp_path):
    played(tiny_folder, tmp_path / "s.wms")
    session = read_session(tmp_path / "s.wms")
    for known, height, message in (("", 32, "not the 80x32 asked for"), ("0" * 64, H, "another image tokenizer")):
        with pytest.raises(WorldModelError, match=message):
            list(decode_steps(session.stretches(), tiny_folder, known, (height, W)))


def test_stretches_after_a_rewind_to_the_opening(tiny_folder, tmp_path):
    played(tiny_folder, tmp_path / "s.wms")
    session = read_session(tmp_path / "s.wms")
    back = Session(session.header, session.steps, (session.markers[0], Marker("branch", 6, 0.0, back_to=-1)), 0, True)
    stretches = list(back.stretches())
    assert [stretch for _, _, stretch in stretches] == [0] * 6 + [1] * 3
    assert np.array_equal(stretches[6][0], session.markers[0].opening.tokens[-1])


def test_batches():
    assert [len(batch) for batch in batches(range(70))] == [32, 32, 6]
    assert list(batches([])) == []


def test_a_killed_import_leaves_nothing_that_looks_whole(tiny_folder, tmp_path):
    write_clip(tmp_path / "long", [vpt_line(dx=1.0) for _ in range(1200)], height=H, width=W)
    command = [sys.executable, "-m", "client.cli", "import", str(tmp_path / "long.mp4"), "--world", str(tiny_folder)]
    child = subprocess.Popen([*command, "--out", str(tmp_path / "out")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "out").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    child.kill()
    child.wait()
    assert not (tmp_path / "out" / "long.wms").exists()
    imported(tmp_path / "long.mp4", tiny_folder, tmp_path / "out")
    assert len(read_session(tmp_path / "out" / "long.wms").steps) == 599
