"""One player's game on the server: a worker thread as the window has it, fed by messages instead of pygame's events."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.play.commands import (
    Anchor,
    Begin,
    Bookmark,
    ChangeSampler,
    ChangeSpeed,
    ChangeTemperature,
    Command,
    MoveStart,
    Pause,
    Restart,
    Rewind,
    SingleStep,
)
from client.play.controls import Controls, InputLog, ReleaseAll
from client.play.game import Picture, Start
from client.play.recording import RecordedWorld
from client.play.runner import Runner
from client.serve.protocol import Do, Input
from client.sessions.playback import Playback
from client.sessions.timeline import Timeline
from worldmodel.types import Action, World, WorldModelError
from worldmodel.worlds.neural import NeuralWorld

STOP_S = 10.0  # that the step in progress may take at the end
TEMPERATURE_STEP = 0.1


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture for the page. number: counts all of a player's pictures, from 1; time: the newest input that it
    answers, in ms of the page's clock (NaN: none since the picture before)."""

    picture: Picture
    number: int
    time: float = math.nan


class Player:
    """seat: makes the world, in the worker's thread; file: what the game is recorded in; table: the keys, as
    `table_of` gives them; notify: called in the worker whenever there is something new."""

    def __init__(
        self,
        ident: str,
        seat: Callable[[], World],
        table: Mapping[str, str],
        file: Path,
        notify: Callable[[], None],
        start: Start = 0,
        seed: int = 0,
    ) -> None:
        self.ident, self.file, self.uploads = ident, file, file.with_suffix(".upload")
        self._seat, self._notify = seat, notify
        self._inputs = InputLog()
        self._controls = Controls(table, inputs=self._inputs)
        self._lock = threading.Lock()  # of the controls, the times and the newest shot
        self._time = self._answered = math.nan
        self._shot: Shot | None = None
        self._count = 0
        self._replay: tuple[Runner, Timeline] | None = None
        self.paused = True
        self._game = Runner(self._make, self._sample, start=start, seed=seed, notify=lambda: self._changed(self._game))
        self._game.send(Pause(True))
        self._game.start()

    def _make(self, stage: Callable[[str], None]) -> World:
        stage("a game is made")
        world = self._seat()
        if not isinstance(world, NeuralWorld):
            return world  # a real game is not recorded
        recorded = RecordedWorld(world, self._inputs.taken)
        recorded.record(self.file)
        return recorded

    # --- the worker's calls

    def _sample(self) -> Action:
        with self._lock:
            self._answered, self._time = self._time, math.nan
            return self._controls.take()

    def _changed(self, runner: Runner) -> None:
        state = runner.state
        with self._lock:
            if runner is self._runner and state.picture is not None:
                self._take(state.picture, runner is self._game)
            if runner is self._game:
                self._controls.play_in(state.tick_rate, state.told)
        self._notify()

    def _take(self, picture: Picture, played: bool) -> None:
        if self._shot is not None and picture.frame is self._shot.picture.frame:
            return  # the same, of a world whose status has changed
        self._count += 1
        answered = self._answered if played and not picture.cut else math.nan
        self._shot, self._answered = Shot(picture, self._count, answered), math.nan
        if played:
            self._controls.see_slot(picture.status.slot, picture.cut)

    @property
    def _runner(self) -> Runner:
        """Of what is shown."""
        return self._game if self._replay is None else self._replay[0]

    # --- the page's messages

    def handle(self, message: Input) -> None:
        """What the page's keys and mouse did."""
        with self._lock:
            for event in message.events:
                self._controls.handle(event)
            if message.events and not self.paused and self._replay is None:
                self._time = message.time

    def do(self, command: Do) -> None:
        """What the page asks for."""
        what, value = command.what, command.value
        replay = self._replay
        if what in ("play", "pause"):
            self._pause(what == "pause")
        elif what == "live":
            self.end_replay()
        elif what == "seek":
            if replay is not None:
                replay[0].seek(int(value or 0))
        elif replay is not None:
            if what in _OF_A_REPLAY:
                self._runner.send(_OF_A_REPLAY[what](value))
        elif what != "step" or self.paused:
            self._game.send(_COMMANDS[what](value))

    def open_picture(self, file: Path) -> None:
        """Goes on from a picture file."""
        self._game.send(Anchor(file))

    def leave(self) -> None:
        """The page is gone: nothing stays held, and the game waits."""
        with self._lock:
            self._controls.handle(ReleaseAll())
        self._pause(True)

    def _pause(self, on: bool) -> None:
        replay = self._replay
        if replay is None and not on and self.paused:
            with self._lock:
                self._controls.forget()  # what was pressed and let go during the pause is no input
        if replay is not None and not on and self._at_end(*replay):
            replay[0].seek(0)  # from the end, play means again
        self.paused = on
        self._runner.send(Pause(on))
        self._notify()

    @staticmethod
    def _at_end(runner: Runner, timeline: Timeline) -> bool:
        picture = runner.state.picture
        return picture is not None and picture.index >= timeline.length

    # --- a replay

    def replay(self, make: Callable[[], Playback], timeline: Timeline) -> None:
        """Shows a recording; the game waits until `end_replay`."""
        self.end_replay()
        self._pause(True)
        actions: tuple[Action, ...] = ()

        def source() -> Action | None:
            picture = runner.state.picture
            at = picture.index if picture is not None else 0
            return actions[at] if at < len(actions) else None

        def world(stage: Callable[[str], None]) -> World:
            nonlocal actions
            playback = make()
            actions = playback.actions
            return playback

        runner = Runner(world, source, hold=True, notify=lambda: self._changed(runner))
        with self._lock:
            self._replay, self._shot = (runner, timeline), None  # what was played is not of the recording
        self.paused = False
        runner.start()

    def end_replay(self) -> None:
        """Back to the game, which waits."""
        with self._lock:
            replay = self._replay
            if replay is None:
                return
            self._replay, self.paused = None, True
        replay[0].stop(STOP_S)
        with self._lock:
            picture = self._game.state.picture
            if picture is not None:
                self._take(picture, True)
        self._notify()

    # --- what the page is told

    def news(self) -> tuple[dict[str, Any], Shot | None]:
        """The JSON of "state", what the page shows beside the picture, and the newest picture: both of the game, or
        both of the recording that is watched."""
        with self._lock:
            return self._state(), self._shot

    @property
    def error(self) -> BaseException | None:
        """What ended the game."""
        return self._game.state.error

    @property
    def finished(self) -> bool:
        return self._game.state.finished

    @property
    def begun(self) -> bool:
        """Whether there is a game to come back to."""
        return self._game.state.steps > 0 and not self.finished

    def _state(self) -> dict[str, Any]:
        runner, replay = self._runner, self._replay
        state, game = runner.state, self._game.state
        picture = game.picture
        told: dict[str, Any] = {
            "kind": "state",
            "paused": self.paused or (replay is not None and self._at_end(*replay)),
            "stage": state.stage if state.picture is None else "",
            "notice": [game.notice[0], game.notice[1].replace(f"{self.file.parent}/", "")],  # no folder of ours
            "dropped": state.dropped,
            "recorded": picture is not None and picture.status.recording is not None,
            "replay": None,
        }
        if picture is not None:
            status = picture.status
            told |= {"scene": picture.start, "scenes": picture.starts, "seed": picture.seed, "rate": game.tick_rate}
            told["context"] = status.context
            if status.sampler is not None:
                told |= {"temperature": status.sampler.temperature, "guidance": status.sampler.guidance}
        if replay is not None:
            timeline = replay[1]
            problem = state.error
            told["replay"] = {
                "length": timeline.length,
                "rate": timeline.rate,
                "bookmarks": timeline.bookmarks,
                "cuts": timeline.cuts,
                "problem": str(problem) if isinstance(problem, WorldModelError) else "" if problem is None else "fault",
            }
        return told

    def stop(self) -> bool:
        """Ends the game and its recording. False if a step hangs."""
        self.end_replay()
        return self._game.stop(STOP_S)


_COMMANDS: Mapping[str, Callable[[float | None], Command]] = {
    "step": lambda _: SingleStep(),
    "restart": lambda _: Restart(),
    "next seed": lambda _: Restart(new_seed=True),
    "previous scene": lambda _: MoveStart(-1),
    "next scene": lambda _: MoveStart(1),
    "scene": lambda value: Begin(start=_whole(value)),
    "seed": lambda value: Begin(seed=_whole(value)),
    "temperature": lambda value: ChangeSampler(temperature=value),
    "guidance": lambda value: ChangeSampler(guidance=value),
    "colder": lambda _: ChangeTemperature(-TEMPERATURE_STEP),
    "warmer": lambda _: ChangeTemperature(TEMPERATURE_STEP),
    "rewind": lambda _: Rewind(True),
    "rewound": lambda _: Rewind(False),
    "bookmark": lambda _: Bookmark(),
    "anchor": lambda _: Anchor(),
    "speed": lambda value: ChangeSpeed(value or 1.0),
}
_OF_A_REPLAY = {what: _COMMANDS[what] for what in ("step", "rewind", "rewound", "speed")}


def _whole(value: float | None) -> int:
    assert value is not None, "checked by the protocol"
    return int(value)
