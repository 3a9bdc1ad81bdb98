"""The game loop: one stepping function (`Game.advance`) for the window and for headless runs, and a worker thread that
drives it at a steady pace beside the window's event loop.

The worker owns the world: it is made, stepped and closed there. The main thread sends commands and reads the newest
picture. It knows worlds and actions; nothing of pygame.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from client.pictures import load_picture
from worldmodel.types import NO_ACTION, Action, Frame, Step, World, WorldModelError

if TYPE_CHECKING:
    from kernels.sampling import Sampler


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on from a recording, after step `step` (None: its last)."""

    file: Path
    step: int | None = None


Start = int | Path | Resume
"""A start scene's number, a picture file of the user's own, or a moment of a recording."""

Source = Callable[[], Action | None]
"""Called when a step is due: its action, or None when there are no more."""

WorldFactory = Callable[[Callable[[str], None]], World]
"""Makes the world; the argument takes a line of text on what is being done."""

REWIND_STEPS = 2  # a tick: backwards at twice the speed
TEMPERATURE_LIMITS = (0.0, 2.0)  # that the keys can reach


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame and what was true when it was made.

    index: steps since the reset (0: the opening); sampled_at: when its input was read (None for an opening), and
    made_at: when the frame was ready, in seconds of `time.monotonic`; start: scene number, or None for a picture of
    the user's own; context: frames in the context and at most, where the world has one; recording: what is recorded,
    or why it stopped; dropped: ticks dropped so far.
    """

    frame: Frame
    index: int
    action: Action
    sampled_at: float | None
    made_at: float
    world: str
    start: int | None
    starts: int
    seed: int
    context: tuple[int, int] | None
    sampler: Sampler | None
    recording: str | None = None
    dropped: int = 0


class Game:
    """A world with its start and seed. WorldModelError if the world has no such start scene."""

    def __init__(self, world: World, start: Start = 0, seed: int = 0) -> None:
        if isinstance(start, int) and 0 < world.starts <= start:
            raise WorldModelError(
                f"there is no start scene {start}: {world.name} has {world.starts}, numbered 0 to {world.starts - 1}"
            )
        self.world = world
        self.start = start
        self.seed = seed
        self._scene: Any = None  # the user's picture, encoded once
        self._index = 0

    def restart(self) -> Picture:
        """Back to the opening of the chosen start scene."""
        if isinstance(self.start, int):
            step = self.world.reset(self.start, self.seed)
        elif isinstance(self.start, Resume):
            step = self._resume(self.start)
        else:
            world: Any = self.world  # only a neural world can start from a picture
            if not hasattr(world, "scene_of"):
                raise WorldModelError(f"{world.name} cannot start from a picture; use --start with a scene's number")
            if self._scene is None:
                self._scene = world.scene_of(load_picture(self.start, world.frame_shape))
            step = world.open(self._scene, self.seed)
        self._index = 0
        return self._picture(step.frame, NO_ACTION, None)

    def advance(self, action: Action, sampled_at: float) -> Picture:
        """One step: the game loop's only stepping function."""
        step = self.world.step(action)
        self._index += 1
        return self._picture(step.frame, action, sampled_at)

    def _resume(self, point: Resume) -> Step:
        from client.recording import check_weights, context_at
        from recordings.reader import read_session

        world: Any = self.world
        session = read_session(point.file)
        if not session.steps:
            raise WorldModelError(f"{point.file} holds no step to go on from")
        at = len(session.steps) - 1 if point.step is None else point.step
        if not 0 <= at < len(session.steps):
            raise WorldModelError(f"{point.file} has no step {at}: it has {len(session.steps)}, numbered from 0")
        check_weights(session, world)
        scene = context_at(session, at, world.actions.encode, world.window)
        return world.open(scene, self.seed, session.steps[at].frame + 1)

    def peek(self, back: int) -> Picture:
        """The picture `back` steps ago, while rewinding."""
        world: Any = self.world
        return self._picture(world.peek(back).frame, NO_ACTION, None, self._index - back)

    def rewind(self, back: int) -> Picture:
        """Goes `back` steps back: play goes on from there."""
        world: Any = self.world
        step = world.rewind(back)
        self._index = max(0, self._index - back)
        return self._picture(step.frame, NO_ACTION, None)

    def anchor(self) -> Picture:
        """Goes on from the last bookmark's picture."""
        world: Any = self.world
        return self._picture(world.anchor().frame, NO_ACTION, None)

    def move_start(self, by: int) -> Picture:
        """The next (1) or previous (-1) start scene, in a circle; from a picture, the first or the last."""
        count = max(1, self.world.starts)
        self.start = (self.start + by) % count if isinstance(self.start, int) else (0 if by > 0 else count - 1)
        return self.restart()

    def _picture(self, frame: Frame, action: Action, sampled_at: float | None, index: int | None = None) -> Picture:
        world = self.world
        window = getattr(world, "window", None)
        return Picture(
            frame=frame,
            index=self._index if index is None else max(0, index),
            action=action,
            sampled_at=sampled_at,
            made_at=time.monotonic(),
            world=world.name,
            start=self.start if isinstance(self.start, int) else None,
            starts=world.starts,
            seed=self.seed,
            context=(int(getattr(world, "filled", 0)), int(window)) if window is not None else None,
            sampler=getattr(world, "sampler", None),
            recording=getattr(world, "recording", None),
        )


def facts_of(world: World) -> dict[str, Any]:
    """What a report says about a world; None for what it does not have."""
    device, folder = getattr(world, "device", None), getattr(world, "folder", None)
    return {
        "world": world.name,
        "engine": getattr(world, "engine", None),
        "device": str(device) if device is not None else None,
        "checkpoint": str(folder) if folder is not None else None,
        "weights": getattr(world, "weights", None),
        "tokens_sha256": getattr(world, "tokens_sha256", None),
    }


@dataclass(slots=True)
class Pacer:
    """Steady ticks: deadlines are added up, so that waking late does not drift. A step that overruns moves the grid to
    the present, so that no burst follows; the ticks that were lost so are counted.

    period: seconds (0: as fast as it goes); due: when the next tick is due.
    """

    period: float
    due: float
    dropped: int = 0
    _lost: float = 0.0

    def done(self, now: float) -> None:
        """The tick that was due is done."""
        self.due += self.period
        if now <= self.due:
            return
        if self.period > 0:
            self._lost += now - self.due
            self.dropped += int(self._lost / self.period)
            self._lost %= self.period
        self.due = now

    def restart(self, now: float) -> None:
        """A new stretch: what lies between is no delay."""
        self.due, self._lost = now, 0.0


@dataclass(frozen=True, slots=True)
class Restart:
    """Back to the opening; new_seed: with the next seed, so that the same actions lead elsewhere."""

    new_seed: bool = False


@dataclass(frozen=True, slots=True)
class MoveStart:
    by: int


@dataclass(frozen=True, slots=True)
class Pause:
    on: bool


@dataclass(frozen=True, slots=True)
class SingleStep:
    """One step, paused or not."""


@dataclass(frozen=True, slots=True)
class ChangeTemperature:
    by: float


@dataclass(frozen=True, slots=True)
class Rewind:
    """Runs backwards while on; play goes on from where it is let go."""

    on: bool


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Marks this moment."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """Against drift: goes on from the last bookmark's picture."""


@dataclass(frozen=True, slots=True)
class ToggleRecording:
    """Ends the recording, or starts one into `path`."""

    path: Path


@dataclass(frozen=True, slots=True)
class Stop:
    """Wakes the worker to see that it is over."""


Command = (
    Restart | MoveStart | Pause | SingleStep | ChangeTemperature | Rewind | Bookmark | Anchor | ToggleRecording | Stop
)


@dataclass(frozen=True, slots=True)
class State:
    """What the main thread sees of the worker. stage: what is being done before the first picture; steps: made in all,
    over every restart; facts: from `facts_of`, at the end."""

    stage: str = "starting"
    picture: Picture | None = None
    steps: int = 0
    tick_rate: float | None = None
    error: BaseException | None = None
    finished: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


class Runner:
    """The worker thread around a game.

    source: gives the actions; fps: steps a second (None: the world's own rate); frames: stops after so many steps;
    notify: called in the worker whenever `state` has changed.
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
        notify: Callable[[], None] = lambda: None,
    ) -> None:
        self._factory, self._source, self._start, self._seed = factory, source, start, seed
        self._fps, self._frames, self._notify = fps, frames, notify
        self._lock = threading.Lock()
        self._state = State()
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
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
                self._update(stage="opening the start scene", tick_rate=world.tick_rate)
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
        pacer = Pacer(1 / fps, time.monotonic())
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
                    if not self._step(game, pacer.dropped):
                        return
                    pacer.restart(time.monotonic())
                case Restart(new_seed):
                    back = None
                    game.seed += 1 if new_seed else 0
                    self._update(picture=replace(game.restart(), dropped=pacer.dropped))
                    pacer.restart(time.monotonic())
                case MoveStart(by):
                    back = None
                    self._update(picture=replace(game.move_start(by), dropped=pacer.dropped))
                    pacer.restart(time.monotonic())
                case ChangeTemperature(by):
                    self._change_temperature(game.world, by)
                case Rewind(on):
                    if on and back is None and getattr(game.world, "length", 0):
                        back = 0
                        pacer.restart(time.monotonic())
                    elif not on and back is not None:
                        self._update(picture=replace(game.rewind(back), dropped=pacer.dropped))
                        back = None
                        pacer.restart(time.monotonic())
                case Bookmark():
                    if hasattr(game.world, "bookmark"):
                        cast(Any, game.world).bookmark()
                case Anchor():
                    if hasattr(game.world, "anchor"):
                        self._update(picture=replace(game.anchor(), dropped=pacer.dropped))
                        pacer.restart(time.monotonic())
                case ToggleRecording(path):
                    self._toggle_recording(game.world, path)
                case Stop():
                    return
                case None if back is not None:
                    back = min(back + REWIND_STEPS, cast(Any, game.world).length)
                    self._update(picture=replace(game.peek(back), dropped=pacer.dropped))
                    pacer.done(time.monotonic())
                case None:
                    if not self._step(game, pacer.dropped):
                        return
                    pacer.done(time.monotonic())

    def _next_command(self, wait: float | None) -> Command | None:
        """The next command; None after `wait` seconds without one (None: waits for one)."""
        try:
            return self._commands.get(timeout=None if wait is None else max(0.0, wait))
        except queue.Empty:
            return None

    def _step(self, game: Game, dropped: int) -> bool:
        """One step; False if there are no more actions."""
        sampled_at = time.monotonic()
        action = self._source()
        if action is None:
            return False
        picture = replace(game.advance(action, sampled_at), dropped=dropped)
        self._update(picture=picture, steps=self._state.steps + 1)
        return True

    def _toggle_recording(self, world: Any, path: Path) -> None:
        picture = self.state.picture
        if picture is None or not hasattr(world, "record"):
            return  # a real game and a replay are not recorded
        if picture.recording is None:
            try:
                world.record(path)
            except WorldModelError as error:
                self._update(picture=replace(picture, recording=str(error)))
                return
        else:
            world.finish()
        self._update(picture=replace(picture, recording=world.recording))

    def _change_temperature(self, world: Any, by: float) -> None:
        sampler, picture = getattr(world, "sampler", None), self.state.picture
        if sampler is None or picture is None:
            return  # a real game has none, and the HUD shows none
        low, high = TEMPERATURE_LIMITS
        world.sampler = replace(sampler, temperature=round(min(high, max(low, sampler.temperature + by)), 2))
        self._update(picture=replace(picture, sampler=world.sampler))
