"""Record, replay, verify, export: through the command line, on a tiny checkpoint."""

import contextlib
import errno
import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import av
import numpy as np
import pytest
from PIL import Image

from client.cli import main
from client.play import recording
from client.play.recording import RecordedWorld
from client.sessions.playback import ReplayWorld
from client.sessions.simulation import simulate, verify
from client.sessions.strips import make_strip
from recordings.opening import SamplerSettings
from recordings.reader import Session, read_session
from recordings.writer import SessionWriter
from worldmodel.settings import EngineOptions
from worldmodel.types import Action, World, WorldModelError
from worldmodel.worlds.neural import NeuralWorld, find_recorded


@pytest.fixture
def recorded(tiny_folder, tmp_path):
    """A session of 20 random steps, recorded headless."""
    path = tmp_path / "s.wms"
    arguments = ["play", "--world", str(tiny_folder), "--headless", "--frames", "20", "--seed", "5", "--threads", "1"]
    assert main([*arguments, "--record", str(path), "--report", str(tmp_path / "report.json")]) == 0
    return path


def play(world, steps, *buttons):
    rng = np.random.default_rng(0)
    held = frozenset(buttons or ("forward",))
    return [world.step(Action(held, *rng.normal(0, 4, 2).round(2))) for _ in range(steps)]


def test_a_headless_session_verifies(recorded, tmp_path, capsys):
    session = read_session(recorded)
    assert session.ended
    assert [record.index for record in session.steps] == list(range(20))
    assert session.header.engine in ("native", "openvino")  # as there is a compiler or none
    assert session.seed_of(19) == 5
    capsys.readouterr()
    assert main(["replay", str(recorded), "--verify", "--threads", "1"]) == 0
    assert "20 of 20 frames identical" in capsys.readouterr().out


@pytest.mark.parametrize("engine", ["eager", "openvino", "auto"])
def test_500_steps_verify_on_the_engine_that_made_them(tiny_folder, tmp_path, capsys, engine):
    path = tmp_path / "s.wms"
    common = ["--threads", "1", "--engine", engine]
    arguments = ["play", "--world", str(tiny_folder), "--headless", "--frames", "500", "--seed", "5", *common]
    assert main([*arguments, "--record", str(path), "--report", str(tmp_path / "report.json")]) == 0
    assert engine in ("auto", read_session(path).header.engine)
    capsys.readouterr()
    assert main(["replay", str(path), "--verify", *common]) == 0
    assert "500 of 500 frames identical" in capsys.readouterr().out


def test_a_changed_token_is_named(recorded, tiny_folder):
    session = read_session(recorded)
    world = NeuralWorld(tiny_folder, EngineOptions(threads=1))
    steps = list(session.steps)
    wrong = steps[7].tokens.copy()
    wrong[4] = (wrong[4] + 1) % 16
    steps[7] = replace(steps[7], tokens=wrong)
    changed = Session(session.header, tuple(steps), session.markers, 0, True)
    result = verify(changed, world)
    assert (result.steps, result.equal, result.first) == (20, 19, (7, 4))
    with pytest.raises(WorldModelError, match="played on weights 000000"):
        verify(replace(session, header=replace(session.header, weights="0" * 64)), world)


def test_resets_seeds_and_samplers_are_replayed(tiny_folder, tmp_path):
    world = RecordedWorld(NeuralWorld(tiny_folder, EngineOptions(threads=1)))
    assert isinstance(world, World)
    world.record(tmp_path / "a.wms")
    world.reset(0, 1)
    play(world, 5)
    world.sampler = replace(world.sampler, temperature=0.5)
    play(world, 4)
    world.sampler = replace(world.sampler, guidance=0.8)
    play(world, 4, "use")
    world.reset(2, 99)
    play(world, 3)
    world.close()
    session = read_session(tmp_path / "a.wms")
    assert [marker.kind for marker in session.markers] == ["reset", "sampler", "sampler", "reset"]
    fresh = NeuralWorld(tiny_folder, EngineOptions(threads=1))
    result = verify(session, fresh)
    assert (result.steps, result.equal) == (16, 16)
    unguided = [replace(m, sampler=replace(m.sampler, guidance=0.0)) for m in session.markers]
    assert verify(replace(session, markers=tuple(unguided)), fresh).first[0] > 8


@pytest.mark.parametrize(
    ("written", "guidance", "former"),
    [
        ([1.0, 0, 0.8], 0.0, False),
        ([1.0, 0, 0.8, 0.5, None, 0.5], 0.5, False),
        ([1.0, 0, 0.8, 0.5], 0.0, True),  # of the mouse buttons alone
        ([1.0, 0, 0.8, 0.5, 0.4, 0.5], 0.5, True),
        ([1.0, 0, 0.8, 0.5, None, 0.3, 0.9, 1.3], 0.3, True),
    ],
)
def test_guidance_by_rules_of_before_is_kept_shown_and_not_verified(tiny_folder, tmp_path, written, guidance, former):
    settings = SamplerSettings.unpack(written)
    assert (settings.guidance, bool(settings.former)) == (guidance, former)
    assert settings.pack() == written
    world = RecordedWorld(NeuralWorld(tiny_folder, EngineOptions(threads=1)))
    world.reset(0, 1)
    world.record(tmp_path / "a.wms")
    play(world, 3, "forward")
    world.close()
    session = read_session(tmp_path / "a.wms")
    session = replace(session, header=replace(session.header, sampler=settings), markers=())
    assert len(list(simulate(session, world.neural))) == 3
    if former:
        with pytest.raises(WorldModelError, match="can be watched, exported and gone on from, but not verified"):
            verify(session, world.neural)


def test_recording_can_start_in_the_middle(tiny_folder, tmp_path):
    world = RecordedWorld(NeuralWorld(tiny_folder, EngineOptions(threads=1)))
    world.reset(1, 3)
    play(world, 7)
    assert world.recording is None
    world.record(tmp_path / "a.wms")
    play(world, 5)
    assert world.recording.startswith("a.wms")
    world.finish()
    play(world, 2)
    session = read_session(tmp_path / "a.wms")
    assert len(session.steps) == 5
    assert len(session.header.opening.tokens) == 3  # the window
    assert verify(session, NeuralWorld(tiny_folder, EngineOptions(threads=1))).equal == 5


def test_a_replay_is_a_world_that_shows_what_was_seen(recorded, tiny_folder):
    session = read_session(recorded)
    world = ReplayWorld(session, tiny_folder, threads=1)
    assert isinstance(world, World)
    live = NeuralWorld(tiny_folder, EngineOptions(threads=1))
    live.reset(0, 5)
    world.reset()
    for record in session.steps:
        assert (world.step(Action()).frame == live.step(record.action).frame).all()


def test_exports(recorded, tmp_path, capsys):
    for name in ("a.mp4", "a.gif"):
        assert main(["replay", str(recorded), "--export", str(tmp_path / name), "--threads", "1"]) == 0
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec.name, stream.width, stream.height, stream.average_rate) == ("h264", 80, 48, 10)
        assert sum(1 for _ in container.decode(stream)) == 21
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.size == (160, 96)
    assert main(["replay", str(recorded), "--export", str(tmp_path / "a.avi")]) == 2
    assert "writes .mp4, .gif or a folder" in capsys.readouterr().err


@contextlib.contextmanager
def files_of_at_most(size):
    """No file of this process may grow beyond `size` bytes: writing more fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("no_room", ["File too large", "disk full"])
def test_a_disk_that_fills_while_recording_headless(tiny_folder, tmp_path, capsys, monkeypatch, no_room):
    """One line, a report of all that was played, and no exit code of success."""
    if no_room == "disk full":
        monkeypatch.setattr(errno, "ENOSPC", errno.EFBIG)  # what the limit below answers
    path = tmp_path / "s.wms"
    common = ["play", "--world", str(tiny_folder), "--headless", "--threads", "1", "--engine", "eager"]
    with files_of_at_most(4096):
        assert main([*common, "--frames", "60", "--record", str(path)]) == 2
    said = capsys.readouterr()
    assert json.loads(said.out)["frames"] == 60
    kept = len(read_session(path).steps)
    assert 0 < kept < 60
    assert said.err == f"error: recording stopped: {no_room}, {kept} of 60 steps kept in {path}\n"


def test_a_step_that_cannot_be_recorded_ends_the_recording_not_the_game(tiny_folder, tmp_path):
    stopped = []
    world = RecordedWorld(NeuralWorld(tiny_folder, EngineOptions("eager", threads=1)), on_stop=stopped.append)
    world.record(tmp_path / "a.wms")
    world.reset(0, 1)
    play(world, 3)
    world.step(Action(yaw=1e20))
    play(world, 3)
    assert "yaw must be a number below 1e18" in world.recording
    assert world.news().endswith("steps kept in " + str(tmp_path / "a.wms"))
    assert world.news() is None  # once
    world.close()
    assert [(found.kept, found.reason) for found in stopped] == [(3, "yaw must be a number below 1e18, got 1e+20")]
    assert len(read_session(tmp_path / "a.wms").steps) == 3


def test_the_window_says_at_once_that_a_recording_has_stopped(tiny_folder, tmp_path):
    from client.play.actions import idle_actions, source_of
    from client.play.runner import Runner

    def make(stage):
        world = RecordedWorld(NeuralWorld(tiny_folder, EngineOptions("eager", threads=1)))
        world.record(tmp_path / "sessions" / "a.wms")
        return world

    runner = Runner(make, source_of(idle_actions()), fps=50)
    runner.start()
    deadline = time.monotonic() + 120

    def wait(condition):
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.001)

    try:
        wait(lambda: runner.state.steps >= 3)
        shutil.rmtree(tmp_path / "sessions")
        wait(lambda: runner.state.notice[0])
        assert "recording stopped: the file was deleted" in runner.state.notice[1]
        steps = runner.state.steps
        wait(lambda: runner.state.steps > steps)  # play goes on
    finally:
        assert runner.stop(5)
    assert runner.state.error is None


def test_the_exit_code_of_a_window_tells_of_a_recording_that_stopped(tiny_folder, tmp_path, capsys, monkeypatch):
    def run(factory, options, instead):
        world = factory(lambda stage: None)
        world.reset(0, 1)
        for action in (Action(), Action(yaw=1e20), Action()):
            world.step(action)
        world.close()
        return 0

    monkeypatch.setattr("client.cli.check_display", lambda *_: None)
    monkeypatch.setattr("client.window.run.run_window", run)
    path = tmp_path / "a.wms"
    assert main(["play", "--world", str(tiny_folder), "--engine", "eager", "--record", str(path)]) == 2
    reason = "yaw must be a number below 1e18, got 1e+20"
    assert capsys.readouterr().err == f"error: recording stopped: {reason}, 1 steps kept in {path}\n"


def test_numbers_that_no_recording_holds_are_refused_before_play(tiny_folder, tmp_path, capsys):
    common = ["play", "--world", str(tiny_folder), "--headless", "--record", str(tmp_path / "a.wms")]
    for flag in ("--seed", "--top-k"):
        assert main([*common, flag, str(2**64)]) == 2
        assert str(2**64) in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_recording_names_no_folder_of_the_machine(recorded, tiny_folder):
    assert str(tiny_folder.parent).encode() not in recorded.read_bytes()
    assert read_session(recorded).header.checkpoint == tiny_folder.name


def test_the_weights_are_found_by_name_and_hash(recorded, tiny_folder, tmp_path, monkeypatch):
    from worldmodel.checkpoint import weights_hash

    header = read_session(recorded).header
    project = tmp_path / "project"
    monkeypatch.chdir(tmp_path)
    copy, other = project / "runs" / header.world, project / "old" / header.world
    shutil.copytree(tiny_folder, copy)
    shutil.copytree(tiny_folder, other)
    with (other / "model.safetensors").open("ab") as file:
        file.write(b"\0")
    for near in (project / "s.wms", project / "sessions" / "today" / "s.wms"):
        found = find_recorded(header.checkpoint, header.world, header.weights, near)
        assert weights_hash(found) == header.weights
    # Trained on since: the folder of that name, as long as its tokens mean the same.
    assert find_recorded(header.checkpoint, header.world, "0" * 64, project / "s.wms").name == header.world
    # Older recordings say where it was.
    assert find_recorded(str(copy), "gone", header.weights) == copy
    for name in ("", ".", "..", "/", "a\0b", "x" * 4000, "x/" * 2000):
        for checkpoint, world in ((name, "gone"), ("gone", name)):
            with pytest.raises(WorldModelError, match="give its folder with --world"):
                find_recorded(checkpoint, world, header.weights, project / "s.wms")


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "clip"])
def test_an_export_that_finds_no_room_leaves_nothing(recorded, tmp_path, capsys, monkeypatch, name):
    monkeypatch.setattr(errno, "ENOSPC", errno.EFBIG)
    (tmp_path / "out").mkdir()
    capsys.readouterr()
    with files_of_at_most(1000):
        assert main(["replay", str(recorded), "--export", str(tmp_path / "out" / name)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == f"error: disk full, 0 of 20 steps kept: {tmp_path / 'out' / name} was not written"
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_a_comparison_that_finds_no_room_is_one_sentence(recorded, tiny_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(errno, "ENOSPC", errno.EFBIG)
    out = tmp_path / "out"
    out.mkdir()
    capsys.readouterr()
    with files_of_at_most(20_000):  # a few pictures of the second world
        against = ["--against", str(tiny_folder), "--headless", "--export", str(out / "a.mp4"), "--threads", "1"]
        assert main(["replay", str(recorded), *against]) == 2
    error = capsys.readouterr().err
    assert "disk full" in error
    assert "Traceback" not in error
    assert not list(out.iterdir())


def test_exports_that_cannot_be_written_are_refused_before_any_work(recorded, tmp_path, capsys, monkeypatch):
    def refuse(**options):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setattr("client.replay.open_session", None)  # is not come to
    for name, message in (("folder.mp4", "that is a folder"), ("file", "File exists"), ("no/a.gif", "no folder")):
        assert main(["replay", str(recorded), "--export", str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err
    monkeypatch.setattr("client.sessions.export.tempfile.TemporaryFile", refuse)
    for name in ("a.mp4", "clip"):
        assert main(["replay", str(recorded), "--export", str(tmp_path / name)]) == 2
        assert "cannot be written: Permission denied" in capsys.readouterr().err


def test_options_that_a_replay_would_ignore_are_refused(recorded, tiny_folder, tmp_path, capsys):
    export = ["--export", str(tmp_path / "a.mp4")]
    for arguments, message in (
        ([*export, "--engine", "eager"], "--engine simulate"),
        (["--engine", "eager"], "--engine simulate"),
        ([*export, "--weights", "int8", "--kv-cache", "int8"], "--weights and --kv-cache simulate"),
        (["--against", "luanti", "--engine", "eager"], "--engine simulate"),
        (["--against", str(recorded), "--weights", "fp8"], "--weights simulate"),
        # Used: on a machine without its engine they are an error of their own.
        (["--against", str(tiny_folder), "--headless", "--weights", "int8", "--engine", "eager"], "int8"),
        (["--against", str(tiny_folder), "--headless", "--kv-cache", "int8", "--engine", "eager"], "int8"),
        (["--against", str(tiny_folder), "--headless", "--scale", "0"], "--scale must be at least 1"),
    ):
        assert main(["replay", str(recorded), *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error
    assert not list(tmp_path.glob("*.mp4"))


def test_users_mistakes(recorded, tmp_path, capsys):
    for arguments, message in (
        (["replay", str(tmp_path / "none.wms"), "--verify"], "no recording"),
        (["replay", str(tmp_path / "none.wms")], "no recording"),  # with a display or without
        (["replay", str(recorded), "--verify", "--export", "a.mp4"], "different commands"),
        (["replay", str(recorded), "--verify", "--threads", "-1"], "--threads must be 0"),
        (["replay", str(recorded), "--verify", "--world", "luanti"], 'give "nano" or a checkpoint\'s folder'),
        (["import", str(tmp_path / "no.mp4")], "there is no file or folder"),
        (["play", "--headless", "--record", str(recorded)], "never written over"),
        (["play", "--world", "luanti", "--headless", "--record", str(tmp_path / "b.wms")], "for a neural world"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error


@pytest.mark.slow
def test_a_killed_player_leaves_a_session_that_verifies(tiny_folder, tmp_path):
    path = tmp_path / "k.wms"
    arguments = ["play", "--world", str(tiny_folder), "--headless", "--frames", "100000", "--threads", "1"]
    child = subprocess.Popen([sys.executable, "-m", "client.cli", *arguments, "--record", str(path)])
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (not path.exists() or path.stat().st_size < 20_000):
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    session = read_session(path)
    assert not session.ended
    assert len(session.steps) > 20
    done = subprocess.run(
        [sys.executable, "-m", "client.cli", "replay", str(path), "--verify", "--threads", "1"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"{len(session.steps)} of {len(session.steps)} frames identical" in done.stdout
    assert "cut off" in done.stderr
    resume = [
        "play",
        "--world",
        str(tiny_folder),
        "--headless",
        "--frames",
        "3",
        "--threads",
        "1",
        "--resume",
        str(path),
    ]
    second = path.with_name("second.wms")
    assert main([*resume, "--record", str(second), "--report", str(path.with_name("r.json"))]) == 0
    assert (read_session(second).markers[0].opening.tokens[-1] == session.steps[-1].tokens).all()


def test_the_report_of_a_recorded_run(recorded, tmp_path):
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["frames"] == 20
    assert len(report["tokens_sha256"]) == 64


def test_rewind_branches_and_the_branch_verifies(tiny_folder, tmp_path):
    world = RecordedWorld(NeuralWorld(tiny_folder, EngineOptions(threads=1)))
    world.record(tmp_path / "a.wms")
    world.reset(0, 1)
    first = play(world, 6)
    assert (world.peek(2).tokens == first[3].tokens).all()
    assert world.length == 6  # a look back changes nothing
    back = world.rewind(2)
    assert (back.tokens == first[3].tokens).all()
    play(world, 4)
    assert world.length == 8
    world.rewind(99)  # at most to the opening
    assert world.length == 0
    play(world, 3)
    world.close()
    session = read_session(tmp_path / "a.wms")
    assert [marker.kind for marker in session.markers] == ["reset", "branch", "reset"]
    assert [record.index for record in session.path_to(9)] == [0, 1, 2, 3, 6, 7, 8, 9]
    assert [record.frame for record in session.path_to(9)] == list(range(8))
    result = verify(session, NeuralWorld(tiny_folder, EngineOptions(threads=1)))
    assert (result.steps, result.equal, result.first) == (13, 13, None)


def test_what_is_too_long_ago_is_forgotten_and_the_rest_can_be_rewound(tiny_folder, tmp_path, monkeypatch):
    """So that hours of play take no more memory than minutes."""
    monkeypatch.setattr(recording, "MOST_REWOUND", 10)
    monkeypatch.setattr(recording, "MOST_KEPT", 11)
    world = RecordedWorld(NeuralWorld(tiny_folder, EngineOptions(threads=1)))
    opening = world.reset(0, 1).tokens
    world.record(tmp_path / "a.wms")
    made = [step.tokens for step in play(world, 37)]
    assert 10 <= world.length <= 11
    assert (world.peek(9).tokens == made[-10]).all()
    assert (world.rewind(4).tokens == made[-5]).all()
    again = [step.tokens for step in play(world, 2)]
    kept = world.length
    boundary = made[-5 + 2 - kept] if kept else made[-1]
    assert (world.rewind(99).tokens == boundary).all()
    play(world, 3)
    assert (world.anchor().tokens == opening).all()
    world.close()
    assert len(again) == 2
    result = verify(read_session(tmp_path / "a.wms"), NeuralWorld(tiny_folder, EngineOptions(threads=1)))
    assert (result.steps, result.equal) == (42, 42)


def test_bookmark_and_anchor(tiny_folder, tmp_path):
    world = RecordedWorld(NeuralWorld(tiny_folder, EngineOptions(threads=1)))
    world.reset(0, 1)
    world.record(tmp_path / "a.wms")
    marked = play(world, 3)[-1].tokens
    world.bookmark()
    play(world, 4)
    assert (world.anchor().tokens == marked).all()
    play(world, 2)
    world.close()
    session = read_session(tmp_path / "a.wms")
    assert [(marker.kind, marker.index) for marker in session.markers] == [("bookmark", 3), ("reset", 7)]
    assert verify(session, NeuralWorld(tiny_folder, EngineOptions(threads=1))).equal == 9


def test_resume_goes_on_from_the_recorded_frame(recorded, tiny_folder, tmp_path, capsys):
    session = read_session(recorded)
    arguments = [
        "play",
        "--world",
        str(tiny_folder),
        "--headless",
        "--threads",
        "1",
        "--report",
        str(tmp_path / "r.json"),
    ]
    second = tmp_path / "second.wms"
    assert main([*arguments, "--resume", f"{recorded}@7", "--frames", "5", "--record", str(second)]) == 0
    resumed = read_session(second)
    assert resumed.steps[0].frame == 8
    assert (resumed.markers[0].opening.tokens[-1] == session.steps[7].tokens).all()
    assert main(["replay", str(second), "--verify", "--threads", "1"]) == 0
    for wrong, message in (
        (f"{recorded}@20", "has no step 20: it has 20"),
        ("nowhere.wms", "no recording nowhere.wms"),
    ):
        assert main([*arguments, "--resume", wrong]) == 2
        assert message in capsys.readouterr().err
    assert main([*arguments, "--resume", str(recorded), "--start", "1"]) == 2


def test_the_runner_rewinds_while_the_key_is_held(tiny_folder):
    """Through the game loop: run, rewind, let go, and the picture is one that was seen before."""
    from client.play.actions import source_of
    from client.play.commands import Rewind
    from client.play.runner import Runner
    from worldmodel.data.random_play import random_actions

    runner = Runner(
        lambda stage: RecordedWorld(NeuralWorld(tiny_folder, EngineOptions(threads=1))),
        source_of(random_actions(1)),
        fps=50,
    )
    seen = {}

    def wait(condition):
        deadline = time.monotonic() + 120
        while not condition():
            picture = runner.state.picture
            if picture is not None and not rewinding:
                seen[picture.index] = picture.frame
            assert time.monotonic() < deadline
            time.sleep(0.001)

    rewinding = False
    runner.start()
    try:
        wait(lambda: runner.state.picture is not None and runner.state.picture.index >= 12)
        rewinding = True
        runner.send(Rewind(True))
        wait(lambda: runner.state.picture.index <= 6)
        runner.send(Rewind(False))
        steps = runner.state.steps
        wait(lambda: runner.state.steps > steps)
        assert runner.state.picture.index <= 12
    finally:
        assert runner.stop(5)
    assert runner.state.error is None


def test_an_exported_clip_is_training_data(recorded, tiny_folder, tmp_path):
    """Session -> VPT clip -> reader: the actions are equal, the frames within the codec's error."""
    from worldmodel.data.clips import read_clip

    assert main(["replay", str(recorded), "--export", str(tmp_path / "clips"), "--threads", "1"]) == 0
    session = read_session(recorded)
    steps = list(read_clip(tmp_path / "clips" / "s.mp4", 48, 80))
    assert len(steps) == len(session.steps)
    for step, record in zip(steps, session.steps, strict=True):
        assert step.action.buttons == record.action.buttons
        assert step.action.pitch == pytest.approx(record.action.pitch)
        assert step.action.yaw == pytest.approx(record.action.yaw)
    world = ReplayWorld(session, tiny_folder, threads=1)
    frames = [world.reset().frame, *(world.step(record.action).frame for record in session.steps)]
    # Random weights make coloured noise, of which the codec keeps the brightness alone.
    luma = np.array([0.299, 0.587, 0.114])
    grey = [frame @ luma for frame in frames]
    for index, step in enumerate(steps):
        errors = [abs(step.frame @ luma - other).mean() for other in grey]
        assert errors[index] < 10
        assert errors[index] == min(errors)


def test_a_strip_shows_the_session_and_says_why_it_cannot_be_made(recorded, tiny_folder, tmp_path, capsys):
    session = read_session(recorded)
    strip = np.asarray(Image.open(make_strip(recorded, session)))
    world = ReplayWorld(session, tiny_folder, threads=1)
    for shown, position in ((strip[:, :80], 1), (strip[:, -80:], 20)):
        assert abs(shown.astype(int) - world.show(position).frame).mean() < 1  # two decoders, one of them in int8
    (tmp_path / "lost").mkdir()
    header = replace(session.header, checkpoint="nowhere", world="nowhere")
    with SessionWriter(tmp_path / "lost" / "x.wms", header) as writer:
        writer.step(session.steps[0])
    capsys.readouterr()
    assert main(["sessions", str(tmp_path / "lost")]) == 0
    assert "no world 'nowhere'" in capsys.readouterr().out
    assert main(["sessions", str(tmp_path / "lost"), "--no-strips"]) == 0
    assert "nowhere'" not in capsys.readouterr().out


def test_the_list_of_sessions(recorded, tmp_path, capsys):
    data = recorded.read_bytes()
    (tmp_path / "cut.wms").write_bytes(data[: len(data) // 2])
    (tmp_path / "bad.wms").write_bytes(b"nothing")
    capsys.readouterr()
    assert main(["sessions", str(tmp_path)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "0:02" in lines["s.wms"]
    assert lines["s.wms"].split()[-2:] == ["whole", "s.wms.png"]
    assert "recovered" in lines["cut.wms"]
    assert "no session file" in lines["bad.wms"]
    with Image.open(tmp_path / "s.wms.png") as strip:
        assert strip.size == (8 * 80, 48)
    made = (tmp_path / "s.wms.png").stat().st_mtime_ns
    assert main(["sessions", str(tmp_path)]) == 0
    assert (tmp_path / "s.wms.png").stat().st_mtime_ns == made  # once
    assert not list(tmp_path.glob(".*"))
    (tmp_path / "empty").mkdir()
    assert main(["sessions", str(tmp_path / "empty")]) == 2
    assert "no recordings" in capsys.readouterr().err
