"""Measures both doors of the browser on this machine: what `worldmodel serve` sends and how late, how fast a tab plays
alone beside Python, how many players a machine holds at the world's pace, and a long game of four.

    python tests/web_speed.py [--minutes 20]

Needs Debian's chromium, chromium-driver and xvfb. The figures go into benchmarks/web.json. Exit code 1 if the long game
lost a step.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from browser import chromium, served
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from serving import Page, Server, serving
from soak import growth

from client.play.recording import MOST_KEPT
from client.web.folder import write_web
from recordings.reader import read_session
from worldmodel.data.frames import write_json
from worldmodel.measure.provenance import provenance
from worldmodel.parsing import read_json

RESULTS = Path(__file__).parent.parent / "benchmarks/web.json"
PATIENCE_S = 180.0
FRAMES, WARM = 200, 20  # of a speed
KEY_EVERY_S = 0.5  # a key is pressed or let go, so that latency is of something
PLAYERS = (1, 2, 4, 8)
STRETCH_S = 20.0  # that so many players are counted for
SOAK_EVERY_S = 5.0
KEYS = ("KeyW", "KeyD", "KeyA", "KeyS", "Space")


@dataclass(frozen=True)
class Arguments:
    """How long the long game lasts, and where the figures go."""

    minutes: float = 20.0
    """Of the long game, after each player's history is full: ten minutes and more."""
    world: str = "nano"
    """The world: "nano", or a checkpoint's folder."""
    only: tuple[str, ...] = ()
    """What is measured anew (served, tab, players, ...); the file's other figures stay. Default: everything."""
    out: Path = RESULTS
    """File for the figures."""


def in_chromium(address: str) -> dict[str, Any]:
    """A page that plays FRAMES pictures, with keys: what it says of itself."""
    with chromium() as driver:
        wait = WebDriverWait(driver, PATIENCE_S)

        def told(name: str) -> Any:
            return driver.execute_script(f"return document.documentElement.dataset.{name}")

        driver.get(address)
        wait.until(lambda _: told("ready"))
        driver.find_element(By.ID, "play").click()
        end, down = int(told("frames")) + WARM + FRAMES, False
        while int(told("frames")) < end:
            keys = ActionChains(driver, duration=0)
            (keys.key_up if down else keys.key_down)("w").perform()
            down = not down
            time.sleep(KEY_EVERY_S)
        found: dict[str, Any] = {"fps": float(told("fps").split()[0]), "missed": int(told("missed") or 0)}
        if told("p50"):
            found["latency_ms"] = {"p50": float(told("p50")), "p95": float(told("p95"))}
        if told("bytes"):
            found["bytes_a_frame"] = int(told("bytes"))
        return found


def in_the_window(world: str) -> dict[str, Any]:
    """The same world in a window of a virtual screen."""
    if shutil.which("xvfb-run") is None:
        sys.exit("error: the window is measured in a virtual screen: apt-get install xvfb")
    command = ["xvfb-run", "-a", sys.executable, "-m", "worldmodel", "play", "--world", world, "--frames", str(FRAMES)]
    done = subprocess.run(
        [*command, "--actions", "random", "--seed", "1", "--report", "-"], stdout=subprocess.PIPE, check=True
    )
    report = json.loads(done.stdout)
    return {"fps": report["fps"], "latency_ms": {name: report["latency_ms"][name] for name in ("p50", "p95")}}


def in_the_tab(world: str) -> dict[str, Any]:
    """A page that plays alone, from a static folder; and Python's engine without a window, right before and after."""
    before = headless(world)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "web"
        if write_web(folder, world):
            sys.exit("error: the folder for the tab could not be written")
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        with served(folder) as address:
            found = in_chromium(address)
    return {**found, "folder_mb": round(size / 2**20, 1), "python_fps": [before, headless(world)]}


def headless(world: str) -> float:
    command = [sys.executable, "-m", "worldmodel", "play", "--world", world, "--headless", "--frames", "100"]
    done = subprocess.run([*command, "--actions", "random", "--report", "-"], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)["fps"]


class Bot(threading.Thread):
    """A page without a picture: holds keys, moves the mouse, shows what comes. Counts pictures of the game."""

    def __init__(self, page: Page, seed: int) -> None:
        super().__init__(daemon=True)
        self.page, self.rng = page, np.random.default_rng(seed)
        self.first = self.last = self.missed = self.seen = 0
        self.over = threading.Event()

    def run(self) -> None:
        self.page.next()
        self.page.do("play")
        while not self.over.is_set():
            picture = self.page.next()
            self.first, self.last = self.first or picture.index, picture.index
            self.missed, self.seen = picture.missed, self.seen + 1
            if picture.number % 5 == 0:
                key, other = self.rng.choice(KEYS, 2)
                self.page.input(["up", str(key)], ["down", str(other)], ["move", float(self.rng.normal(0, 20)), 0.0])
        self.page.do("pause")


@contextmanager
def playing(server: Server, count: int) -> Iterator[list[Bot]]:
    with ExitStack() as stack:
        bots = [Bot(stack.enter_context(server.page()), seed) for seed in range(count)]
        for bot in bots:
            bot.start()
        try:
            yield bots
        finally:
            for bot in bots:
                bot.over.set()
            for bot in bots:
                bot.join(PATIENCE_S)


def players(world: str, count: int) -> dict[str, Any]:
    """Frames a second of each of so many players at once."""
    with serving(world, "--players", str(count)) as server, playing(server, count) as bots:
        wait_for(lambda: all(bot.last > WARM for bot in bots))
        before, began = [bot.last for bot in bots], time.monotonic()
        time.sleep(STRETCH_S)
        seconds = time.monotonic() - began
        rates = [(bot.last - first) / seconds for bot, first in zip(bots, before, strict=True)]
    return {"players": count, "fps_each": [round(rate, 2) for rate in rates]}


def wait_for(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not ready():
        if time.monotonic() > end:
            sys.exit("error: the players do not get on")
        time.sleep(0.1)


def long_game(world: str, minutes: float) -> dict[str, Any]:
    """Four players until each has as many steps behind it as can be rewound, so that none has more to remember, and so
    long from then on: memory of the server, pictures missed, steps that their recordings hold."""
    held: list[tuple[float, int]] = []
    full: float | None = None
    with tempfile.TemporaryDirectory() as name:
        with serving(world, "--players", "4", "--record", name) as server, playing(server, 4) as bots:
            wait_for(lambda: all(bot.last > WARM for bot in bots))
            began, at_first = time.monotonic(), server.memory()
            while full is None or time.monotonic() < full + 60 * minutes:
                if not all(bot.is_alive() for bot in bots):
                    sys.exit("error: a player was lost")
                if full is None and min(bot.last for bot in bots) > MOST_KEPT:
                    full = time.monotonic()
                elif full is not None:
                    held.append((time.monotonic() - full, server.memory()))
                time.sleep(SOAK_EVERY_S)
            seconds = time.monotonic() - began
        sessions = [read_session(path) for path in sorted(Path(name).glob("*.wms"))]
    slope, error = growth(held)
    steps = sum(len(session.steps) for session in sessions)
    return {
        "players": 4,
        "minutes": round(seconds / 60, 1),
        "minutes_after_filling": minutes,
        "frames": sum(bot.last for bot in bots),
        "missed": sum(bot.missed for bot in bots),
        "recorded_steps": steps,
        "lost_steps": max(0, sum(bot.last for bot in bots) - steps),
        "recordings_closed": all(session.ended for session in sessions),
        "held_mb": [round(size / 2**20, 1) for size in (at_first, held[0][1], held[-1][1])],
        "growth_an_hour": round(slope, 4),
        "standard_error": round(error, 4),
    }


def served_as(world: str, asked: str) -> dict[str, Any]:
    with serving(world, "--players", "1") as server:
        return in_chromium(server.link + asked)


def main(args: Arguments) -> int:
    measures: dict[str, Callable[[], Any]] = {
        "served": lambda: served_as(args.world, ""),
        "served as tokens": lambda: served_as(args.world, "&pixels=0"),
        "served as pictures": lambda: served_as(args.world, "&pixels=1"),
        "window": lambda: in_the_window(args.world),
        "tab": lambda: in_the_tab(args.world),
        "players": lambda: [players(args.world, count) for count in PLAYERS],
        "long game": lambda: long_game(args.world, args.minutes),
    }
    if unknown := set(args.only) - measures.keys():
        sys.exit(f"error: --only knows {', '.join(measures)}; not {', '.join(sorted(unknown))}")
    figures: dict[str, Any] = read_json(args.out) if args.only else {"provenance": {}}
    for name in args.only or measures:
        figures[name], figures["provenance"][name] = measures[name](), provenance()
        print(name, figures[name], flush=True)
    write_json(args.out, figures)
    return int(bool(figures.get("long game", {}).get("lost_steps")))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments, description=__doc__)))
