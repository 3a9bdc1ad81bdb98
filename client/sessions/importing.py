"""The command `worldmodel import`: VPT clips become session files, with the tokens of an image tokenizer."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from client.sessions.simulation import IMPORTED
from recordings.format import Header, Marker, StepRecord
from recordings.opening import Opening, SamplerSettings
from recordings.writer import SessionWriter
from worldmodel.types import Tokens, WorldModelError

if TYPE_CHECKING:
    from worldmodel.data.clips import ClipStep
    from worldmodel.tokenizers.image import ImageTokenizer


def import_clips(source: Path, world: str, out: Path) -> int:
    """Writes `<id>.wms` into `out` for a clip, or for every clip of a folder; those that are there already are left
    alone. world: the checkpoint, or the image tokenizer's folder, that makes the tokens. Returns the exit code.

    WorldModelError, before anything is written, if a file is missing; and at the end, once for all clips that could not
    be imported: the others are.
    """
    from worldmodel.data.clips import find_clips
    from worldmodel.data.frames import bad_clips, clip_name
    from worldmodel.model.loading import load_tokenizer
    from worldmodel.worlds.neural import find_checkpoint

    if not source.exists():
        raise WorldModelError(f"there is no file or folder {source}")
    if source.is_file() and source.suffix != ".mp4":
        raise WorldModelError(f"{source}: give a clip's .mp4 (its .jsonl beside it), or a folder of clips")
    alone = source.is_file()
    clips = [
        (clip, clip.stem if alone else clip_name(clip, source)) for clip in ([source] if alone else find_clips(source))
    ]
    folder = find_checkpoint(world)
    tokenizer = load_tokenizer(folder)
    todo = [(clip, out / f"{name}.wms") for clip, name in clips if not (out / f"{name}.wms").exists()]
    bad: dict[Path, str] = {}
    with tqdm(unit="step", desc="importing", file=sys.stderr, disable=None) as bar:
        for clip, path in todo:
            bar.set_description(clip.name)
            try:
                for note in _import_clip(clip, path, folder, tokenizer, bar.update):
                    bar.write(f"{clip}: {note}", file=sys.stderr)
            except OSError as error:  # a full disk, for one
                raise WorldModelError(f"{path} cannot be written: {error.strerror}") from None
            except WorldModelError as error:
                bad[clip] = str(error)
    done, there = len(todo) - len(bad), len(clips) - len(todo)
    print(f"{done} of {len(clips)} clips imported into {out}; {there} were there already")
    if bad:
        raise WorldModelError(bad_clips(bad, len(clips), ""))
    return 0


def _import_clip(
    clip: Path, path: Path, folder: Path, tokenizer: ImageTokenizer, progress: Callable[[], object]
) -> tuple[str, ...]:
    """One clip -> one session file, written aside and renamed. Returns the notes on how it was read (ClipPlan)."""
    from worldmodel.data.clips import plan_clip, read_plan

    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)  # of an import that was killed
    plan = plan_clip(clip, tokenizer.config.height, tokenizer.config.width)
    steps = _encoded(read_plan(plan), tokenizer)
    before = next(steps, None)
    if before is None:
        raise WorldModelError(f"{clip}: no step of play in it (two frames of 20 Hz make one)")
    header = _header(folder, tokenizer, _opening(before[1]))
    index = frame = 0
    with SessionWriter(temporary, header) as writer:
        for now in steps:
            (old, _), (new, tokens) = before, now
            time_s = index / header.tick_rate
            if new.segment == old.segment:
                writer.step(StepRecord(index, frame, time_s, old.action, tokens))
                index, frame = index + 1, frame + 1
            else:  # a GUI was open in between: what comes now is no result of the action before
                writer.mark(Marker("reset", index, time_s, seed=header.seed, opening=_opening(tokens)))
                frame = 0
            before = now
            progress()
    if not index:
        temporary.unlink()
        raise WorldModelError(f"{clip}: a session needs two steps of play one after the other")
    temporary.replace(path)
    return plan.notes


def _encoded(steps: Iterator[ClipStep], tokenizer: ImageTokenizer) -> Iterator[tuple[ClipStep, Tokens]]:
    import torch

    from worldmodel.data.played import batches
    from worldmodel.tokenizers.image import to_pixels

    for batch in batches(steps):
        with torch.inference_mode():
            codes = tokenizer.encode(to_pixels(torch.from_numpy(np.stack([step.frame for step in batch])))).numpy()
        yield from zip(batch, codes.astype(np.int32), strict=True)


def _opening(tokens: Tokens) -> Opening:
    from worldmodel.tokenizers.action import TOKENS_PER_ACTION

    return Opening(tokens[None], np.zeros((0, TOKENS_PER_ACTION), np.int32))


def _header(folder: Path, tokenizer: ImageTokenizer, opening: Opening) -> Header:
    from worldmodel.checkpoint import read_config, tokenizer_hash, weights_hash
    from worldmodel.data.video import TICKS_PER_SECOND, TICKS_PER_STEP
    from worldmodel.model.loading import load_sampler

    config: dict[str, Any] = read_config(folder)
    config = config.get("model", config)
    return Header(
        world=folder.name,
        checkpoint=folder.resolve().name,
        weights=weights_hash(folder),
        config=config,
        order=config.get("order", ""),
        sampler=SamplerSettings(**asdict(load_sampler(folder))),
        seed=0,
        tick_rate=TICKS_PER_SECOND / TICKS_PER_STEP,
        engine=IMPORTED,
        device="cpu",
        created=time.time(),
        opening=opening,
        tokenizer=tokenizer_hash(tokenizer),
    )
