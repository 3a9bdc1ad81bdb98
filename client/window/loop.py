"""The window's loop: pygame's events in, pictures out. The world runs beside it in a worker thread (`client.play`).

`client.window.run` opens it. `Client.handle` takes made-up events too, so that tests need no keyboard.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pygame
from pygame._sdl2 import controller

from client.play.commands import (
    Anchor,
    Bookmark,
    ChangeTemperature,
    MoveStart,
    Pause,
    Restart,
    Rewind,
    SingleStep,
    ToggleRecording,
)
from client.play.controls import (
    DEFAULT_BINDINGS,
    Controls,
    InputLog,
    ReleaseAll,
    ReleasePads,
    key_labels,
    key_name,
    table_of,
)
from client.play.game import Picture, Start
from client.play.key_help import FIRST_NOTE, HELP_NOTE, PLAY_KEYS, game_keys
from client.play.meter import Meter
from client.play.panel import Lines, panel_lines
from client.play.pictures import save_picture
from client.play.runner import Runner, Source, State, WorldFactory
from client.play.stats import Stats
from client.window.first_start import remember, remembered
from client.window.inputs import shortcut_name, translate
from client.window.screen import Screen, View
from worldmodel.types import HOTBAR, Action, WorldModelError

TEMPERATURE_STEP = 0.1
TOAST_S = 3.0
FULL_SCREEN_S = 1.0  # that the focus may come and go while the window changes its size
SESSION_NAME = "session-%Y%m%d-%H%M%S.wms"
# How long the loop sleeps when nothing happens: pictures and events wake it at once.
_IDLE_MS, _LOADING_MS = 250, 100
_PRESSES = (pygame.KEYDOWN, pygame.MOUSEBUTTONDOWN, pygame.CONTROLLERBUTTONDOWN)


@dataclass(frozen=True, slots=True)
class WindowOptions:
    """start: scene number or picture; fps: None is the world's rate; scale: window pixels a frame pixel (0: the usual
    window); smooth: bilinear upscale; table: key name -> what it does; source: plays instead of the keyboard; frames:
    stops after so many steps; report: file or "-"; output_dir: where pictures go; started: when the process began, in
    seconds of `time.monotonic` (None: now); inputs: where the raw inputs of each step are noted;
    meter: reads beside the game what was played; keys_mark: a file; where it is missing, a user who plays is shown the
    keys until the first press, and it is made (None: they are not shown)."""

    start: Start = 0
    seed: int = 0
    fps: float | None = None
    scale: int = 0
    smooth: bool = True
    sensitivity: float = 1.0
    table: Mapping[str, str] = field(default_factory=lambda: table_of(DEFAULT_BINDINGS))
    source: Source | None = None
    frames: int | None = None
    report: str | None = None
    output_dir: Path = Path("sessions")
    started: float | None = None
    inputs: InputLog = field(default_factory=InputLog)
    meter: Meter | None = None
    keys_mark: Path | None = None


class Client:
    """The main thread's side of play: events, the mouse, what is shown. The display must be open.

    by_hand: a user plays, with the mouse held in the window; hold: when the actions end, the window stays.
    """

    hold = False

    def __init__(self, runner_of: WorldFactory, options: WindowOptions) -> None:
        self.options = options
        self.by_hand = options.source is None
        self.controls = Controls(options.table, options.sensitivity, inputs=options.inputs)
        self._input = threading.Lock()  # the worker reads the controls that the main thread feeds
        self._wake = pygame.event.custom_type()
        labels = key_labels(options.table)
        self.screen = Screen("worldmodel", labels, options.smooth, keys=self.help_on(labels))
        self.runner = Runner(
            options.meter.beside(runner_of) if options.meter is not None else runner_of,
            options.source or self._sample,
            start=options.start,
            seed=options.seed,
            fps=options.fps,
            frames=options.frames,
            hold=self.hold,
            notify=self._notify,
        )
        self.state = State()
        self.paused = False
        self.rewinding = False
        self.grabbed = False
        self.over = False
        self.first_keys = self.by_hand and options.keys_mark is not None and not remembered(options.keys_mark)
        self.hud, self.help = True, self.first_keys
        self.toast, self._toast_until = "", 0.0
        self.recent, self.all = Stats(), Stats(last=None)
        self.startup: float | None = None
        self._began = time.monotonic()
        self._seen: Picture | None = None
        self._counted = 0  # index of the picture that the measures saw last
        self._dirty = True
        self._switching_until = 0.0
        self._pads: list[controller.Controller] = []

    def help_on(self, labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """Which keys do what. labels: game button -> the name of its key."""
        return (*game_keys(labels), *PLAY_KEYS)

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
        # The window may be closed already while a last step ends.
        with contextlib.suppress(pygame.error):
            pygame.event.post(pygame.Event(self._wake))

    # --- events

    def handle(self, event: pygame.Event) -> None:
        """One pygame event."""
        kind = event.type
        if self.first_keys and kind in _PRESSES:  # seen; what was pressed counts as ever
            self._remember_keys()
            self.first_keys = self.help = False
            self._dirty = True
            if kind == pygame.KEYDOWN and shortcut_name(event) == "F1":
                return  # else it would open them again
        if kind == pygame.QUIT:
            self.over = True
        elif kind == self._wake:
            pass
        elif kind == pygame.VIDEORESIZE:
            self.screen.resized()
            self._dirty = True
        elif kind in (pygame.VIDEOEXPOSE, pygame.WINDOWEXPOSED):
            self._dirty = True
        elif kind == pygame.WINDOWFOCUSLOST:
            self._focus_lost()
        elif kind == pygame.CONTROLLERDEVICEADDED:
            self._add_pad(event.device_index)
        elif kind == pygame.CONTROLLERDEVICEREMOVED:
            self._drop_pads()
        elif kind == pygame.DROPFILE:
            self._restart(Anchor(Path(event.file)), f"going on from {Path(event.file).name}")
        elif kind == pygame.KEYUP and key_name(event.scancode) == "Backspace":
            self._rewind(False)
        elif kind == pygame.KEYDOWN and self._client_key(event):
            self._dirty = True
        elif kind == pygame.CONTROLLERBUTTONDOWN and event.button == pygame.CONTROLLER_BUTTON_START:
            self.toggle_pause()
        elif kind == pygame.MOUSEBUTTONDOWN and not self.grabbed and self.by_hand:
            if event.button == 1:  # this click takes the mouse: it is no attack
                self.play()
        elif kind in (pygame.MOUSEMOTION, pygame.MOUSEWHEEL) and not self.grabbed:
            pass
        else:
            translated = translate(event)
            if translated is not None:
                with self._input:
                    self.controls.handle(translated)
                self._dirty = self._dirty or kind != pygame.MOUSEMOTION

    def _client_key(self, event: pygame.Event) -> bool:
        """Does what the client's own keys do; False if the key is not one of them."""
        name = shortcut_name(event)
        if name == "Q" and event.mod & pygame.KMOD_CTRL and not self.grabbed:
            # With the mouse held, Ctrl is sprint and Q may be drop: the two together must never end the game.
            self.over = True
            return True
        if self.by_hand and key_name(event.scancode) in self.options.table:
            return False  # a key that walks must not do anything else, whatever is printed on it
        return self._shortcut(name)

    def _shortcut(self, name: str | None) -> bool:
        match name:
            case "Escape":
                self.pause(free=True)
            case ".":
                self.toggle_pause()
            case ",":
                if self.paused:
                    self.runner.send(SingleStep())
            case "Enter":
                self._restart(Restart(), "started again")
            case "N":
                self._restart(Restart(new_seed=True), "started again with the next seed")
            case "Backspace":
                self._rewind(True)
            case "B":
                self.runner.send(Bookmark())
                self._say("bookmark: H comes back to this picture")
            case "H":
                self._restart(Anchor(), "the last bookmark's picture (or the opening) is the context again")
            case "[":
                self._restart(MoveStart(-1), "previous start scene")
            case "]":
                self._restart(MoveStart(1), "next start scene")
            case "-":
                self._change_temperature(-TEMPERATURE_STEP)
            case "=":
                self._change_temperature(TEMPERATURE_STEP)
            case "F1":
                self.help = not self.help
            case "F2" | "Tab":
                self.hud = not self.hud
            case "F11":
                self._toggle_full_screen()
            case "F12":
                self._save_picture()
            case "R":
                self.runner.send(ToggleRecording(self.options.output_dir / datetime.now().strftime(SESSION_NAME)))
            case _:
                return False
        return True

    def pause(self, free: bool) -> None:
        """Stands still; free: gives the mouse back too."""
        if not self.paused:
            self.paused = True
            self.runner.send(Pause(True))
            self._gap()
        if free:
            self._grab(False)
            with self._input:
                self.controls.handle(ReleaseAll())
        self._dirty = True

    def toggle_pause(self) -> None:
        if self.paused:
            self.play()
        else:
            self.pause(free=False)

    def play(self) -> None:
        """Goes on, with the mouse held."""
        if self.by_hand and self.state.picture is not None:
            self._grab(True)
        if self.paused:
            self.paused = False
            with self._input:
                self.controls.forget()  # what was pressed and let go during the pause is no input
            self._gap()
            self.runner.send(Pause(False))
        self._dirty = True

    def _toggle_full_screen(self) -> None:
        self._switching_until = time.monotonic() + FULL_SCREEN_S
        self.screen.toggle_full_screen()
        pygame.event.set_grab(self.grabbed)  # a new window forgets it
        pygame.mouse.set_visible(not self.grabbed)

    def _focus_lost(self) -> None:
        if time.monotonic() < self._switching_until:
            return
        # Keys that go up in another window are never reported here: without this they would stay down.
        with self._input:
            self.controls.handle(ReleaseAll())
        self._rewind(False)
        if self.grabbed:
            self.pause(free=True)

    def _grab(self, on: bool) -> None:
        """Relative mouse mode: the pointer hides, and its motion has no edge."""
        if on == self.grabbed:
            return
        self.grabbed = on
        pygame.event.set_grab(on)
        pygame.mouse.set_visible(not on)
        pygame.event.clear(pygame.MOUSEMOTION)  # the jump into the window is no look around

    def _add_pad(self, index: int) -> None:
        try:
            self._pads.append(controller.Controller(index))  # it sends events as long as it is kept
        except pygame.error:
            return  # it is gone again
        self._say("gamepad connected")

    def _drop_pads(self) -> None:
        self._pads = [pad for pad in self._pads if pad.attached()]
        with self._input:  # what a pad held when it went is never let go otherwise
            self.controls.handle(ReleasePads())
        self._say("gamepad disconnected")
        self._dirty = True

    def _rewind(self, on: bool) -> None:
        if on != self.rewinding:
            self.rewinding = on
            self._gap()
            self.runner.send(Rewind(on))
            self._dirty = True

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

    def _save_picture(self) -> None:
        if self.state.picture is None:
            return
        try:
            path = save_picture(self.state.picture.frame, self.options.output_dir, datetime.now())
        except WorldModelError as error:
            self._say(str(error))
        else:
            self._say(f"saved {path}")

    def _say(self, message: str) -> None:
        self.toast, self._toast_until = message, time.monotonic() + TOAST_S
        self._dirty = True

    def _gap(self) -> None:
        self.recent.gap()
        self.all.gap()

    # --- what is shown

    def update(self) -> None:
        """Reads the worker's state and paints if anything has changed."""
        state = self.runner.state
        if state.tick_rate is not None and state.tick_rate != self.controls.tick_rate:
            with self._input:
                self.controls.tick_rate = state.tick_rate
        if state.notice[0] != self.state.notice[0]:
            self._say(state.notice[1])
        picture = state.picture
        fresh = picture is not None and picture is not self._seen
        first = fresh and self._seen is None
        self.state, self._seen = state, picture
        if first and picture is not None:
            self._first_picture(picture.frame.shape[1], picture.frame.shape[0])
        if self.toast and time.monotonic() > self._toast_until:
            self.toast, self._dirty = "", True
        if fresh or self._dirty or picture is None:
            self._dirty = False
            self.screen.draw(self.view())
        if fresh and picture is not None:
            now = time.monotonic()
            if self.startup is None:
                self.startup = now - (self.options.started if self.options.started is not None else self._began)
            for stats in (self.recent, self.all):
                if picture.sampled_at is None:
                    stats.gap()
                elif picture.index != self._counted:  # a changed temperature shows the same step again
                    stats.frame(now, now - picture.sampled_at)
            self._counted = picture.index

    def _first_picture(self, width: int, height: int) -> None:
        if self.first_keys:
            self._remember_keys()
        if self.options.scale:
            self.screen.resize((width * self.options.scale, height * self.options.scale))
        if not self.paused:
            self.play()

    def _remember_keys(self) -> None:
        assert self.options.keys_mark is not None, "the keys are shown where they are remembered"
        remember(self.options.keys_mark)

    def view(self) -> View:
        """All that is on the screen now."""
        now = time.monotonic()
        picture = self.state.picture
        if picture is None:
            return View(stage=self.state.stage, elapsed=now - self._began, help=self.help, note=self._note())
        with self._input:
            held = self.controls.held()
        led = picture.action.buttons
        if held & HOTBAR:
            led -= HOTBAR  # a slot that has been chosen since then is shown alone
        return View(
            frame=picture.frame,
            lines=self.lines(picture),
            lit=(held | led) if self.by_hand and not self.paused else picture.action.buttons,
            badge="rewinding" if self.rewinding else ("paused" if self.paused else ""),
            invitation="click to play" if self.paused and not self.grabbed and self.by_hand else "",
            toast=self.toast,
            hud=self.hud,
            help=self.help,
            note=self._note(),
        )

    def _note(self) -> str:
        return FIRST_NOTE if self.first_keys else HELP_NOTE

    def lines(self, picture: Picture) -> Lines:
        """The panel's text."""
        meter = self.options.meter.lines() if self.options.meter is not None else ()
        return panel_lines(picture, self.recent, self.state.dropped) + meter

    # --- the loop

    def run(self) -> None:
        """Until the user quits or the worker ends. The worker's error, if it had one, is in `state`."""
        self.update()  # the window is there before anything heavy is imported
        self.runner.start()
        while not self.over:
            loading = self.state.picture is None
            self.handle(pygame.event.wait(_LOADING_MS if loading else _IDLE_MS))
            for event in pygame.event.get():
                self.handle(event)
            self.update()
            if self.state.finished:
                self.over = True
