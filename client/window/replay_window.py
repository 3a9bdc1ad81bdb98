"""The window on a recording: play and pause, speed, scrubbing, frame steps, bookmarks, keys on and off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pygame

from client.play.commands import ChangeSpeed
from client.play.game import Picture
from client.play.keys import REPLAY, REPLAY_HINT
from client.play.panel import Lines
from client.play.runner import WorldFactory
from client.sessions.timeline import Timeline
from client.window.base import Window
from client.window.options import WindowOptions
from client.window.view import View
from worldmodel.types import Action

SEEK_S = 1.0  # that Left and Right move


class ReplayClient(Window):
    """A window whose world is a `Playback`. actions: of its steps; lines: what the panel says of the recording; file:
    its own."""

    table = REPLAY
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
        super().__init__(world_factory, self._recorded_action, options)

    def handlers(self) -> dict[str, Callable[[], object]]:
        return super().handlers() | {
            "free": self.pause,
            "pause": self.toggle_pause,
            "second back": lambda: self._move(-round(SEEK_S * self._timeline.rate)),
            "second ahead": lambda: self._move(round(SEEK_S * self._timeline.rate)),
            "frame back": lambda: self._move_a_frame(-1),
            "frame ahead": lambda: self._move_a_frame(1),
            "previous bookmark": lambda: self._jump(-1),
            "next bookmark": lambda: self._jump(1),
            "beginning": lambda: self.seek(0),
            "end": lambda: self.seek(self._timeline.length),
            "slower": lambda: self._change_speed(-1),
            "faster": lambda: self._change_speed(1),
            "caps": self._toggle_caps,
            "how to play on": self._say_how_to_play_on,
        }

    @property
    def timeline(self) -> Timeline:
        """Where the recording stands; a seek in progress counts as done."""
        picture = self.state.picture
        position = self._target if self._target is not None else (picture.index if picture is not None else 0)
        return replace(self._timeline, position=position)

    def _recorded_action(self) -> Action | None:
        # In the worker's thread: the action that led to the picture after the newest one.
        picture = self.runner.state.picture
        return self._actions[picture.index] if picture is not None and picture.index < len(self._actions) else None

    def handle(self, event: pygame.Event) -> bool:
        kind = event.type
        if kind == pygame.MOUSEBUTTONDOWN and event.button == 1 and self.state.picture is not None:
            if self.screen.on_timeline(event.pos):
                self._dragging, self._play_after_drag = True, not self.paused
                self.pause()
                self._drag(event.pos)
            else:
                self.toggle_pause()
        elif kind == pygame.MOUSEMOTION and self._dragging:
            self._drag(event.pos)
        elif kind == pygame.MOUSEBUTTONUP and event.button == 1 and self._dragging:
            self._dragging = False
            if self._play_after_drag:
                self.play()
        else:
            return super().handle(event)
        return True

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

    def _move(self, by: int) -> None:
        self.seek(self.timeline.position + by)

    def _move_a_frame(self, by: int) -> None:
        self.pause()
        self._move(by)

    def _toggle_caps(self) -> None:
        self._caps = not self._caps

    def _say_how_to_play_on(self) -> None:
        position = self.timeline.position
        step = f"@{position - 1}" if position else "@0"
        self._say(f"worldmodel play --resume {self._file}{step}")

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
            self.pause()

    def lines(self, picture: Picture) -> Lines:
        return (*self._recorded, picture.status.notes) if picture.status.notes else self._recorded

    def view(self) -> View:
        shown = replace(super().view(), hint=REPLAY_HINT, caps=self._caps)
        return shown if shown.frame is None else replace(shown, timeline=self.timeline)
