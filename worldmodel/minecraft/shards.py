"""Token shards of recordings: each recording's image tokens and actions, in files of their own.

Layout: that of a token store (data/tokens.py), with a manifest that names the tokenizer and the reading. A shard is
done when its segments are there, which are written last: a killed run goes on, and several machines may share the work.
`report.json` says what was kept, dropped and skipped, and why. Work is done by processes of this machine, or by Ray
(optional) on many.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from worldmodel.checkpoint import tokenizer_hash
from worldmodel.data.clips import ClipStep
from worldmodel.data.frames import StoredClip, check_manifest, write_json
from worldmodel.data.played import batches, decode_tokens
from worldmodel.data.ticks import fold_actions
from worldmodel.data.tokens import TokenClip, as_stored, save_array
from worldmodel.data.video import TICKS_PER_SECOND, ClipError
from worldmodel.data.windows import held
from worldmodel.minecraft.vpt import read_recording, read_steps
from worldmodel.model.loading import load_tokenizer
from worldmodel.parsing import read_json
from worldmodel.tokenizers.action import ActionTokenizer, camera_degrees, without_fine_camera
from worldmodel.tokenizers.image import ImageTokenizer, to_pixels
from worldmodel.types import WorldModelError

KIND = "token shards"
BATCH = 16
ENCODERS = 2  # tokenizers that a worker keeps


@dataclass(frozen=True, slots=True)
class Recipe:
    """How recordings are read. tokenizer: an image tokenizer's folder; ticks: of 1/20 s that make a step (1: 20 Hz, 2:
    10 Hz); gui: whether lines with a screen open are used. See minecraft/vpt.py and ActionTokenizer."""

    tokenizer: str
    rules: str = "vpt"
    ticks: int = 1
    gui: bool = True
    legacy_camera: bool = False
    device: str = "cpu"

    @property
    def tick_rate(self) -> float:
        """Steps a second."""
        return TICKS_PER_SECOND / self.ticks


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a recording. steps: written; dropped, guis: lines without input, and with a screen open; problem: why it was
    skipped, or ""."""

    name: str
    steps: int = 0
    dropped: int = 0
    guis: int = 0
    problem: str = ""


def prepare(
    recordings: Sequence[tuple[Path, str]], recipe: Recipe, out: Path, workers: int, ray_address: str | None = None
) -> dict[str, Any]:
    """Writes the shards that are not there yet, and `report.json`; returns the report.

    workers: processes, or Ray's actors; ray_address: of a Ray cluster ("auto", "local" or host:port), or None.
    WorldModelError where the folder holds shards of another reading, or if a worker dies.
    """
    if recipe.ticks not in (1, 2):
        raise ClipError(f"--ticks must be 1 (20 Hz) or 2 (10 Hz), got {recipe.ticks}")
    tokenizer = load_tokenizer(Path(recipe.tokenizer))
    out.mkdir(parents=True, exist_ok=True)
    want = {name: value for name, value in asdict(recipe).items() if name not in ("tokenizer", "device")}
    check_manifest(out, {"kind": KIND, "tokenizer": tokenizer_hash(tokenizer), **want}, "shards")
    del tokenizer
    todo = [(str(path), name) for path, name in recordings if not (out / f"{name}.segments.npy").exists()]
    run = (
        _by_processes(todo, recipe, out, workers)
        if ray_address is None
        else _by_ray(todo, recipe, out, workers, ray_address)
    )
    outcomes: dict[str, Outcome] = {}
    for outcome in tqdm(run, total=len(todo), desc="encoding recordings", unit="recording", file=sys.stderr):
        outcomes[outcome.name] = outcome
    report = _report(recordings, outcomes, out)
    write_json(out / "report.json", report)
    return report


def _report(recordings: Sequence[tuple[Path, str]], outcomes: dict[str, Outcome], out: Path) -> dict[str, Any]:
    """Of all recordings; what earlier runs did is known from their own files."""
    total = {"steps": 0, "dropped": 0, "guis": 0}
    skipped, done = {}, 0
    for _, name in recordings:
        outcome = outcomes.get(name)
        if outcome is None or not outcome.problem:
            values = read_json(out / f"{name}.json", ClipError)
            done += 1
            for key in total:
                total[key] += int(values[key])
        else:
            skipped[name] = outcome.problem
    return {
        "recordings": len(recordings),
        "done": done,
        "new": len(outcomes) - len(skipped),
        **total,
        "skipped": skipped,
    }


@lru_cache(maxsize=ENCODERS)
def _encoder(folder: str, device: str) -> ImageTokenizer:
    return load_tokenizer(Path(folder)).to(device)


def encode_recording(path: str, name: str, recipe: Recipe, out: str) -> Outcome:
    """One recording -> its shard. What is wrong with it is in the outcome."""
    try:
        return _encode(Path(path), name, recipe, Path(out))
    except WorldModelError as error:
        return Outcome(name, problem=str(error))


@torch.inference_mode()
def _encode(path: Path, name: str, recipe: Recipe, out: Path) -> Outcome:
    tokenizer = _encoder(recipe.tokenizer, recipe.device)
    image = tokenizer.config
    lines = path.with_suffix(".jsonl")
    for file in (path, lines):
        if not file.is_file():
            raise ClipError(f"there is no {file}")
    read = read_recording(lines, recipe.rules)
    encode = ActionTokenizer(image.codebook_size, recipe.legacy_camera, not recipe.legacy_camera).encode
    codes, actions, segments = [], [], []
    steps = _folded(read_steps(path, read, image.height, image.width, recipe.gui), recipe.ticks)
    for batch in batches(steps, BATCH):
        frames = torch.from_numpy(np.stack([step.frame for step in batch])).to(recipe.device)
        codes.append(as_stored(tokenizer.encode(to_pixels(frames)), tokenizer))
        actions += [encode(step.action) for step in batch]
        segments += [step.segment for step in batch]
    if not segments:
        raise ClipError(f"{path}: no step of play in it")
    outcome = Outcome(name, len(segments), read.dropped, read.guis)
    save_array(out / f"{name}.tokens.npy", np.concatenate(codes))
    save_array(out / f"{name}.actions.npy", np.stack(actions))
    write_json(out / f"{name}.json", asdict(outcome))
    save_array(out / f"{name}.segments.npy", np.asarray(segments, np.int32))
    return outcome


def _folded(steps: Iterable[ClipStep], ticks: int) -> Iterator[ClipStep]:
    """Every `ticks` steps of a segment as one: the first picture, all that was done."""
    pending: list[ClipStep] = []
    for step in steps:
        if pending and pending[0].segment != step.segment:
            pending = []
        pending.append(step)
        if len(pending) == ticks:
            yield ClipStep(pending[0].frame, fold_actions([s.action for s in pending]), step.segment)
            pending = []


def _one_thread() -> None:
    torch.set_num_threads(1)


def _by_processes(todo: list[tuple[str, str]], recipe: Recipe, out: Path, workers: int) -> Iterator[Outcome]:
    if workers <= 1:
        yield from (encode_recording(path, name, recipe, str(out)) for path, name in todo)
        return
    # Spawned: a process that is forked inherits PyTorch's threads, which then do not run.
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, max(1, len(todo))), spawned, initializer=_one_thread) as pool:
        jobs = [pool.submit(encode_recording, path, name, recipe, str(out)) for path, name in todo]
        try:
            for job in as_completed(jobs):
                yield job.result()
        except BrokenProcessPool:
            raise WorldModelError(
                f"the system ended a process that encoded into {out} (is memory short?): started again, it goes on"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


class RayEncoder:
    """Ray Data's actor: a row {"path", "name"} -> {"outcome": JSON}."""

    def __init__(self, recipe: Recipe, out: str) -> None:
        _one_thread()
        self.recipe, self.out = recipe, out

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"outcome": json.dumps(asdict(encode_recording(row["path"], row["name"], self.recipe, self.out)))}


def _by_ray(todo: list[tuple[str, str]], recipe: Recipe, out: Path, workers: int, address: str) -> Iterator[Outcome]:
    try:
        ray: Any = import_module("ray")
        import_module("ray.data")
    except ImportError:
        raise WorldModelError('--ray needs Ray Data: pip install "ray[data]"') from None
    if not todo:
        return
    mine = not ray.is_initialized()
    if mine:
        here = {"num_cpus": workers} if address == "local" else {}
        ray.init(address=address, include_dashboard=False, log_to_driver=False, **here)
    try:
        rows = [{"path": str(Path(path).resolve()), "name": name} for path, name in todo]
        given = (recipe_for_all(recipe), str(out.resolve()))
        data = ray.data.from_items(rows, override_num_blocks=len(rows))
        for row in data.map(RayEncoder, fn_constructor_args=given, concurrency=workers, num_cpus=1).iter_rows():
            yield Outcome(**json.loads(row["outcome"]))
    finally:
        if mine:
            ray.shutdown()


def recipe_for_all(recipe: Recipe) -> Recipe:
    """With a tokenizer's folder that is found from any current folder."""
    return Recipe(**{**asdict(recipe), "tokenizer": str(Path(recipe.tokenizer).resolve())})


def is_shards(folder: Path) -> bool:
    """Whether a folder holds token shards."""
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return False
    values = read_json(manifest, ClipError)
    return isinstance(values, dict) and values.get("kind") == KIND


def open_shards(
    folder: Path, tokenizer: ImageTokenizer, legacy_camera: bool, fine_camera: bool
) -> tuple[list[TokenClip], float]:
    """The shards of a folder, memory-mapped, and their steps a second. ClipError if they are another tokenizer's or
    legacy_camera another, or if there is none. Shards tell the camera as finely as they know; without fine_camera, as
    MineWorld does."""
    manifest = read_json(folder / "manifest.json", ClipError)
    if manifest.get("tokenizer") != tokenizer_hash(tokenizer):
        raise ClipError(f"{folder}: its tokens are of another image tokenizer: prepare it again with this one")
    if bool(manifest.get("legacy_camera")) != legacy_camera:
        flag = "--legacy-camera" if manifest.get("legacy_camera") else "--no-legacy-camera"
        raise ClipError(f"{folder}: its actions were prepared with {flag}: train with it, too")
    names = sorted(path.name.removesuffix(".segments.npy") for path in folder.glob("*.segments.npy"))
    if not names:
        raise ClipError(f"{folder} holds no shards")
    told = np.asarray if fine_camera else without_fine_camera
    clips = [
        TokenClip(
            name,
            np.load(folder / f"{name}.tokens.npy", mmap_mode="r", allow_pickle=False),
            told(np.load(folder / f"{name}.actions.npy", allow_pickle=False)),
            np.load(folder / f"{name}.segments.npy", allow_pickle=False),
        )
        for name in names
    ]
    return clips, TICKS_PER_SECOND / int(manifest["ticks"])


def pictured(clip: TokenClip, tokenizer: ImageTokenizer, most: int = 256) -> tuple[StoredClip, TokenClip]:
    """The first `most` steps of a shard with their pictures, as its tokenizer paints them: for validation."""
    part = slice(0, most)
    tokens, actions = np.asarray(clip.tokens[part]), clip.actions[part]
    frames = np.concatenate([decode_tokens(tokenizer, tokens[at : at + BATCH]) for at in range(0, len(tokens), BATCH)])
    stored = StoredClip(clip.name, frames, held(actions), camera_degrees(actions), clip.segments[part])
    return stored, TokenClip(clip.name, tokens, actions, clip.segments[part])
