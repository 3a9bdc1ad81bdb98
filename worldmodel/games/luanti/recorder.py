"""Records scripted play of the real game as clips in the VPT contractor format (`<id>.mp4` + `<id>.jsonl`, 20 Hz).

Line t is the action taken on frame t; frame t+1 is its result. `events` and the position come from the game's server,
one or two ticks late. Every clip has a land and a player of its own and is made by a process of its own. Files are
written under `.tmp` names and renamed when they are whole, so a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError
from av.video.stream import VideoStream
from tqdm import tqdm

from worldmodel.data.clips import TICKS_PER_SECOND, TICKS_PER_STEP, ClipError, Inputs, input_entries, parse_line
from worldmodel.ending import ENDING
from worldmodel.games.luanti.art import DEFAULT_STYLE
from worldmodel.games.luanti.build import build_shim, require_packages
from worldmodel.games.luanti.controls import (
    BUTTON_OF_KEY,
    HOTBAR_SLOTS,
    IDLE,
    KEY_PREFIX,
    MOUSE_OF_BUTTON,
    Controls,
    GameState,
    next_slot,
)
from worldmodel.games.luanti.display import Display
from worldmodel.games.luanti.game import TICK_SECONDS, GameOptions, LuantiGame
from worldmodel.games.luanti.hands import PlayerOptions
from worldmodel.games.luanti.player import USUAL, Player
from worldmodel.games.luanti.presets import DEFAULT_LAND
from worldmodel.games.luanti.world import derive_map_seed
from worldmodel.types import DEGREES_PER_PIXEL, Frame, WorldModelError

MANIFEST = "recording.json"
PROGRESS_TICKS = 20
STOP_SECONDS = 10.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h
ACTION_OF_MOUSE = {number: button for button, number in MOUSE_OF_BUTTON.items()}


@dataclass(frozen=True, slots=True)
class RecordingOptions:
    """What is recorded, and how it is played."""

    out: Path
    """Folder for the clips."""
    clips: int = 1
    """How many."""
    frames: int = 3000
    """Of each, 20 a second."""
    seed: int = 0
    """Of lands and players."""
    preset: str = DEFAULT_LAND
    """Kind of land, as in worldmodel play --world luanti:LAND."""
    style: str = DEFAULT_STYLE
    """Style of the game's art (worldmodel/games/luanti/art.py)."""
    width: int = 384
    """Of the frames, an even number of pixels."""
    height: int = 224
    """Of the frames, an even number of pixels."""
    workers: int = 1
    """Games at once."""
    crf: int = 23
    """Quality of the H.264 encoding: lower is better and larger."""
    viewing_range: int = 40
    """How far one sees, in nodes."""
    wheel: float = USUAL.wheel
    """Share of hotbar changes that are made with the wheel."""
    drop: float = USUAL.drop
    """Chance a tick of throwing an item away."""
    steady: float = USUAL.steady
    """Share of the habits that are played with a hand that does not tremble."""
    deliberate: float = USUAL.deliberate
    """Share of the habits that are one deed out of a standstill, and then a look at what has become of it."""

    def __post_init__(self) -> None:
        for name in ("clips", "frames", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if not 0 <= self.crf <= 51:
            raise ValueError(f"crf must be 0..51, got {self.crf}")
        if self.width % 2 or self.height % 2:
            raise ValueError(f"H.264 needs an even width and height, got {self.width}x{self.height}")
        self.game(0)
        self.player()

    def clip_id(self, index: int) -> str:
        return f"luanti-{self.preset}-{self.seed}-{index}"

    def game(self, index: int) -> GameOptions:
        """Of clip `index`. ValueError for a size, preset or range that the game does not have."""
        return GameOptions(
            width=self.width,
            height=self.height,
            map_seed=derive_map_seed("clip", self.seed, index),
            preset=self.preset,
            style=self.style,
            viewing_range=self.viewing_range,
            render_threads=max(1, (os.cpu_count() or 1) // self.workers),
        )

    def player(self) -> PlayerOptions:
        """ValueError for what is no share."""
        return PlayerOptions(self.wheel, self.drop, self.steady, self.deliberate)

    def contents(self) -> dict[str, Any]:
        """What the clips hang on: all but where, how many and how many at once."""
        return {name: value for name, value in asdict(self).items() if name not in ("out", "clips", "workers")}


class ClipWriter:
    """Writes a clip's video and lines under `.tmp` names; `finish` renames them, the jsonl last. A context manager:
    left without `finish`, it removes what it wrote."""

    def __init__(self, folder: Path, clip_id: str, width: int, height: int, crf: int) -> None:
        self._video_path, self._lines_path = folder / f"{clip_id}.mp4", folder / f"{clip_id}.jsonl"
        self._video_tmp, self._lines_tmp = folder / f"{clip_id}.mp4.tmp", folder / f"{clip_id}.jsonl.tmp"
        self._container = av.open(str(self._video_tmp), "w", format="mp4")
        stream = self._container.add_stream("libx264", rate=TICKS_PER_SECOND)
        assert isinstance(stream, VideoStream), "libx264 is a video codec"
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryfast"}
        stream.codec_context.thread_count = 1  # the other cores belong to the other games
        self._stream = stream
        self._lines = self._lines_tmp.open("w", encoding="utf-8")
        self._count = 0

    def write(self, frame: Frame, line: dict[str, Any]) -> None:
        """frame: uint8 (height, width, 3) as seen when the action of `line` was taken."""
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        picture.pts, picture.time_base = self._count, Fraction(1, TICKS_PER_SECOND)
        self._count += 1
        self._container.mux(self._stream.encode(picture))
        self._lines.write(json.dumps(line) + "\n")

    def finish(self) -> None:
        self._container.mux(self._stream.encode())
        self._close()
        self._video_tmp.replace(self._video_path)
        self._lines_tmp.replace(self._lines_path)

    def _close(self) -> None:
        self._container.close()
        self._lines.close()

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self._video_tmp.unlink(missing_ok=True)
        self._lines_tmp.unlink(missing_ok=True)


class LineMaker:
    """Makes the lines of one clip. Keeps what a line needs to know of the ones before: held keys, slot, view angles."""

    def __init__(self, width: int, height: int, slot: int, began: float) -> None:
        self._middle = (width / 2, height / 2)
        self._before = IDLE
        self._slot = slot
        self._yaw = self._pitch = 0.0
        self._began = began

    def line(self, tick: int, controls: Controls, state: GameState) -> dict[str, Any]:
        """The line of frame `tick` and the controls applied to it. yaw and pitch are those of the frame, in degrees."""
        line = {
            **input_entries(
                _inputs(controls), _inputs(self._before), controls.dx, controls.dy, controls.wheel, self._middle
            ),
            "isGuiOpen": False,
            "isGuiInventory": False,
            "hotbar": self._slot,
            "yaw": round(self._yaw, 3),
            "pitch": round(self._pitch, 3),
            "xpos": round(state.x, 3),
            "ypos": round(state.y, 3),
            "zpos": round(state.z, 3),
            "tick": round(state.clock / TICK_SECONDS),
            "milli": round(1000 * (self._began + tick * TICK_SECONDS)),
            "pointed": _pointed(state),
            "light": state.light,
            "wet": state.wet,
            "events": [f"{event.kind} {event.node}" for event in state.events],
        }
        self._slot = next_slot(self._slot, self._before, controls)
        self._yaw += controls.dx * DEGREES_PER_PIXEL
        self._pitch += controls.dy * DEGREES_PER_PIXEL
        self._before = controls
        return line


def _pointed(state: GameState) -> list[str | int] | None:
    """[node, x, y, z]."""
    if state.pointed is None:
        return None
    at = state.pointed.at
    return [state.pointed.node, round(at.x), round(at.y), round(at.z)]


def _inputs(controls: Controls) -> Inputs:
    return Inputs(frozenset(KEY_PREFIX + key for key in controls.keys), controls.mouse)


def record_clip(options: RecordingOptions, index: int, display: str, progress: Callable[[int], None]) -> None:
    """Plays and writes clip `index` on the X display; `progress` is called with the number of new frames."""
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
                progress(PROGRESS_TICKS)
        writer.finish()
        progress(options.frames % PROGRESS_TICKS)


def clip_is_whole(options: RecordingOptions, index: int) -> bool:
    """The jsonl is renamed last, so with it the clip is whole."""
    path = options.out / options.clip_id(index)
    return path.with_suffix(".mp4").is_file() and path.with_suffix(".jsonl").is_file()


def clip_stats(path: Path) -> dict[str, Any]:
    """Of a `<id>.jsonl`: its number of frames, how often nodes were dug and placed, and the share of the frames with
    each action (MineRL's names, and "camera" and "wheel"), with each slot in hand, in water and in the dark."""
    count: Counter[str] = Counter()
    held: Counter[int] = Counter()
    done: Counter[str] = Counter()
    frames = 0
    with path.open(encoding="utf-8") as lines:
        for number, text in enumerate(lines, 1):
            line = parse_line(text, path, number)
            mouse = line["mouse"]
            frames += 1
            count.update(BUTTON_OF_KEY[key.removeprefix(KEY_PREFIX)] for key in line["keyboard"]["keys"])
            count.update(ACTION_OF_MOUSE[button] for button in mouse["buttons"])
            count["camera"] += bool(mouse["dx"] or mouse["dy"])
            count["wheel"] += bool(mouse["dwheel"])
            count["in water"] += line["wet"] > 0
            count["in the dark"] += line["light"] < 5
            held[line["hotbar"]] += 1
            done.update(event.split()[0] for event in line["events"])
    if not frames:
        raise ClipError(f"{path} is empty: remove it and its mp4")
    return {
        "frames": frames,
        "dug": done["dig"],
        "placed": done["place"],
        "shares": {name: round(number / frames, 4) for name, number in sorted(count.items())},
        "slots": [round(held[slot] / frames, 4) for slot in range(HOTBAR_SLOTS)],
    }


def _read_manifest(options: RecordingOptions) -> dict[str, Any]:
    """The entries of the clips that were recorded before, by id. WorldModelError if the folder holds clips of other
    settings: they would be mistaken for these."""
    path = options.out / MANIFEST
    if not path.is_file():
        return {}
    try:
        manifest = json.loads(path.read_text())
        earlier, clips = manifest["settings"], manifest["clips"]
        if not isinstance(earlier, dict) or not isinstance(clips, dict):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise WorldModelError(f"{path} is not a recording's manifest: choose another folder") from None
    changed = [
        f"{name} {earlier.get(name)} -> {now}" for name, now in options.contents().items() if earlier.get(name) != now
    ]
    if changed:
        raise WorldModelError(
            f"{options.out} holds a recording with other settings ({', '.join(changed)}): choose another folder"
        )
    return clips


def _entry(options: RecordingOptions, index: int) -> dict[str, Any]:
    """A whole clip's statistics, land, and the SHA-256 of its two files."""
    path = options.out / options.clip_id(index)
    files = path.with_suffix(".mp4"), path.with_suffix(".jsonl")
    return {
        **clip_stats(files[1]),
        "map_seed": options.game(index).map_seed,
        "sha256": {file.suffix.removeprefix("."): hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
    }


def _write_manifest(options: RecordingOptions, clips: dict[str, Any]) -> None:
    """clips: entries known so far; those of clips that have become whole are added. Shares are means over frames."""
    for index in range(options.clips):
        if options.clip_id(index) not in clips and clip_is_whole(options, index):
            clips[options.clip_id(index)] = _entry(options, index)
    frames = sum(clip["frames"] for clip in clips.values())
    names = sorted({name for clip in clips.values() for name in clip["shares"]})
    total = {
        "clips": len(clips),
        "lands": len({clip["map_seed"] for clip in clips.values()}),
        "frames": frames,
        "steps": frames // TICKS_PER_STEP,
        "shares": {
            name: round(sum(clip["frames"] * clip["shares"].get(name, 0) for clip in clips.values()) / frames, 4)
            for name in names
        },
    }
    manifest = {"game": "Luanti (minetest_game)", "settings": options.contents(), "total": total, "clips": clips}
    unfinished = options.out / f"{MANIFEST}.tmp"
    unfinished.write_text(json.dumps(manifest, indent=1) + "\n")
    unfinished.replace(options.out / MANIFEST)


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
    known = _read_manifest(options)
    todo = [index for index in range(options.clips) if not clip_is_whole(options, index)]
    for index in todo:
        known.pop(options.clip_id(index), None)
    errors: dict[int, str] = {}
    _write_manifest(options, known)  # also marks the folder as this recording's
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
                    _write_manifest(options, known)
        finally:
            _stop([process for _, process in active.values()])
    if errors:
        first = min(errors)
        raise WorldModelError(
            f"{len(errors)} of {options.clips} clips failed (run the same command again to retry them); "
            f"{options.clip_id(first)}: {errors[first]}"
        )
    return [options.out / f"{options.clip_id(index)}.mp4" for index in range(options.clips)]
