"""Opens a window on a world, plays it until it is closed, and reports."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

import pygame

from client.play.report import make_report, write_report
from client.play.runner import WorldFactory
from client.window.base import Window
from client.window.loop import Client
from client.window.options import WindowOptions
from worldmodel.ending import exit_code
from worldmodel.failure import report_failure
from worldmodel.types import WorldModelError

STOP_S = 2.0  # that a step in progress gets to end once the window is closed


def run_window(
    world_factory: WorldFactory,
    options: WindowOptions | None = None,
    make_client: Callable[[WorldFactory, WindowOptions], Window] = Client,
    instead: str = "use --headless",
) -> int:
    """Plays a world in a window until it is closed, and returns the exit code: 0; 1 if the world broke; 2 for a
    mistake of the user's; 128 and the number of a signal that ended it. Failures are one sentence on stderr.
    make_client: called when the display is open; instead: what to do where none can be."""
    options = options or WindowOptions()
    try:
        pygame.display.init()
        if pygame.display.get_driver() in ("offscreen", "dummy") and "SDL_VIDEODRIVER" not in os.environ:
            raise pygame.error("no display answers")  # SDL would play on, unseen
        if pygame.display.get_driver() == "x11":
            # Else SDL may push every picture through a software OpenGL, on the cores that the model needs.
            os.environ.setdefault("SDL_FRAMEBUFFER_ACCELERATION", "0")
        pygame.font.init()
        _start_gamepads()
        client = make_client(world_factory, options)
    except pygame.error as error:
        pygame.quit()
        return report_failure(WorldModelError(f"no window can be opened ({error}); {instead}"))
    interrupt = None
    try:
        client.run()
    except KeyboardInterrupt as ended:
        interrupt = ended
    finally:
        pygame.display.quit()  # the window is gone at once, whatever the worker is doing
        client.runner.stop(STOP_S)
        if options.meter is not None:
            options.meter.stop(STOP_S)
        pygame.quit()
    state = client.runner.state
    if client.state.error is not None:
        return report_failure(client.state.error)
    if options.report is not None:
        report = make_report(client.all, state.steps, client.startup, state.dropped, options.seed, state.facts)
        try:
            write_report(report, options.report)
        except WorldModelError as error:
            return report_failure(error)
    return 0 if interrupt is None else exit_code(interrupt)


def _start_gamepads() -> None:
    from pygame._sdl2 import controller

    # A machine without any gamepad support can still be played by keyboard.
    with contextlib.suppress(pygame.error):
        controller.init()
