"""The real client in a real window: its own X server, real keys and a real mouse. Leaves nothing running."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.window

ROOT = Path(__file__).resolve().parent.parent
ARTEFACTS = ROOT / "artefacts"
PATIENCE = 30.0
SCREEN = "1280x800x24"
CENTRE = ("640", "400")

# The client on the fake world; every step's action is written down as a line of JSON.
PLAYER = """
import json, sys
from fakes import FakeWorld
from client.loop import WindowOptions
from client.window import run_window
log = open(sys.argv[1], "a", buffering=1)
class Logged(FakeWorld):
    def step(self, action):
        log.write(json.dumps([sorted(action.buttons), action.pitch, action.yaw]) + "\\n")
        return super().step(action)
sys.exit(run_window(lambda stage: Logged(), WindowOptions()))
"""


def wait_for(what, message):
    deadline = time.monotonic() + PATIENCE
    while not (value := what()):
        assert time.monotonic() < deadline, message
        time.sleep(0.05)
    return value


def stop(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


@pytest.fixture
def display():
    """A fresh X server; its name, such as ":7"."""
    for program in ("Xvfb", "xdotool"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install xvfb xdotool")
    readable, writable = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writable), "-screen", "0", SCREEN, "-nolisten", "tcp"],
        pass_fds=[writable],
        stderr=subprocess.DEVNULL,
    )
    os.close(writable)
    with os.fdopen(readable) as answer:
        number = answer.readline().strip()
    try:
        assert number, "Xvfb did not start"
        yield f":{number}"
    finally:
        stop(server)


@pytest.fixture
def session(display, tmp_path):
    """xdotool, a screenshot function, the log of actions, and the running client."""
    environment = {**os.environ, "DISPLAY": display, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    for name in ("SDL_VIDEODRIVER", "WAYLAND_DISPLAY"):
        environment.pop(name, None)
    environment["SDL_AUDIODRIVER"] = "dummy"
    log, errors = tmp_path / "actions.jsonl", tmp_path / "stderr"
    log.touch()
    with errors.open("w") as stderr:
        client = subprocess.Popen(
            [sys.executable, "-c", PLAYER, str(log)], env=environment, cwd=tmp_path, stderr=stderr
        )

    class Session:
        process = client

        @staticmethod
        def xdotool(*arguments):
            return subprocess.run(
                ["xdotool", *arguments], env=environment, check=True, capture_output=True, text=True, timeout=PATIENCE
            ).stdout

        @staticmethod
        def actions():
            return [json.loads(line) for line in log.read_text().splitlines() if line.endswith("]")]

        @staticmethod
        def picture(path):
            """What is really on the X screen, uint8 (800, 1280, 3); kept as a PNG."""
            code = (
                "import sys\nfrom PIL import ImageGrab\n"
                "ImageGrab.grab(xdisplay=sys.argv[1]).convert('RGB').save(sys.argv[2])"
            )
            subprocess.run([sys.executable, "-c", code, display, str(path)], check=True, timeout=PATIENCE)
            from PIL import Image

            return np.asarray(Image.open(path))

    try:
        wait_for(lambda: Session.actions() or client.poll() is not None, "no step was made")
        assert client.poll() is None, errors.read_text()
        yield Session
    finally:
        stop(client)


def test_keys_and_mouse_reach_the_world_and_move_the_picture(session):
    ARTEFACTS.mkdir(exist_ok=True)
    session.xdotool("mousemove", *CENTRE)  # there is no window manager: SDL centres the window and takes the focus
    before = session.picture(ARTEFACTS / "window-before.png")

    session.xdotool("keydown", "w")
    wait_for(lambda: any("forward" in buttons for buttons, _, _ in session.actions()), "W did not arrive")
    for _ in range(5):
        session.xdotool("mousemove_relative", "--", "20", "8")
    wait_for(lambda: sum(yaw for _, _, yaw in session.actions()) > 5, "the mouse did not turn the camera to the right")
    assert sum(pitch for _, pitch, _ in session.actions()) > 1  # and down
    session.xdotool("key", "space")  # shorter than a step
    wait_for(lambda: any("jump" in buttons for buttons, _, _ in session.actions()), "the short press was lost")
    after = session.picture(ARTEFACTS / "window-playing.png")
    assert np.abs(after.astype(int) - before).mean() > 2
    session.xdotool("keyup", "w")
    wait_for(lambda: "forward" not in session.actions()[-1][0], "W stayed down")

    session.xdotool("key", "Escape")
    time.sleep(0.5)
    paused = len(session.actions())
    time.sleep(0.5)
    assert len(session.actions()) == paused
    assert session.process.poll() is None  # Esc never quits
    session.picture(ARTEFACTS / "window-paused.png")
    session.xdotool("mousemove", *CENTRE, "click", "1")
    wait_for(lambda: len(session.actions()) > paused, "a click did not go on")
    assert all("attack" not in buttons for buttons, _, _ in session.actions())

    session.xdotool("key", "Escape")
    session.xdotool("key", "ctrl+q")
    assert session.process.wait(PATIENCE) == 0
