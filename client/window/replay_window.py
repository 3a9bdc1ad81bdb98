"""The window on a recording: play and pause, speed, scrubbing, frame steps, bookmarks, keys on and off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pygame

from client.play.commands import ChangeSpeed
from client.play.game import Picture
from client.play.panel import Lines
from client.play.runner import WorldFactory
from client.sessions.timeline import Timeline
from client.window.loop import Client, WindowOptions
from client.window.screen import View
from worldmodel.types import Action

SEEK_S = 1.0  # that Left and Right move
REPLAY_KEYS: tuple[tuple[str, str], ...] = (
    ("Space, click", "play and pause"),
    ("Left   Right", "a second back, ahead"),
    (",   .", "a frame back, ahead"),
    ("mouse on the bar", "go there"),
    ("[   ]", "previous, next bookmark"),
    ("Home   End", "beginning, end"),
    ("-   =", "slower, faster"),
    ("hold Backspace", "rewind"),
    ("K", "keys on and off"),
    ("P", "how to play on from here"),
    ("Tab or F2", "panel on and off"),
    ("F11", "full screen"),
    ("F12", "save a picture"),
    ("Ctrl+Q", "quit"),
)
REPLAY_HINT = "Space play   Left Right seek   F1 help"


class ReplayClient(Client):
    """A client whose world is a `Playback`. actions: of its steps; lines: what the panel says of the recording; file:
    its own."""

    hold = True

    def __init__(
        self,
        world_factory: WorldFactory,
        options: WindowOptions,
        actions: tuple[Action, ...],
        timeline: Timeline,
        lines: Lines,
        file: Path,
    ) -> None:
        self._actions, self._timeline, self._recorded, self._file = actions, timeline, lines, file
        self._target: int | None = None  # where a seek in progress goes
        self._ticket = 0  # and its number
        self._dragging = False
        self._play_after_drag = False
        self._caps = True
        super().__init__(world_factory, options)
        self.by_hand = False

    def help_on(self, labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        return REPLAY_KEYS

    @property
    def timeline(self) -> Timeline:
        """Where the recording stands; a seek in progress counts as done."""
        picture = self.state.picture
        position = self._target if self._target is not None else (picture.index if picture is not None else 0)
        return replace(self._timeline, position=position)

    def _sample(self) -> Action | None:
        # In the worker's thread: the action that led to the picture after the newest one.
        picture = self.runner.state.picture
        return self._actions[picture.index] if picture is not None and picture.index < len(self._actions) else None

    def handle(self, event: pygame.Event) -> None:
        kind = event.type
        if kind == pygame.MOUSEBUTTONDOWN and event.button == 1 and self.state.picture is not None:
            if self.screen.on_timeline(event.pos):
                self._dragging, self._play_after_drag = True, not self.paused
                self.pause(free=False)
                self._drag(event.pos)
            else:
                self.toggle_pause()
        elif kind == pygame.MOUSEMOTION and self._dragging:
            self._drag(event.pos)
        elif kind == pygame.MOUSEBUTTONUP and event.button == 1 and self._dragging:
            self._dragging = False
            if self._play_after_drag:
                self.play()
        elif kind in (pygame.MOUSEBUTTONDOWN, pygame.MOUSEBUTTONUP, pygame.MOUSEMOTION, pygame.MOUSEWHEEL):
            pass
        else:
            super().handle(event)

    def _drag(self, place: tuple[int, int]) -> None:
        bar = self.screen.bar()
        self.seek(self._timeline.at((place[0] - bar.left) / bar.width))

    def seek(self, position: int) -> None:
        """Goes to a position of the recording, clamped to it."""
        position = self._timeline.clamp(position)
        if position != self.timeline.position:
            self._gap()
            self._target, self._ticket = position, self.runner.seek(position)
            self._dirty = True

    def play(self) -> None:
        if self.timeline.position == self._timeline.length:
            self.seek(0)  # from the end, play means again
        super().play()

    def _shortcut(self, name: str | None) -> bool:
        position = self.timeline.position
        match name:
            case "Space":
                self.toggle_pause()
            case "Left" | "Right":
                self.seek(position + round(SEEK_S * self._timeline.rate) * (1 if name == "Right" else -1))
            case "," | ".":
                self.pause(free=False)
                self.seek(position + (1 if name == "." else -1))
            case "[" | "]":
                self._jump(1 if name == "]" else -1)
            case "Home" | "Enter":
                self.seek(0)
            case "End":
                self.seek(self._timeline.length)
            case "-" | "=":
                self._change_speed(1 if name == "=" else -1)
            case "K":
                self._caps = not self._caps
            case "P":
                step = f"@{position - 1}" if position else "@0"
                self._say(f"worldmodel play --resume {self._file}{step}")
            case "N" | "B" | "H" | "R":
                pass  # of play
            case _:
                return super()._shortcut(name)
        return True

    def _jump(self, direction: int) -> None:
        mark = self.timeline.bookmark(direction)
        if mark is None:
            self._say(f"no {'later' if direction > 0 else 'earlier'} bookmark")
        else:
            self.seek(mark)

    def _change_speed(self, direction: int) -> None:
        speed = self._timeline.faster(direction)
        self._timeline = replace(self._timeline, speed=speed)
        self.runner.send(ChangeSpeed(speed))

    def update(self) -> None:
        super().update()
        picture = self.state.picture
        if picture is None:
            return
        if self.state.sought == self._ticket:
            self._target = None
        if picture.index == self._timeline.length and self._target is None and not self.paused:
            self.pause(free=False)

    def lines(self, picture: Picture) -> Lines:
        return (*self._recorded, picture.status.notes) if picture.status.notes else self._recorded

    def view(self) -> View:
        shown = replace(super().view(), hint=REPLAY_HINT, caps=self._caps)
        return shown if shown.frame is None else replace(shown, timeline=self.timeline)
