"""Frame store: clips decoded once to memory-mapped uint8 frames and action tokens, a pair of files a clip.

Layout: `<name>.frames.npy` uint8 (steps, H, W, 3); `<name>.actions.npz` with buttons and camera. Each file is written
aside and renamed, so that a killed build continues where it stopped; several processes may build the same store.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from worldmodel.data.clips import ClipError, ClipReader, find_clips, plan_clip, read_clip
from worldmodel.ending import ENDING
from worldmodel.locking import building, unfinished
from worldmodel.parsing import read_json
from worldmodel.types import BUTTONS, Action, WorldModelError
from worldmodel.writing import new_array, written

STORE_FORMAT = 2  # 2: clicks of Luanti begin a tick later


@dataclass(frozen=True, slots=True)
class StoredClip:
    """frames: uint8 (T, H, W, 3), memory-mapped; buttons: bool (T, 23) in BUTTONS' order; camera: float32
    (T, 2) degrees [pitch, yaw]; segments: int32 (T,)."""

    name: str
    frames: NDArray[np.uint8]
    buttons: NDArray[np.bool_]
    camera: NDArray[np.float32]
    segments: NDArray[np.int32]

    def actions(self) -> list[Action]:
        return [
            Action(frozenset(BUTTONS[i] for i in np.flatnonzero(held)), float(pitch), float(yaw))
            for held, (pitch, yaw) in zip(self.buttons, self.camera, strict=True)
        ]


def clip_name(clip: Path, root: Path) -> str:
    """`data/train/clip_1.mp4` of root `data` -> `data.train.clip_1`: a plain file name."""
    return ".".join((root.resolve().name, *clip.relative_to(root).with_suffix("").parts))


def build_frame_store(
    folders: Sequence[Path],
    out: Path,
    height: int,
    width: int,
    workers: int | None = None,
    readers: Mapping[str, ClipReader] = MappingProxyType({}),
    skip_bad: bool = False,
    most: int | None = None,
) -> list[str]:
    """Decodes every clip below the folders into `out`. Returns the clips' names. Done clips are skipped.

    readers: suffix -> reader of further kinds of clips, beside VPT's mp4; skip_bad: whether clips that cannot be used
    are left out (and named); most: at most so many, spread evenly. ClipError that names all bad ones, before any is
    decoded where that can be told. Several processes may ask for the same store: one builds it.
    """
    clips = [pair for folder in folders for pair in named_clips(folder, readers)]
    if most is not None and most < len(clips):
        clips = [clips[int(at)] for at in np.linspace(0, len(clips) - 1, most)]
    names = [name for _, name in clips]
    if len(set(names)) < len(names):
        raise ClipError(f"two of the folders {[str(folder) for folder in folders]} have the same name: rename one")
    with building(out):
        check_manifest(out, {"format": STORE_FORMAT, "height": height, "width": width}, "frames")
        todo = [(clip, name) for clip, name in clips if not is_current(out / f"{name}.actions.npz", clip)]
        bad = _store_clips(todo, out, (height, width), workers or os.cpu_count() or 1, readers, skip_bad)
    if bad and len(bad) == len(clips):
        raise ClipError(bad_clips(bad, len(clips), ""))
    return [name for clip, name in clips if clip not in bad]


def is_current(made: Path, source: Path) -> bool:
    """Is what was made of a file there, and not older than it? What has no source any more cannot be out of date."""
    return made.exists() and not (source.exists() and source.stat().st_mtime > made.stat().st_mtime)


def check_manifest(out: Path, want: Mapping[str, object], what: str) -> None:
    """Writes what a store is made with, or compares it: ClipError if it was made with something else."""
    manifest = out / "manifest.json"
    if not manifest.exists():
        write_json(manifest, want)
    elif (have := read_json(manifest, ClipError)) != want:
        raise ClipError(f"{out} holds {what} made with {have}, not {want}: give another folder or delete it")


def _store_clips(
    todo: Sequence[tuple[Path, str]],
    out: Path,
    size: tuple[int, int],
    workers: int,
    readers: Mapping[str, ClipReader],
    skip_bad: bool,
) -> dict[Path, str]:
    """Decodes clips, many at once. Returns those that cannot be used, and why; ClipError with all of them, unless
    skip_bad. First all are looked at, which is quick, and decoded only if that finds them good."""
    reader_of = {".mp4": read_clip, **readers}
    bad: dict[Path, str] = {}
    notes: dict[str, int] = {}

    def check() -> None:
        if bad and not skip_bad:
            raise ClipError(bad_clips(bad, len(todo), "; --skip-bad uses the others"))

    with ProcessPoolExecutor(min(workers, max(1, len(todo))), initializer=_end_quietly) as pool:
        try:
            plain = [clip for clip, _ in todo if clip.suffix == ".mp4"]
            for clip, found in zip(plain, pool.map(partial(_look_at, size=size), plain), strict=True):
                for note in found.notes:
                    notes[note] = notes.get(note, 0) + 1
                if found.problem:
                    bad[clip] = found.problem
            check()
            jobs = {
                pool.submit(_store_clip, clip, name, out, *size, reader_of[clip.suffix]): clip
                for clip, name in todo
                if clip not in bad
            }
            for job in tqdm(as_completed(jobs), total=len(jobs), desc="decoding clips", unit="clip", disable=not jobs):
                try:
                    job.result()
                except WorldModelError as error:
                    bad[jobs[job]] = str(error)
            check()
        except BrokenProcessPool:
            raise ClipError(
                f"the system ended a process that decoded into {out} (is memory short?): started again, it goes on"
            ) from None
        except BaseException:
            for worker in multiprocessing.active_children():  # a long clip would be decoded to its end
                worker.terminate()
            pool.shutdown(cancel_futures=True)
            raise
    for note, count in notes.items():
        print(f"{_count(count, 'clip')}: {note}", file=sys.stderr)
    if bad:
        print(bad_clips(bad, len(todo), "; left out"), file=sys.stderr)
    return bad


@dataclass(frozen=True, slots=True)
class _Found:
    """notes: see ClipPlan; problem: why the clip cannot be used, or ""."""

    notes: tuple[str, ...] = ()
    problem: str = ""


def _look_at(clip: Path, size: tuple[int, int]) -> _Found:
    try:
        return _Found(notes=plan_clip(clip, *size).notes)
    except ClipError as error:
        return _Found(problem=str(error))


def _end_quietly() -> None:
    """In a worker: a signal ends it at once and without a word, whatever its parent does with signals."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}"


def bad_clips(bad: Mapping[Path, str], of: int, remedy: str) -> str:
    """One sentence that names them all, each in a line of its own."""
    if of == 1:
        return next(iter(bad.values()))
    listed = "".join(f"\n  {problem}" for problem in bad.values())
    return f"{len(bad)} of {_count(of, 'clip')} cannot be used{remedy}:{listed}"


def named_clips(folder: Path, readers: Mapping[str, ClipReader]) -> list[tuple[Path, str]]:
    """The clips below a folder, with their names in a store. readers: see build_frame_store."""
    return [(clip, clip_name(clip, folder)) for clip in find_clips(folder, [".mp4", *readers])]


def _store_clip(clip: Path, name: str, out: Path, height: int, width: int, reader: ClipReader) -> None:
    frames_path, rows, camera, segments = out / f"{name}.frames.npy", [], [], []
    raw = unfinished(out / f"{name}.raw")
    try:
        with written(frames_path) as temporary:
            with raw.open("wb") as file:  # streamed: a clip may be larger than the memory
                for step in reader(clip, height, width):
                    file.write(step.frame.tobytes())
                    rows.append([button in step.action.buttons for button in BUTTONS])
                    camera.append((step.action.pitch, step.action.yaw))
                    segments.append(step.segment)
            if not rows:
                raise ClipError(f"{clip}: no step of play in it (two frames of 20 Hz make one)")
            frames = new_array(temporary, np.uint8, (len(rows), height, width, 3))
            source = np.memmap(raw, np.uint8, "r", shape=frames.shape)
            for start in range(0, len(rows), 256):
                frames[start : start + 256] = source[start : start + 256]
            frames.flush()
            del frames, source
    finally:
        raw.unlink(missing_ok=True)
    with written(out / f"{name}.actions.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            buttons=np.asarray(rows, np.bool_),
            camera=np.asarray(camera, np.float32),
            segments=np.asarray(segments, np.int32),
        )


def open_frame_store(out: Path, names: Sequence[str]) -> list[StoredClip]:
    clips = []
    for name in names:
        frames = np.load(out / f"{name}.frames.npy", mmap_mode="r", allow_pickle=False)
        with np.load(out / f"{name}.actions.npz", allow_pickle=False) as actions:
            clips.append(StoredClip(name, frames, actions["buttons"], actions["camera"], actions["segments"]))
    return clips


def open_clips(
    splits: Mapping[str, Sequence[Path]],
    cache: Path,
    height: int,
    width: int,
    readers: Mapping[str, ClipReader] = MappingProxyType({}),
    skip_bad: bool = False,
) -> dict[str, list[StoredClip]]:
    """The clips of each split (name -> folders), from a store `cache`/name that is built first. See build_frame_store.

    ClipError for a folder of any split without clips, before anything is decoded.
    """
    for name, folders in splits.items():
        if not folders:
            raise ClipError(f"no folder of clips is given for {name}")
        for folder in folders:
            named_clips(folder, readers)
    opened = {}
    for name, folders in splits.items():
        store = cache / name
        once = tuple(dict.fromkeys(folders))
        names = build_frame_store(once, store, height, width, readers=readers, skip_bad=skip_bad)
        opened[name] = open_frame_store(store, names)
    return opened


def write_json(path: Path, value: object) -> None:
    """Writes JSON atomically (`.tmp`, then rename); paths as text."""

    def plain(value: object) -> str:
        if isinstance(value, Path):
            return str(value)
        raise TypeError(f"{type(value).__name__} cannot be written as JSON")

    with written(path) as file:
        file.write_text(json.dumps(value, indent=1, default=plain) + "\n")
