"""Records scripted play of the real game as clips in the VPT contractor format (`<id>.mp4` + `<id>.jsonl`, 20 Hz).

Line t is the action taken on frame t; frame t+1 is its result. `events` and the position come from the game's server,
one or two ticks late. Every clip has a land and a player of its own and is made by a process of its own. Files are
written under `.tmp` names and renamed when they are whole, so a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from av.error import FFmpegError
from tqdm import tqdm

from worldmodel.ending import ENDING
from worldmodel.games.luanti.build import build_shim, require_packages
from worldmodel.games.luanti.clip_files import ClipWriter, LineMaker
from worldmodel.games.luanti.display import Display
from worldmodel.games.luanti.game import GameCrashError, LuantiGame
from worldmodel.games.luanti.manifest import RecordingOptions, clip_is_whole, read_manifest, write_manifest
from worldmodel.games.luanti.player import Player
from worldmodel.games.luanti.world import derive_map_seed
from worldmodel.types import WorldModelError

PROGRESS_TICKS = 20
STOP_SECONDS = 10.0
TRIES = 3  # of a clip in which the game crashes
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def record_clip(options: RecordingOptions, index: int, display: str, progress: Callable[[int], None]) -> None:
    """Plays and writes clip `index` on the X display; `progress` is called with the number of new frames, which is
    below 0 where the game has crashed, and the clip begins anew."""
    for left in reversed(range(TRIES)):
        made = 0
        try:
            for new in _recorded(options, index, display):
                made += new
                progress(new)
            return
        except GameCrashError:
            if not left:
                raise
            progress(-made)


def _recorded(options: RecordingOptions, index: int, display: str) -> Iterator[int]:
    """One try: yields numbers of new frames."""
    clip_id = options.clip_id(index)
    player = Player(derive_map_seed("player", options.seed, index), options.player())
    with (
        ClipWriter(options.out, clip_id, options.width, options.height, options.crf) as writer,
        LuantiGame(options.game(index), display) as game,
    ):
        lines = LineMaker(options.width, options.height, game.state.slot, time.time())
        for tick in range(options.frames):
            frame, state = game.frame, game.state
            controls = player.act(state)
            game.send(controls)
            writer.write(frame, lines.line(tick, controls, state))  # while the game draws the next frame
            game.receive()
            if (tick + 1) % PROGRESS_TICKS == 0:
                yield PROGRESS_TICKS
        writer.finish()
        yield options.frames % PROGRESS_TICKS


def _leave(*_: object) -> None:
    """Once: the end of a parent with threads is told several times, and must not interrupt the cleaning up."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def _clip_process(options: RecordingOptions, index: int, display: str, results: Connection) -> None:
    """One clip in a process of its own: sends numbers of new frames, then "" or the sentence of an error."""
    for number in ENDING:  # Ctrl-C and a closed terminal reach us all: the parent ends us with SIGTERM
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # and so does its own end
    try:
        record_clip(options, index, display, results.send)
        results.send("")
    except (WorldModelError, OSError, FFmpegError) as error:  # OSError: a full disk, for one
        results.send(str(error))


def _stop(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(STOP_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()


def record(options: RecordingOptions) -> list[Path]:
    """Records the clips that are not yet there; the mp4 files of all of them.

    Raises WorldModelError for missing packages, a folder with another recording, or clips that failed: then the
    others are whole, and the same call tries the failed ones again.
    """
    require_packages()
    build_shim()
    options.out.mkdir(parents=True, exist_ok=True)
    known = read_manifest(options)
    todo = [index for index in range(options.clips) if not clip_is_whole(options, index)]
    for index in todo:
        known.pop(options.clip_id(index), None)
    errors: dict[int, str] = {}
    write_manifest(options, known)  # also marks the folder as this recording's
    spawn = multiprocessing.get_context("spawn")  # a fork would keep other games' channels open
    active: dict[Connection, tuple[int, BaseProcess]] = {}
    with Display() as display, tqdm(total=len(todo) * options.frames, unit="frame", disable=not todo) as bar:
        try:
            while todo or active:
                while todo and len(active) < options.workers:
                    index = todo.pop(0)
                    ours, theirs = spawn.Pipe(duplex=False)
                    process = spawn.Process(target=_clip_process, args=(options, index, display.name, theirs))
                    process.start()
                    theirs.close()  # so that a process that dies ends the connection
                    active[ours] = index, process
                for connection in wait(list(active)):
                    assert isinstance(connection, Connection), "only connections are waited for"
                    index, process = active[connection]
                    try:
                        message = connection.recv()
                    except EOFError:
                        process.join()
                        message = f"its process died with exit code {process.exitcode}"
                    if isinstance(message, int):
                        bar.update(message)
                        continue
                    if message:
                        errors[index] = message
                    del active[connection]
                    connection.close()
                    process.join()
                    write_manifest(options, known)
        finally:
            _stop([process for _, process in active.values()])
    if errors:
        first = min(errors)
        raise WorldModelError(
            f"{len(errors)} of {options.clips} clips failed (run the same command again to retry them); "
            f"{options.clip_id(first)}: {errors[first]}"
        )
    return [options.out / f"{options.clip_id(index)}.mp4" for index in range(options.clips)]
