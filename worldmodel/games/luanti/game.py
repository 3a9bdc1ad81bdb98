"""The real game (Luanti, formerly Minetest) stepped frame by frame, 50 ms of game time each.

A stock client runs in a temporary folder under a private X server, with shim.c preloaded: it waits for the controls
of each tick and answers with the frame that they lead to. It knows ticks and pixels; nothing of actions or clips.
"""

from __future__ import annotations

import math
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from worldmodel.data.video import TICKS_PER_SECOND
from worldmodel.games.luanti.build import GAME_NAMES, build_shim, program, require_packages
from worldmodel.games.luanti.controls import IDLE, Controls, GameState, parse_state
from worldmodel.games.luanti.display import Display
from worldmodel.games.luanti.options import USUAL, GameOptions, write_world
from worldmodel.games.luanti.wire import REPLY, SOCKET_BUFFER, request
from worldmodel.types import DEGREES_PER_PIXEL, Frame, WorldModelError

TICK_SECONDS = 1 / TICKS_PER_SECOND

# The terrain is drawn as it arrives: play starts when the picture has stood still this long.
SETTLE_STILL_TICKS = 10
SETTLE_TURN_DEGREES = 90
SETTLE_MAX_TICKS = 400
SETTLE_CHANGE = 0.15  # mean absolute difference of two frames, 0..255; drifting clouds stay below
MAX_SERVER_LAG = 2.5 * TICK_SECONDS  # two ticks and rounding
# The client tells its server every second tick where it stands and looks; the server may be two ticks behind.
REST_TICKS = 5
# Luanti 5.6.1 breaks its own memory now and then: in 2 of 60 clips of two workers, in none of 60 starts one by one.
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS)
STARTS = 3


class GameCrashError(WorldModelError):
    """The game ended by itself, by a fault of its own."""


class LuantiGame:
    """A running game; a context manager. `frame` is the newest picture, uint8 (height, width, 3).

    The constructor returns when the world around the player is there and the picture stands still. display: name of
    an X display to share; without one the game brings its own. Raises WorldModelError for missing packages, a game
    that ends or hangs, with the last lines of its log; then the game is closed. A game that crashes while it starts is
    started again, STARTS times in all.
    """

    def __init__(self, options: GameOptions = USUAL, display: str | None = None) -> None:
        require_packages()
        self.options = options
        for left in reversed(range(STARTS)):
            try:
                self._open(display)
                return
            except GameCrashError:
                if not left:
                    raise

    def _open(self, display: str | None) -> None:
        self.state = GameState()
        self._held = IDLE
        self._clock = 0.0  # game time since the first tick
        self._server_ahead = -math.inf  # most that the server's clock was before ours
        self._state_text = b""
        self._process: subprocess.Popen[bytes] | None = None
        self._display: Display | None = None
        self._channel: socket.socket | None = None
        self._pipe: int | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="worldmodel-luanti-"))
        try:
            write_world(self._folder, self.options)
            if display is None:
                self._display = Display()
                display = self._display.name
            self._start(display)
            self._wait_for_world()
            self._settle()
        except BaseException:
            self.close()
            raise

    @classmethod
    def start(cls, display: str | None = None, **options: int | float | str | None) -> Self:
        """The same with the fields of GameOptions as keywords."""
        return cls(GameOptions(**options), display)  # pyright: ignore[reportArgumentType]

    def _start(self, display: str) -> None:
        pipe = self._folder / "world/state.pipe"
        os.mkfifo(pipe)
        # Open for reading before the game opens it for writing: that would wait for a reader.
        self._pipe = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self._channel, theirs = socket.socketpair()
        for end in (self._channel, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
        environment = {
            **os.environ,
            "HOME": str(self._folder),
            "DISPLAY": display,
            "LD_PRELOAD": str(build_shim()),
            "WORLDMODEL_LUANTI_FD": str(theirs.fileno()),
        }
        if self.options.render_threads is not None:
            environment["LP_NUM_THREADS"] = str(self.options.render_threads)
        command = [
            str(program(*GAME_NAMES)),
            *("--config", str(self._folder / "game.conf"), "--world", str(self._folder / "world")),
            *("--gameid", "minetest", "--go"),
        ]
        with theirs, (self._folder / "log.txt").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env=environment,
                cwd=self._folder,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us
            )

    def _error(self, what: str) -> WorldModelError:
        """Closes the game. The error of `what` happened, with the game's exit code and the end of its log."""
        code = None
        if self._process:
            with suppress(subprocess.TimeoutExpired):  # it hangs
                code = self._process.wait(1)
        log = self._folder / "log.txt"
        lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
        lines = [line.strip() for line in lines if re.search("[a-z]{3}", line)]  # not the game's letters of slashes
        ended = f" (the game ended with code {code})" if code is not None else ""
        self.close()
        kind = GameCrashError if code is not None and -code in CRASHES else WorldModelError
        return kind(f"{what}{ended}; its log ends: {' | '.join(lines[-5:]) or 'empty'}")

    def _wait_for_world(self) -> None:
        assert self._process is not None, "started"
        deadline = time.monotonic() + self.options.start_timeout
        while not self.state.ready:
            if self._process.poll() is not None:
                raise self._error("the game did not start")
            if time.monotonic() > deadline:
                raise self._error(f"the game's world was not ready within {self.options.start_timeout:.0f} s")
            time.sleep(0.05)  # not select: a pipe without its writer counts as readable
            self._read_states()

    def _settle(self) -> None:
        """Looks once round, because the server sends only what is in sight, and waits for a picture that stands."""
        self._await_stillness()  # before any motion: the game takes none on its first frame
        for _ in range(360 // SETTLE_TURN_DEGREES):
            self.tick(dx=round(SETTLE_TURN_DEGREES / DEGREES_PER_PIXEL))
            self._await_stillness()

    def _await_stillness(self) -> None:
        still, before = 0, self.tick()
        for _ in range(SETTLE_MAX_TICKS):
            frame = self.tick()
            change = float(np.abs(frame.astype(np.int16) - before).mean())
            still, before = (still + 1 if change < SETTLE_CHANGE else 0), frame
            if still == SETTLE_STILL_TICKS:
                return
            # The terrain is made in real time, beside the ticks: leave it some.
            time.sleep(0.02)
        raise self._error(f"the picture did not come to rest within {SETTLE_MAX_TICKS} ticks")

    def tick(
        self, keys: Collection[str] = (), buttons: Collection[int] = (), dx: int = 0, dy: int = 0, wheel: int = 0
    ) -> Frame:
        """Plays one tick of 50 ms with these held keys and mouse buttons (see Controls); the frame it leads to."""
        self.send(Controls(frozenset(keys), frozenset(buttons), dx, dy, wheel))
        return self.receive()

    def send(self, controls: Controls) -> None:
        """The first half of a tick: the game begins to work on it. `receive` must follow."""
        message = request(self._held, controls, TICK_SECONDS)
        self._held = controls
        channel = self._open_channel()
        try:
            channel.sendall(message)
        except OSError:
            raise self._error("the game has gone away") from None

    def receive(self) -> Frame:
        """The second half of a tick: waits for the frame, uint8 (height, width, 3), and brings `state` up to date."""
        width, height, _ = REPLY.unpack(self._receive_exactly(REPLY.size))
        if (height, width) != (self.options.height, self.options.width):
            raise self._error(
                f"asked for {self.options.width}x{self.options.height} px, the game draws {width}x{height}"
            )
        pixels = self._receive_exactly(height * width * 3)
        self.frame: Frame = np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
        self._clock += TICK_SECONDS
        self._await_server()
        return self.frame

    def rest(self) -> None:
        """Ticks without controls, until `state` is that of the picture: after a move it is some ticks old."""
        for _ in range(REST_TICKS):
            self.tick()

    def look(self, turn: float, pitch: float) -> None:
        """From rest: turns by `turn` degrees to the right and to an absolute pitch, and rests."""
        dy = round((pitch - self.state.pitch) / DEGREES_PER_PIXEL)
        self.tick(dx=round(turn / DEGREES_PER_PIXEL), dy=dy)
        self.rest()

    def _open_channel(self) -> socket.socket:
        if self._channel is None:
            raise WorldModelError("the game is closed")
        return self._channel

    def _receive_exactly(self, size: int) -> bytearray:
        channel = self._open_channel()
        buffer = bytearray(size)
        view, deadline = memoryview(buffer), time.monotonic() + self.options.tick_timeout
        while view:
            channel.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                got = channel.recv_into(view)
            except TimeoutError:
                raise self._error(f"the game drew no frame within {self.options.tick_timeout:.0f} s") from None
            except OSError:
                got = 0
            if not got:
                raise self._error("the game has gone away")
            view = view[got:]
        return buffer

    def _read_states(self) -> None:
        """Takes in what the mod has logged: `state` becomes the newest, with the events of all new ones."""
        assert self._pipe is not None, "open"
        while True:
            try:
                part = os.read(self._pipe, 1 << 16)
            except BlockingIOError:
                break
            if not part:
                break
            self._state_text += part
        *lines, self._state_text = self._state_text.split(b"\n")
        states = [parse_state(line.decode()) for line in lines]
        events = tuple(event for state in states for event in state.events)
        self.state = replace(states[-1] if states else self.state, events=self.state.events + events)

    def _await_server(self) -> None:
        """The game's server runs beside its client. On a busy machine it would fall behind, and effects would come
        later than they do in play: wait for it."""
        assert self._pipe is not None, "open"
        self.state = replace(self.state, events=())
        self._read_states()
        self._server_ahead = max(self._server_ahead, self.state.clock - self._clock)
        deadline = time.monotonic() + self.options.tick_timeout
        while self._clock + self._server_ahead - self.state.clock > MAX_SERVER_LAG:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._pipe], [], [], left)[0]:
                raise self._error(f"the game's server stood still for {self.options.tick_timeout:.0f} s")
            self._read_states()

    def close(self) -> None:
        """Ends the game and removes its folder; a second call does nothing."""
        if self._channel is not None:
            self._channel.close()  # the game leaves when its channel closes
            self._channel = None
        if self._process is not None:
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        if self._display is not None:
            self._display.close()
            self._display = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
