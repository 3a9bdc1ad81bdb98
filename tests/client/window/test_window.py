"""The real client in a real window: its own X server, real keys and a real mouse. Leaves nothing running."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT

pytestmark = pytest.mark.window

ARTEFACTS = ROOT / "artefacts"
PATIENCE = 120.0
QUIET_S = 1.5  # a game that plays makes many frames meanwhile
SCREEN = "1280x800x24"
CENTRE = ("640", "400")

# The client on the fake world; every step's action is written down as a line of JSON.
PLAYER = """
import json, sys
from fakes import FakeWorld
from client.window.options import WindowOptions
from client.window.run import run_window
log = open(sys.argv[1], "a", buffering=1)
class Logged(FakeWorld):
    def step(self, action):
        log.write(json.dumps([sorted(action.buttons), action.pitch, action.yaw]) + "\\n")
        return super().step(action)
sys.exit(run_window(lambda stage: Logged(), WindowOptions()))
"""

# The real command, which also writes down every position that it shows.
REPLAYER = """
import json, sys
from client.cli import main
from client.sessions.playback import ReplayWorld
log, show = open(sys.argv[1], "a", buffering=1), ReplayWorld.show
def logged(world, position):
    log.write(json.dumps([position]) + "\\n")
    return show(world, position)
ReplayWorld.show = logged
sys.exit(main(["replay", sys.argv[2], "--threads", "1"]))
"""


def wait_for(what, message):
    deadline = time.monotonic() + PATIENCE
    while not (value := what()):
        assert time.monotonic() < deadline, message
        time.sleep(0.05)
    return value


def wait_still(what, message):
    """The value that has not changed for QUIET_S: however long it takes until it stands."""
    deadline = time.monotonic() + PATIENCE
    value, since = what(), time.monotonic()
    while time.monotonic() - since < QUIET_S:
        assert time.monotonic() < deadline, message
        time.sleep(0.05)
        if (now := what()) != value:
            value, since = now, time.monotonic()
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


class Session:
    """A program with a window, running on the display: xdotool, screenshots, and the lines of JSON that it writes."""

    def __init__(self, display, folder, program, *arguments):
        self.display, self.log, self.errors = display, folder / "log.jsonl", folder / "stderr"
        self.environment = {
            **os.environ,
            "DISPLAY": display,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
            "SDL_AUDIODRIVER": "dummy",
        }
        for name in ("SDL_VIDEODRIVER", "WAYLAND_DISPLAY"):
            self.environment.pop(name, None)
        self.log.touch()
        with self.errors.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, str(self.log), *arguments],
                env=self.environment,
                cwd=folder,
                stderr=stderr,
            )

    def wait(self):
        """Until the first line is there."""
        wait_for(lambda: self.lines() or self.process.poll() is not None, "no step was made")
        assert self.process.poll() is None, self.errors.read_text()

    def xdotool(self, *arguments):
        return subprocess.run(
            ["xdotool", *arguments],
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        ).stdout

    def lines(self):
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("]")]

    def picture(self, path):
        """What is really on the X screen, uint8 (800, 1280, 3); kept as a PNG."""
        code = (
            "import sys\nfrom PIL import ImageGrab\n"
            "ImageGrab.grab(xdisplay=sys.argv[1]).convert('RGB').save(sys.argv[2])"
        )
        subprocess.run([sys.executable, "-c", code, self.display, str(path)], check=True, timeout=PATIENCE)
        from PIL import Image

        return np.asarray(Image.open(path))


@pytest.fixture
def session(display, tmp_path):
    """The client on the fake world."""
    running = Session(display, tmp_path, PLAYER)
    try:
        running.wait()
        yield running
    finally:
        stop(running.process)


def test_keys_and_mouse_reach_the_world_and_move_the_picture(session):
    ARTEFACTS.mkdir(exist_ok=True)
    session.xdotool("mousemove", *CENTRE)  # there is no window manager: SDL centres the window and takes the focus
    before = session.picture(ARTEFACTS / "window-before.png")

    session.xdotool("keydown", "w")
    wait_for(lambda: any("forward" in buttons for buttons, _, _ in session.lines()), "W did not arrive")
    for _ in range(5):
        session.xdotool("mousemove_relative", "--", "20", "8")
    wait_for(lambda: sum(yaw for _, _, yaw in session.lines()) > 5, "the mouse did not turn the camera to the right")
    assert sum(pitch for _, pitch, _ in session.lines()) > 1  # and down
    session.xdotool("key", "space")  # shorter than a step
    wait_for(lambda: any("jump" in buttons for buttons, _, _ in session.lines()), "the short press was lost")
    after = session.picture(ARTEFACTS / "window-playing.png")
    assert np.abs(after.astype(int) - before).mean() > 2
    session.xdotool("keyup", "w")
    wait_for(lambda: "forward" not in session.lines()[-1][0], "W stayed down")

    session.xdotool("key", "Escape")
    paused = wait_still(lambda: len(session.lines()), "Esc does not pause")
    assert session.process.poll() is None  # Esc never quits
    session.picture(ARTEFACTS / "window-paused.png")
    session.xdotool("mousemove", *CENTRE, "click", "1")
    wait_for(lambda: len(session.lines()) > paused, "a click did not go on")
    assert all("attack" not in buttons for buttons, _, _ in session.lines())

    session.xdotool("key", "Escape")
    session.xdotool("key", "ctrl+q")
    assert session.process.wait(PATIENCE) == 0


def manage_windows(display):
    """A window manager on the display; skips the test where there is none."""
    if shutil.which("openbox") is None:
        pytest.skip("openbox is not installed: apt-get install openbox")
    environment = {**os.environ, "DISPLAY": display}
    manager = subprocess.Popen(["openbox", "--sm-disable"], env=environment, stderr=subprocess.DEVNULL)

    def there():
        assert manager.poll() is None, "openbox did not start"
        asked = ["xdotool", "get_desktop"]  # which a window manager keeps
        return subprocess.run(asked, env=environment, capture_output=True, check=False).returncode == 0

    wait_for(there, "openbox does not answer")
    return manager


@pytest.mark.parametrize("managed", [False, True], ids=["no window manager", "openbox"])
def test_full_screen_and_back_is_the_window_as_it_was(display, tmp_path, managed):
    manager = manage_windows(display) if managed else None
    running = Session(display, tmp_path, PLAYER)
    try:
        running.wait()
        window = running.xdotool("getwindowfocus").strip()

        def geometry():
            lines = running.xdotool("getwindowgeometry", "--shell", window).splitlines()
            values = dict(line.split("=") for line in lines)
            return tuple(int(values[name]) for name in ("X", "Y", "WIDTH", "HEIGHT"))

        running.xdotool("windowsize", window, "700", "500")
        wait_for(lambda: geometry()[2:] == (700, 500), "it was not resized")
        before = geometry()
        running.xdotool("windowmove", window, "150", "90")
        wait_for(lambda: geometry() != before, "it was not moved")
        wait_for(lambda: len(running.lines()) > 5, "it does not play")
        windowed = geometry()
        for _ in range(2):
            running.xdotool("key", "F11")
            wait_for(lambda: geometry() == (0, 0, 1280, 800), "it does not fill the screen")
            running.xdotool("key", "F11")
            wait_for(lambda: geometry() == windowed, f"it is not as it was, {windowed}")
        steps = len(running.lines())
        wait_for(lambda: len(running.lines()) > steps, "it stood still")
        assert geometry() == windowed
        assert not running.errors.read_text()
    finally:
        stop(running.process)
        if manager is not None:
            stop(manager)


def test_a_recording_is_scrubbed_in_a_real_window(display, tiny_folder, tmp_path):
    from client.cli import main

    ARTEFACTS.mkdir(exist_ok=True)
    recording = tmp_path / "s.wms"
    arguments = ["play", "--world", str(tiny_folder), "--headless", "--frames", "400", "--seed", "5", "--threads", "1"]
    assert main([*arguments, "--record", str(recording), "--report", str(tmp_path / "report.json")]) == 0
    replay = Session(display, tmp_path, REPLAYER, str(recording))

    def at():
        return replay.lines()[-1][0]

    try:
        replay.wait()
        wait_for(lambda: at() > 3, "it does not play")
        replay.xdotool("mousemove", *CENTRE, "key", "space")
        paused = wait_still(at, "Space does not pause")
        replay.xdotool("key", "period")
        wait_for(lambda: at() == paused + 1, "no frame step")
        replay.xdotool("key", "comma")
        wait_for(lambda: at() == paused, "no frame step back")
        replay.xdotool("key", "Right")
        wait_for(lambda: at() == paused + 10, "Right does not seek")
        # The window, 960 x 560, stands in the middle of the screen; the bar lies at its lower edge.
        replay.xdotool("mousemove", "400", "652", "mousedown", "1", "mousemove", "640", "652", "mouseup", "1")
        wait_for(lambda: 190 <= at() <= 210, "dragging does not seek")
        replay.picture(ARTEFACTS / "replay.png")
        replay.xdotool("key", "Home")
        wait_for(lambda: at() == 0, "Home does not seek")
        replay.xdotool("key", "ctrl+q")
        assert replay.process.wait(PATIENCE) == 0
    finally:
        stop(replay.process)
