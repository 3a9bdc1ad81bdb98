"""Frame store: clips decoded once to memory-mapped uint8 frames and action tokens, a pair of files a clip.

Layout: `<name>.frames.npy` uint8 (steps, H, W, 3); `<name>.actions.npz` with buttons and camera. Each
file is written to `.tmp` and renamed, so that a killed build continues where it stopped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from worldmodel.data.clips import ClipError, ClipReader, find_clips, read_clip
from worldmodel.parsing import read_json
from worldmodel.types import BUTTONS, Action

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
) -> list[str]:
    """Decodes every clip below the folders into `out`. Returns the clips' names. Done clips are skipped.

    readers: suffix -> reader of further kinds of clips, beside VPT's mp4.
    """
    clips = [pair for folder in folders for pair in named_clips(folder, readers)]
    reader_of = {".mp4": read_clip, **readers}
    names = [name for _, name in clips]
    if len(set(names)) < len(names):
        raise ClipError(f"two of the folders {[str(folder) for folder in folders]} have the same name: rename one")
    out.mkdir(parents=True, exist_ok=True)
    want = {"format": STORE_FORMAT, "height": height, "width": width}
    manifest = out / "manifest.json"
    if manifest.exists():
        have = read_json(manifest, ClipError)
        if have != want:
            raise ClipError(f"{out} holds frames made with {have}, not {want}: give another folder or delete it")
    write_json(manifest, want)
    todo = [
        (clip, name)
        for clip, name in clips
        if not (out / f"{name}.actions.npz").exists()
        or (out / f"{name}.actions.npz").stat().st_mtime < clip.stat().st_mtime
    ]
    workers = workers or os.cpu_count() or 1
    with ProcessPoolExecutor(workers) as pool, tqdm(total=len(todo), desc="decoding clips", unit="clip") as bar:
        jobs = [pool.submit(_store_clip, clip, name, out, height, width, reader_of[clip.suffix]) for clip, name in todo]
        try:
            for job in as_completed(jobs):
                job.result()
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return names


def named_clips(folder: Path, readers: Mapping[str, ClipReader]) -> list[tuple[Path, str]]:
    """The clips below a folder, with their names in a store. readers: see build_frame_store."""
    return [(clip, clip_name(clip, folder)) for clip in find_clips(folder, [".mp4", *readers])]


def _store_clip(clip: Path, name: str, out: Path, height: int, width: int, reader: ClipReader) -> None:
    frames_path, rows, camera, segments = out / f"{name}.frames.npy", [], [], []
    raw = out / f"{name}.raw.tmp"
    with raw.open("wb") as file:  # streamed: a clip may be larger than the memory
        for step in reader(clip, height, width):
            file.write(step.frame.tobytes())
            rows.append([button in step.action.buttons for button in BUTTONS])
            camera.append((step.action.pitch, step.action.yaw))
            segments.append(step.segment)
    if not rows:
        raw.unlink()
        raise ClipError(f"{clip}: no step of play in it (two frames of 20 Hz make one)")
    temporary = frames_path.with_suffix(".npy.tmp")
    frames = np.lib.format.open_memmap(temporary, "w+", np.uint8, (len(rows), height, width, 3))
    source = np.memmap(raw, np.uint8, "r", shape=frames.shape)
    for start in range(0, len(rows), 256):
        frames[start : start + 256] = source[start : start + 256]
    frames.flush()
    del frames, source
    raw.unlink()
    os.replace(temporary, frames_path)
    actions = out / f"{name}.actions.npz"
    with open(f"{actions}.tmp", "wb") as file:
        np.savez_compressed(
            file,
            buttons=np.asarray(rows, np.bool_),
            camera=np.asarray(camera, np.float32),
            segments=np.asarray(segments, np.int32),
        )
    os.replace(f"{actions}.tmp", actions)


def open_frame_store(out: Path, names: Sequence[str]) -> list[StoredClip]:
    clips = []
    for name in names:
        frames = np.load(out / f"{name}.frames.npy", mmap_mode="r", allow_pickle=False)
        with np.load(out / f"{name}.actions.npz", allow_pickle=False) as actions:
            clips.append(StoredClip(name, frames, actions["buttons"], actions["camera"], actions["segments"]))
    return clips


def write_json(path: Path, value: object) -> None:
    """Writes JSON atomically (`.tmp`, then rename); paths as text."""

    def plain(value: object) -> str:
        if isinstance(value, Path):
            return str(value)
        raise TypeError(f"{type(value).__name__} cannot be written as JSON")

    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # the processes of one run write the same manifest
    temporary.write_text(json.dumps(value, indent=1, default=plain) + "\n")
    os.replace(temporary, path)
