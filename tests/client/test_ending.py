"""How the command ends before its time: a signal, a reader that has gone, a device that is full."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from conftest import ROOT

from client.checks import check
from client.options import Play
from recordings.format import RecordingError
from recordings.reader import read_session
from worldmodel.games.luanti.presets import DEFAULT_LAND, land_of
from worldmodel.settings import SamplingOptions
from worldmodel.types import WorldModelError

DOORS = (["-m", "client"], ["-m", "worldmodel"])


def command(*arguments: str, **options: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


@pytest.mark.parametrize("door", DOORS)
def test_the_version_is_told(door):
    told, errors = (process := command(*door, "--version")).communicate()
    assert (process.returncode, errors) == (0, "")
    assert told.startswith("worldmodel 0.")


def steps_of(recording):
    """That are whole so far, while it is written."""
    try:
        return len(read_session(recording).steps)
    except (RecordingError, OSError):
        return 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_play_with_the_report_of_what_was_played(tiny_folder, tmp_path, number):
    report = tmp_path / "report.json"
    walk = tmp_path / "walk.wms"
    process = command(
        *DOORS[0], "play", "--world", str(tiny_folder), "--headless", "--frames", "100000", "--actions", "random",
        "--engine", "eager", "--record", str(walk), "--report", str(report),
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while steps_of(walk) < 10 and time.monotonic() < deadline:  # it plays
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number, errors
    assert "Traceback" not in errors
    assert 0 < json.loads(report.read_text())["frames"] < 100_000
    checked = command(*DOORS[0], "replay", str(walk), "--verify", "--engine", "eager")
    told, errors = checked.communicate(timeout=300)
    assert checked.returncode == 0, told + errors


def test_a_reader_that_has_gone_is_no_failure():
    process = command(*DOORS[0], "play", "--help")
    process.stdout.close()
    process.wait(120)
    assert "Traceback" not in process.stderr.read()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_cannot_be_written_is_one_sentence():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, *DOORS[0], "--version"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert "standard output cannot be written" in done.stderr


def test_a_land_is_a_world_and_an_unknown_one_is_named_before_anything_starts():
    assert land_of("luanti") == DEFAULT_LAND
    assert land_of("luanti:snow") == "snow"
    assert land_of("nano") is None
    with pytest.raises(WorldModelError, match="no land 'moon'; known are mixed, meadow"):
        check(Play(world="luanti:moon"))
    with pytest.raises(WorldModelError, match="--temperature"):
        check(Play(world="luanti:snow", sampling=SamplingOptions(temperature=0.5), headless=True))


@pytest.mark.parametrize("script", ["train_world", "compare"])
def test_a_script_whose_output_is_not_taken_ends_in_one_sentence(script):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    arguments = [sys.executable, str(ROOT / "scripts" / f"{script}.py"), "--help"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            arguments, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False
        )
    assert done.returncode == 2
    assert done.stderr == "error: standard output cannot be written (No space left on device)\n"
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()  # as `| head` does
    assert process.wait(120) == 141
    assert process.stderr.read() == ""


def test_a_signal_after_openvino_has_been_left_is_no_crash(tiny_folder):
    """Its plugin sets a stack for signal handlers, which must outlive the engines that used it."""
    program = """
        import gc, signal, sys
        from pathlib import Path
        from worldmodel.settings import EngineOptions
        from worldmodel.worlds.neural import NeuralWorld
        for _ in range(2):
            world = NeuralWorld(Path(sys.argv[1]), EngineOptions("openvino", threads=1)).load()
            world.reset()
            del world
            gc.collect()
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            print("interrupted")
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tiny_folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
