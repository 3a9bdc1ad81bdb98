"""What both windows are: pygame's events in, pictures out. The world runs beside it in a worker thread (`client.play`).

`client.window.run` opens one. `Window.handle` takes made-up events too, so that tests need no keyboard.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from datetime import datetime

import pygame

from client.play.bindings import key_labels, key_name
from client.play.commands import Pause, Rewind
from client.play.game import Picture
from client.play.keys import HELP_NOTE, Shortcut, commands_of, game_keys, help_lines
from client.play.panel import Lines
from client.play.pictures import save_picture
from client.play.runner import Runner, Source, WorldFactory
from client.play.state import State
from client.play.stats import Stats
from client.window.inputs import Pads, shortcut_name
from client.window.options import WindowOptions
from client.window.screen import Screen
from client.window.view import View
from worldmodel.types import WorldModelError

TOAST_S = 3.0
FULL_SCREEN_S = 1.0  # that the focus may come and go while the window changes its size
# How long the loop sleeps when nothing happens: pictures and events wake it at once.
_IDLE_MS, _LOADING_MS = 250, 100


class Window:
    """The main thread's side: events, what is shown, the worker. The display must be open.

    source: gives the actions; table: the keys of this window; hold: when the actions end, the window stays.
    """

    table: tuple[Shortcut, ...] = ()
    with_game_keys = False
    hold = False
    grabbed = False  # the mouse is held in the window

    def __init__(self, factory: WorldFactory, source: Source, options: WindowOptions) -> None:
        self.options = options
        self._wake = pygame.event.custom_type()
        self._commands = commands_of(self.table)
        self._does: Mapping[str, Callable[[], object]] = self.handlers()
        labels = key_labels(options.table)
        keys = (*(game_keys(labels) if self.with_game_keys else ()), *help_lines(self.table))
        self.screen = Screen("worldmodel", labels, options.smooth, keys=keys)
        self.runner = Runner(
            factory,
            source,
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
        self.over = False
        self.hud, self.help = True, False
        self.toast, self._toast_until = "", 0.0
        self.recent, self.all = Stats(), Stats(last=None)
        self.startup: float | None = None
        self._began = time.monotonic()
        self._seen: Picture | None = None
        self._counted = 0  # index of the picture that the measures saw last
        self._dirty = True
        self._switching_until = 0.0
        self._pads = Pads()

    def handlers(self) -> dict[str, Callable[[], object]]:
        """Command -> what does it, for every command of the table."""
        return {
            "rewind": lambda: self._rewind(True),
            "panel": self._toggle_panel,
            "help": self._toggle_help,
            "full screen": self._toggle_full_screen,
            "picture": self._save_picture,
        }

    def _notify(self) -> None:
        """In the worker's thread, whenever `Runner.state` has changed."""
        # The window may be closed already while a last step ends.
        with contextlib.suppress(pygame.error):
            pygame.event.post(pygame.Event(self._wake))

    # --- events

    def handle(self, event: pygame.Event) -> bool:
        """One pygame event. Whether it has been dealt with."""
        kind = event.type
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
            if time.monotonic() >= self._switching_until:
                self._focus_lost()
        elif kind == pygame.CONTROLLERDEVICEADDED:
            if self._pads.add(event.device_index):
                self._say("gamepad connected")
        elif kind == pygame.CONTROLLERDEVICEREMOVED:
            self._pads.drop()
            self._pads_dropped()
            self._say("gamepad disconnected")
        elif kind == pygame.CONTROLLERBUTTONDOWN and event.button == pygame.CONTROLLER_BUTTON_START:
            self.toggle_pause()
        elif kind == pygame.KEYUP and key_name(event.scancode) == "Backspace":
            self._rewind(False)
        else:
            return kind == pygame.KEYDOWN and self._key(event)
        return True

    def _key(self, event: pygame.Event) -> bool:
        """Does what the client's own keys do; False if the key is not one of them."""
        name = shortcut_name(event)
        command = self._commands.get(name or "")
        if name == "Q" and event.mod & pygame.KMOD_CTRL and not self.grabbed:
            # With the mouse held, Ctrl is sprint and Q may be drop: the two together must never end the game.
            self.over = True
        elif command is None or self._is_of_the_game(event):
            return False
        else:
            self._does[command]()
        self._dirty = True
        return True

    def _is_of_the_game(self, event: pygame.Event) -> bool:
        """Whether a key that goes down plays the game: then it must not do anything else, whatever is printed on it."""
        return False

    def _focus_lost(self) -> None:
        self._rewind(False)

    def _pads_dropped(self) -> None:
        """A gamepad is gone."""

    def pause(self) -> None:
        """Stands still."""
        if not self.paused:
            self.paused = True
            self.runner.send(Pause(True))
            self._gap()
        self._dirty = True

    def play(self) -> None:
        """Goes on."""
        if self.paused:
            self.paused = False
            self._gap()
            self.runner.send(Pause(False))
        self._dirty = True

    def toggle_pause(self) -> None:
        if self.paused:
            self.play()
        else:
            self.pause()

    def _toggle_panel(self) -> None:
        self.hud = not self.hud

    def _toggle_help(self) -> None:
        self.help = not self.help

    def _toggle_full_screen(self) -> None:
        self._switching_until = time.monotonic() + FULL_SCREEN_S
        self.screen.toggle_full_screen()
        pygame.event.set_grab(self.grabbed)  # a new window forgets it
        pygame.mouse.set_visible(not self.grabbed)

    def _rewind(self, on: bool) -> None:
        if on != self.rewinding:
            self.rewinding = on
            self._gap()
            self.runner.send(Rewind(on))
            self._dirty = True

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
        if self.options.scale:
            self.screen.resize((width * self.options.scale, height * self.options.scale))
        if not self.paused:
            self.play()

    def view(self) -> View:
        """All that is on the screen now."""
        now = time.monotonic()
        picture = self.state.picture
        if picture is None:
            return View(stage=self.state.stage, elapsed=now - self._began, help=self.help, note=self.note())
        return View(
            frame=picture.frame,
            lines=self.lines(picture),
            lit=picture.action.buttons,
            badge="rewinding" if self.rewinding else ("paused" if self.paused else ""),
            toast=self.toast,
            hud=self.hud,
            help=self.help,
            note=self.note(),
        )

    def note(self) -> str:
        """The last line of the help."""
        return HELP_NOTE

    def lines(self, picture: Picture) -> Lines:
        """The panel's text."""
        raise NotImplementedError

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
