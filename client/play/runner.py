"""The worker thread: it drives a game at a steady pace beside the window's event loop.

The worker owns the world: it is made, stepped and closed there. The main thread sends commands and reads the newest
picture. It knows games and actions; nothing of pygame.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
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
    Seek,
    SingleStep,
    Stop,
    ToggleRecording,
)
from client.play.game import Game, Picture, Start, facts_of
from client.play.pacer import Pacer
from client.play.recording import Recordable
from client.play.state import State
from worldmodel.types import Action, Neural, Rewindable, World, WorldModelError

Source = Callable[[], Action | None]
"""Called when a step is due: its action, or None when there are no more."""

WorldFactory = Callable[[Callable[[str], None]], World]
"""Makes the world; the argument takes a line of text on what is being done."""

REWIND_STEPS = 2  # a tick: backwards at twice the speed
TEMPERATURE_LIMITS = (0.0, 2.0)  # that the keys can reach


class Runner:
    """The worker thread around a game.

    source: gives the actions; fps: steps a second (None: the world's own rate); frames: stops after so many steps;
    hold: when there are no more actions, stands still instead of stopping; notify: called in the worker whenever
    `state` has changed.
    """

    def __init__(
        self,
        factory: WorldFactory,
        source: Source,
        *,
        start: Start = 0,
        seed: int = 0,
        fps: float | None = None,
        frames: int | None = None,
        hold: bool = False,
        notify: Callable[[], None] = lambda: None,
    ) -> None:
        self._factory, self._source, self._start, self._seed = factory, source, start, seed
        self._fps, self._frames, self._hold, self._notify = fps, frames, hold, notify
        self._lock = threading.Lock()
        self._state = State()
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._seek_to = (0, 0)  # the last call's number and position
        self._over = threading.Event()
        self._world: World | None = None
        # A daemon: a step that never returns must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="world", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def state(self) -> State:
        with self._lock:
            return self._state

    def send(self, command: Command) -> None:
        """Queues a command; the worker carries it out between two steps."""
        self._commands.put(command)

    def seek(self, position: int) -> int:
        """Shows a recording after `position` steps; the call's number, for `State.sought`.

        Of several calls that wait, only the last is carried out: dragging stays quick.
        """
        with self._lock:
            number = self._seek_to[0] + 1
            self._seek_to = (number, position)
        self._commands.put(Seek())
        return number

    def stop(self, timeout: float) -> bool:
        """Ends the worker, waiting `timeout` seconds at most for the step in progress. True if it has ended."""
        self._over.set()
        self._commands.put(Stop())
        self._thread.join(timeout)
        if self._thread.is_alive():
            # The step hangs. What the world holds outside this process (a game's processes) must not stay behind.
            self._close()
            self._thread.join(timeout / 4)
        return not self._thread.is_alive()

    def _update(self, **changes: Any) -> None:
        with self._lock:
            self._state = replace(self._state, **changes)
        self._notify()

    def _close(self) -> None:
        with self._lock:
            world, self._world = self._world, None
        if world is not None:
            world.close()

    def _run(self) -> None:
        try:
            try:
                world = self._factory(lambda stage: self._update(stage=stage))
                with self._lock:
                    self._world = world
                told = world.told if isinstance(world, Neural) else None
                self._update(stage="opening the start scene", tick_rate=world.tick_rate, told=told)
                game = Game(world, self._start, self._seed)
                if not self._over.is_set():
                    self._update(picture=game.restart())
                    self._play(game)
                self._update(facts=facts_of(world))
            finally:
                self._close()
        except BaseException as error:  # all of them: the main thread shows it
            self._update(error=error, finished=True)
        else:
            self._update(finished=True)

    def _play(self, game: Game) -> None:
        fps = self._fps if self._fps is not None else game.world.tick_rate
        self._pacer = pacer = Pacer(1 / fps, time.monotonic())
        paused = False
        back: int | None = None  # steps gone back so far, while rewinding
        while not self._over.is_set() and self._state.steps != self._frames:
            idle = paused and back is None
            command = self._next_command(None if idle else pacer.due - time.monotonic())
            match command:
                case Pause(on):
                    paused = on
                    pacer.restart(time.monotonic())
                case SingleStep():
                    if not self._step(game) and not self._hold:
                        return
                    pacer.restart(time.monotonic())
                case Restart(new_seed):
                    back = None
                    game.seed += 1 if new_seed else 0
                    self._show(game.restart())
                    pacer.restart(time.monotonic())
                case MoveStart(by):
                    back = None
                    self._show(game.move_start(by))
                    pacer.restart(time.monotonic())
                case Begin(start, seed):
                    back = None
                    self._show(game.begin(start, seed))
                    pacer.restart(time.monotonic())
                case ChangeTemperature(by):
                    self._change_temperature(game.world, by)
                case ChangeSampler(temperature, guidance):
                    self._change_sampler(game.world, temperature=temperature, guidance=guidance)
                case Rewind(on):
                    if on and back is None and isinstance(game.world, Rewindable) and game.world.length:
                        back = 0
                        pacer.restart(time.monotonic())
                    elif not on and back is not None:
                        self._show(game.rewind(back))
                        back = None
                        pacer.restart(time.monotonic())
                case Bookmark():
                    if isinstance(game.world, Recordable):
                        game.world.bookmark()
                case Anchor(file):
                    back = None
                    self._anchor(game, file)
                    pacer.restart(time.monotonic())
                case ToggleRecording(path):
                    self._toggle_recording(game.world, path)
                case Stop():
                    return
                case None if back is not None:
                    assert isinstance(game.world, Rewindable), "it is being rewound"
                    back = min(back + REWIND_STEPS, game.world.length)
                    self._show(game.peek(back))
                    pacer.done(time.monotonic())
                case Seek():
                    back = None
                    self._seek(game)
                    pacer.restart(time.monotonic())
                case ChangeSpeed(factor):
                    pacer.period = 1 / (fps * factor)
                    pacer.restart(time.monotonic())
                case None:
                    if not self._step(game):
                        if not self._hold:
                            return
                        paused = True
                    pacer.done(time.monotonic())

    def _next_command(self, wait: float | None) -> Command | None:
        """The next command; None after `wait` seconds without one (None: waits for one)."""
        try:
            return self._commands.get(timeout=None if wait is None else max(0.0, wait))
        except queue.Empty:
            return None

    def _show(self, picture: Picture, **changes: Any) -> None:
        """The newest picture, with what else has changed."""
        self._update(picture=picture, dropped=self._pacer.dropped, **changes)

    def _step(self, game: Game) -> bool:
        """One step; False if there are no more actions."""
        sampled_at = time.monotonic()
        action = self._source()
        if action is None:
            return False
        self._show(game.advance(action, sampled_at), steps=self._state.steps + 1)
        self._pass_on(game.world)
        return True

    def _pass_on(self, world: World) -> None:
        """What the world has to tell the player, if anything: that its recording has stopped."""
        news = world.news() if isinstance(world, Recordable) else None
        if news is not None:
            self._say(news)

    def _anchor(self, game: Game, file: Path | None) -> None:
        if not isinstance(game.world, Recordable):
            self._say(f"{game.world.name} cannot go on from a picture")
            return
        try:
            self._show(game.anchor(file))
        except WorldModelError as error:  # a file that is no picture: play goes on as it was
            self._say(str(error))

    def _say(self, text: str) -> None:
        """A line for the player."""
        self._update(notice=(self._state.notice[0] + 1, text))

    def _seek(self, game: Game) -> None:
        with self._lock:
            number, position = self._seek_to
        if number > self._state.sought:
            self._show(game.seek(position), sought=number)

    def _toggle_recording(self, world: World, path: Path) -> None:
        picture = self.state.picture
        if picture is None or not isinstance(world, Recordable):
            return  # a real game and a replay are not recorded
        recording = None
        if picture.status.recording is None:
            try:
                world.record(path)
            except WorldModelError as error:
                recording = str(error)
        else:
            world.finish()
            self._pass_on(world)
        self._tell(picture, recording=world.recording or recording)

    def _change_temperature(self, world: World, by: float) -> None:
        if isinstance(world, Neural):
            low, high = TEMPERATURE_LIMITS
            self._change_sampler(world, temperature=round(min(high, max(low, world.sampler.temperature + by)), 2))

    def _change_sampler(self, world: World, **changes: float | None) -> None:
        picture = self.state.picture
        if picture is None or not isinstance(world, Neural):
            return  # a real game has none, and the HUD shows none
        world.sampler = replace(world.sampler, **{name: new for name, new in changes.items() if new is not None})
        self._tell(picture, sampler=world.sampler)

    def _tell(self, picture: Picture, **changes: Any) -> None:
        """The same picture, of a world whose status has changed."""
        self._show(replace(picture, status=replace(picture.status, **changes)))
