"""The served page in a real browser (Debian packages chromium and chromium-driver), with the shipped world."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from browser import chromium, run
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from serving import serving

from worldmodel.evaluation.metrics.motion import RIGHT, picture_shift

PATIENCE = 180  # seconds; a busy machine needs some
TURNS, PIXELS = 3, 27  # of the mouse, each of 4 degrees: a step's shift that can be measured
SETTLED = 5  # frames after which a move of the mouse is in the picture, however late it was sent
pytestmark = [
    pytest.mark.window,
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no chromium here"),
]


@pytest.fixture(scope="module")
def server():
    with serving("nano", "--players", "4") as server:
        yield server


class Tab:
    def __init__(self, driver):
        self.driver = driver
        self.wait = WebDriverWait(driver, PATIENCE)

    def told(self, name):
        return self.driver.execute_script(f"return document.documentElement.dataset.{name}")

    def open(self, address):
        self.driver.get(address)
        self.wait.until(lambda _: self.told("ready"))

    def find(self, name):
        return self.driver.find_element(By.ID, name)

    def frames(self, more):
        """Waits for so many pictures more."""
        wanted = int(self.told("frames")) + more
        self.wait.until(lambda _: int(self.told("frames")) >= wanted)

    def picture(self):
        """The canvas, uint8 (H, W, 3)."""
        data, width = run(
            self.driver,
            """const canvas = document.getElementById("screen");
            const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return [Array.from(data), width];""",
        )
        return np.array(data, np.uint8).reshape(-1, width, 4)[..., :3]


@pytest.fixture
def tab(server):
    with chromium() as driver:
        made = Tab(driver)
        made.open(server.link)
        yield made


def test_keys_and_mouse_change_the_picture_the_right_way_and_the_recording_verifies(server, tab, tmp_path):
    assert "token" not in tab.driver.current_url
    assert int(tab.told("bytes")) == 24 + 84 * 16 // 8  # tokens came, not a picture
    at_rest = tab.picture()
    assert at_rest.shape == (112, 192, 3)
    assert at_rest.std() > 10
    tab.find("play").click()
    for dx in (1, -1):
        shift = 0
        for _ in range(TURNS):
            before = tab.picture()
            tab.driver.execute_script(
                f"""if (!document.pointerLockElement) throw new Error("no pointer lock");
                dispatchEvent(new MouseEvent("mousemove", {{ movementX: {dx * PIXELS}, movementY: 0 }}))"""
            )
            tab.frames(SETTLED)
            shift += picture_shift(before, tab.picture(), RIGHT)
        assert shift * dx < 0, f"the picture goes the other way: {shift} pixels"
    ActionChains(tab.driver).key_down("w").perform()
    tab.wait.until(lambda _: tab.find("held").text == "forward")
    tab.frames(10)
    ActionChains(tab.driver).key_up("w").perform()
    walked = tab.picture()
    assert np.abs(walked.astype(int) - at_rest).mean() > 5
    assert float(tab.told("p50")) > 0
    tab.find("pause").click() if tab.find("pause").is_displayed() else None
    player = tab.driver.execute_script("return sessionStorage.getItem('worldmodel-player')")
    status, data, _ = server.ask(f"/recording?player={player}&token={server.token}")
    assert status == 200
    file = tmp_path / "played.wms"
    file.write_bytes(data)
    command = [sys.executable, "-m", "worldmodel", "replay", str(file), "--verify"]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_lost_connection_finds_its_game_and_a_dropped_recording_is_shown(server, tab):
    tab.find("play").click()
    tab.frames(6)
    index = int(tab.told("index"))
    run(tab.driver, "const { game } = await import('/page.js'); game.socket.close()")
    tab.wait.until(lambda _: tab.find("play").is_displayed())
    tab.find("play").click()
    tab.frames(3)
    assert int(tab.told("index")) > index
    run(
        tab.driver,
        """const { game } = await import('/page.js');
        const recording = await (await fetch(game.recording)).blob();
        const dropped = new DataTransfer();
        dropped.items.add(new File([recording], "played.wms"));
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true }));""",
    )
    tab.wait.until(lambda _: tab.told("replay") == "true")
    clock = tab.driver.find_element(By.CSS_SELECTOR, "#timeline output")
    tab.wait.until(lambda _: re.search(r"step [1-9]", clock.text))
    assert tab.find("timeline").is_displayed()
    assert not tab.find("cover").is_displayed()
    tab.driver.find_element(By.CSS_SELECTOR, "#timeline button").click()
    tab.wait.until(lambda _: tab.told("replay") == "false")
    assert tab.find("play").is_displayed()


def test_pictures_come_where_they_are_asked_for_and_on_a_phones_size(server):
    with chromium((400, 800)) as driver:
        tab = Tab(driver)
        tab.open(f"{server.link}&pixels=1")
        assert int(tab.told("bytes")) > 1000
        assert tab.picture().std() > 10
        width = driver.execute_script("return document.documentElement.scrollWidth - innerWidth")
        assert width <= 0, "nothing hangs over the edge"


def test_the_servers_end_is_told(tiny_folder):
    with chromium() as driver:
        tab = Tab(driver)
        with serving(str(tiny_folder), "--engine", "eager") as server:
            tab.open(server.link)
        tab.wait.until(lambda _: "connection is lost" in tab.find("message").text)
