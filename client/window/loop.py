"""The window that is played in: keyboard, mouse and gamepads are the world's actions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pygame

from client.play.bindings import MOUSE_KEYS, PAD_KEYS, key_name
from client.play.commands import (
    Anchor,
    Bookmark,
    ChangeTemperature,
    MoveStart,
    Restart,
    SingleStep,
    ToggleRecording,
)
from client.play.controls import Axis, Controls, Event, Motion, Press, Release, ReleaseAll, ReleasePads, Wheel
from client.play.game import Picture
from client.play.keys import FIRST_NOTE, PLAY
from client.play.panel import Lines, panel_lines
from client.play.runner import WorldFactory
from client.window.base import Window
from client.window.first_start import remember, remembered
from client.window.inputs import shortcut_name
from client.window.options import WindowOptions
from client.window.view import View
from worldmodel.types import HOTBAR, Action

TEMPERATURE_STEP = 0.1
SESSION_NAME = "session-%Y%m%d-%H%M%S.wms"
_AXES = ("left x", "left y", "right x", "right y", "left trigger", "right trigger")  # in SDL's order
_PRESSES = (pygame.KEYDOWN, pygame.MOUSEBUTTONDOWN, pygame.CONTROLLERBUTTONDOWN)


def translate(event: pygame.Event) -> Event | None:
    """pygame's event -> the controls' event; None for one that is not a game input."""
    kind = event.type
    if kind in (pygame.KEYDOWN, pygame.KEYUP):
        name = key_name(event.scancode)
        return None if name is None else (Press(name) if kind == pygame.KEYDOWN else Release(name))
    if kind in (pygame.MOUSEBUTTONDOWN, pygame.MOUSEBUTTONUP):
        name = MOUSE_KEYS.get(event.button)
        return None if name is None else (Press(name) if kind == pygame.MOUSEBUTTONDOWN else Release(name))
    if kind == pygame.MOUSEMOTION:
        return Motion(*event.rel)
    if kind == pygame.MOUSEWHEEL:
        return Wheel(event.y)
    if kind in (pygame.CONTROLLERBUTTONDOWN, pygame.CONTROLLERBUTTONUP) and 0 <= event.button < len(PAD_KEYS):
        name = PAD_KEYS[event.button]
        return Press(name) if kind == pygame.CONTROLLERBUTTONDOWN else Release(name)
    if kind == pygame.CONTROLLERAXISMOTION and 0 <= event.axis < len(_AXES):
        return Axis(_AXES[event.axis], max(-1.0, event.value / 32767))
    return None


class Client(Window):
    """by_hand: a user plays, with the mouse held in the window; else given actions do."""

    table = PLAY
    with_game_keys = True

    def __init__(self, factory: WorldFactory, options: WindowOptions) -> None:
        self.by_hand = options.source is None
        self.controls = Controls(options.table, options.sensitivity, inputs=options.inputs)
        self._input = threading.Lock()  # the worker reads the controls that the main thread feeds
        beside = options.meter.beside(factory) if options.meter is not None else factory
        super().__init__(beside, options.source or self._sample, options)
        self.first_keys = self.by_hand and options.keys_mark is not None and not remembered(options.keys_mark)
        self.help = self.first_keys

    def handlers(self) -> dict[str, Callable[[], object]]:
        again = "the last bookmark's picture (or the opening) is the context again"
        return super().handlers() | {
            "free": lambda: self.pause(free=True),
            "pause": self.toggle_pause,
            "step": self._single_step,
            "restart": lambda: self._restart(Restart(), "started again"),
            "next seed": lambda: self._restart(Restart(new_seed=True), "started again with the next seed"),
            "bookmark": self._bookmark,
            "anchor": lambda: self._restart(Anchor(), again),
            "previous scene": lambda: self._restart(MoveStart(-1), "previous start scene"),
            "next scene": lambda: self._restart(MoveStart(1), "next start scene"),
            "colder": lambda: self._change_temperature(-TEMPERATURE_STEP),
            "warmer": lambda: self._change_temperature(TEMPERATURE_STEP),
            "record": self._record,
        }

    # --- the worker's two calls

    def _sample(self) -> Action | None:
        with self._input:
            return self.controls.take()

    def _notify(self) -> None:
        # In the worker's thread, so that the picture is the result of the action that was taken last.
        picture = self.runner.state.picture
        if picture is not None:
            with self._input:
                self.controls.see_slot(picture.status.slot, picture.cut)
        if self.options.meter is not None:
            self.options.meter.see(picture)
        super()._notify()

    # --- events

    def handle(self, event: pygame.Event) -> bool:
        kind = event.type
        if self.first_keys and kind in _PRESSES:  # seen; what was pressed counts as ever
            self._remember_keys()
            self.first_keys = self.help = False
            self._dirty = True
            if kind == pygame.KEYDOWN and shortcut_name(event) == "F1":
                return True  # else it would open them again
        if super().handle(event):
            return True
        if kind == pygame.DROPFILE:
            self._restart(Anchor(Path(event.file)), f"going on from {Path(event.file).name}")
        elif kind == pygame.MOUSEBUTTONDOWN and not self.grabbed and self.by_hand:
            if event.button == 1:  # this click takes the mouse: it is no attack
                self.play()
        elif kind not in (pygame.MOUSEMOTION, pygame.MOUSEWHEEL) or self.grabbed:
            return self._play_input(event)
        return True

    def _play_input(self, event: pygame.Event) -> bool:
        translated = translate(event)
        if translated is None:
            return False
        with self._input:
            self.controls.handle(translated)
        self._dirty = self._dirty or event.type != pygame.MOUSEMOTION
        return True

    def _is_of_the_game(self, event: pygame.Event) -> bool:
        return self.by_hand and key_name(event.scancode) in self.options.table

    def _focus_lost(self) -> None:
        # Keys that go up in another window are never reported here: without this they would stay down.
        with self._input:
            self.controls.handle(ReleaseAll())
        super()._focus_lost()
        if self.grabbed:
            self.pause(free=True)

    def pause(self, free: bool = False) -> None:
        """Stands still; free: gives the mouse back too."""
        super().pause()
        if free:
            self._grab(False)
            with self._input:
                self.controls.handle(ReleaseAll())

    def play(self) -> None:
        """Goes on, with the mouse held."""
        if self.by_hand and self.state.picture is not None:
            self._grab(True)
        if self.paused:
            with self._input:
                self.controls.forget()  # what was pressed and let go during the pause is no input
        super().play()

    def _grab(self, on: bool) -> None:
        """Relative mouse mode: the pointer hides, and its motion has no edge."""
        if on == self.grabbed:
            return
        self.grabbed = on
        pygame.event.set_grab(on)
        pygame.mouse.set_visible(not on)
        pygame.event.clear(pygame.MOUSEMOTION)  # the jump into the window is no look around

    def _pads_dropped(self) -> None:
        with self._input:  # what a pad held when it went is never let go otherwise
            self.controls.handle(ReleasePads())

    def _single_step(self) -> None:
        if self.paused:
            self.runner.send(SingleStep())

    def _bookmark(self) -> None:
        self.runner.send(Bookmark())
        self._say("bookmark: H comes back to this picture")

    def _record(self) -> None:
        self.runner.send(ToggleRecording(self.options.output_dir / datetime.now().strftime(SESSION_NAME)))

    def _restart(self, command: Restart | MoveStart | Anchor, message: str) -> None:
        self._gap()
        self.runner.send(command)
        self._say(message)

    def _change_temperature(self, by: float) -> None:
        picture = self.state.picture
        if picture is None or picture.status.sampler is None:
            self._say("this world has no temperature")
        else:
            self.runner.send(ChangeTemperature(by))

    def _remember_keys(self) -> None:
        assert self.options.keys_mark is not None, "the keys are shown where they are remembered"
        remember(self.options.keys_mark)

    # --- what is shown

    def update(self) -> None:
        state = self.runner.state
        with self._input:
            self.controls.play_in(state.tick_rate, state.told)
        super().update()

    def _first_picture(self, width: int, height: int) -> None:
        if self.first_keys:
            self._remember_keys()
        super()._first_picture(width, height)

    def view(self) -> View:
        view, picture = super().view(), self.state.picture
        if picture is None or not self.by_hand or self.paused:
            return replace(view, invitation="click to play") if self._waits(picture) else view
        with self._input:
            held = self.controls.held()
        led = picture.action.buttons
        # A slot that has been chosen since then is shown alone.
        return replace(view, lit=held | (led - HOTBAR if held & HOTBAR else led))

    def _waits(self, picture: Picture | None) -> bool:
        return picture is not None and self.paused and not self.grabbed and self.by_hand

    def note(self) -> str:
        return FIRST_NOTE if self.first_keys else super().note()

    def lines(self, picture: Picture) -> Lines:
        meter = self.options.meter.lines() if self.options.meter is not None else ()
        return panel_lines(picture, self.recent, self.state.dropped) + meter
