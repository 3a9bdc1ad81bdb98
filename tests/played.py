"""The window's client on a made-up world, driven by made-up events."""

from __future__ import annotations

import os
import time

import pytest
from fakes import FakeWorld

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
pygame = pytest.importorskip("pygame")

from client.play.bindings import SCANCODES  # noqa: E402
from client.window.loop import Client  # noqa: E402
from client.window.options import WindowOptions  # noqa: E402

PATIENCE = 120.0  # seconds that a loaded machine may take for what is due at once


def key(name, down=True, mod=0, printed=""):
    """name: its place, as on a US keyboard; printed: what the layout has there."""
    code = ord(printed) if printed else 0
    return pygame.Event(
        pygame.KEYDOWN if down else pygame.KEYUP, scancode=SCANCODES[name], mod=mod, key=code, unicode=printed
    )


class Played:
    """A client on a fake world, driven by made-up events."""

    def __init__(self, world=None, make_client=Client, **options):
        self.world = world or FakeWorld(tick_rate=50.0)
        pygame.display.init()
        pygame.font.init()
        self.client = make_client(lambda stage: self.world, WindowOptions(**options))
        self.client.runner.start()
        self.until(lambda: self.client.state.picture is not None)

    def until(self, done):
        deadline = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < deadline, "it did not happen"
            self.client.handle(pygame.event.wait(10))
            self.client.update()

    def press(self, name, mod=0):
        self.client.handle(key(name, mod=mod))
        self.client.handle(key(name, down=False, mod=mod))

    def index(self):
        return self.client.state.picture.index

    def settle(self):
        """Paused: waits until the step in progress is over."""
        self.until(lambda: self.client.runner._commands.empty())
        for _ in range(3):
            self.client.handle(pygame.event.wait(40))
            self.client.update()

    def close(self):
        assert self.client.runner.stop(PATIENCE)
