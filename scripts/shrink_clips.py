"""Makes small copies of VPT clips, at the size that a model trains on, to carry them to another machine.

    python scripts/shrink_clips.py --data CLIPS --out small --height 112 --width 192 --crf 22

The jsonl files are copied as they are. A clip is written under a `.tmp` name and renamed; done clips are skipped.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from tqdm import tqdm

from worldmodel.data.clips import find_clips, plan_clip
from worldmodel.data.video import TICKS_PER_SECOND, decoded, fit_to, fitted
from worldmodel.locking import unfinished
from worldmodel.script import main_with_errors


@dataclass(frozen=True)
class Arguments:
    """What is copied, and how small."""

    data: Path
    """Folder of clips."""
    out: Path
    """Folder for the copies."""
    height: int = 112
    """Height of the copies, in pixels."""
    width: int = 192
    """Width of the copies, in pixels."""
    crf: int = 22
    """Quality of the H.264 encoding: lower is better and larger."""


def shrink(clip: Path, target: Path, height: int, width: int, crf: int) -> None:
    """Re-encodes one clip as it is read for training: upright, in the model's shape, every picture at its time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    plan = plan_clip(clip, height, width)
    fit = fit_to(plan.video, height, width)
    temporary = unfinished(target)
    base = Fraction(1, 1000 * TICKS_PER_SECOND)
    with av.open(str(temporary), "w", format="mp4") as copy:
        stream = copy.add_stream("libx264", rate=TICKS_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = base
        stream.options = {"crf": str(crf), "preset": "slow"}
        for tick, picture in decoded(plan.video):
            small = av.VideoFrame.from_ndarray(fitted(picture, plan.video, fit, height, width), format="rgb24")
            small.pts, small.time_base = round(1000 * tick), base
            copy.mux(stream.encode(small))
        copy.mux(stream.encode())
    os.replace(temporary, target)
    shutil.copyfile(clip.with_suffix(".jsonl"), target.with_suffix(".jsonl"))


def main(args: Arguments) -> None:
    clips = find_clips(args.data)
    targets = [args.out / clip.relative_to(args.data) for clip in clips]
    todo = [(clip, target) for clip, target in zip(clips, targets, strict=True) if not target.exists()]
    with ProcessPoolExecutor() as pool, tqdm(total=len(todo), unit="clip") as bar:
        jobs = [pool.submit(shrink, clip, target, args.height, args.width, args.crf) for clip, target in todo]
        for job in as_completed(jobs):
            job.result()
            bar.update()
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    print(f"{args.out}: {len(clips)} clips, {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main_with_errors(main, Arguments)
