"""Makes small copies of VPT clips, at the size that a model trains on, to carry them to another machine.

    python scripts/shrink_clips.py --data CLIPS --out small --height 112 --width 192 --crf 22

The jsonl files are copied as they are. A clip is written under a `.tmp` name and renamed; done clips are skipped.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import av
from av.video.reformatter import Interpolation
from tqdm import tqdm

from worldmodel.data.clips import TICKS_PER_SECOND, ClipError, find_clips
from worldmodel.training.common import main_with_errors


@dataclass(frozen=True)
class Arguments:
    """data: folder of clips; out: folder for the copies; crf: H.264 quality (lower is better and larger)."""

    data: Path
    out: Path
    height: int = 112
    width: int = 192
    crf: int = 22


def shrink(clip: Path, target: Path, height: int, width: int, crf: int) -> None:
    """Re-encodes one clip by area averaging, every frame kept."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(target.name + ".tmp")
    with av.open(str(clip)) as source, av.open(str(temporary), "w", format="mp4") as copy:
        video = source.streams.video[0]
        if video.width < width or video.height < height:
            raise ClipError(f"{clip}: {video.width}x{video.height} px is smaller than the {width}x{height} asked for")
        stream = copy.add_stream("libx264", rate=TICKS_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": str(crf), "preset": "slow"}
        for picture in source.decode(video):
            small = picture.reformat(width, height, "yuv420p", interpolation=Interpolation.AREA)
            small.pts = None
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
