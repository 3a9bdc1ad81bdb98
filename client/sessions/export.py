"""Writes recordings as videos: .mp4 (H.264), .gif, or a VPT clip. Each file is written aside and renamed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from recordings.writer import reason_of
from worldmodel.types import Action, Frame, WorldModelError

if TYPE_CHECKING:
    from worldmodel.data.clips import ClipStep

QUALITY = "18"  # H.264's CRF: hardly to be told from the original
GIF_SCALE = 2  # a GIF is shown as it is: nano's frame alone would be small


def check_export(path: Path, keys: bool, scale: int | None) -> None:
    """All that can be wrong with where and how to export, before any work. Makes the folder of a VPT clip.
    WorldModelError."""
    if path.suffix not in (".mp4", ".gif", ""):
        raise WorldModelError(f"--export writes .mp4, .gif or a folder for a VPT clip, got {path}")
    if scale is not None and scale < 1:
        raise WorldModelError(f"--scale must be at least 1, got {scale}")
    if not path.suffix and (keys or scale is not None):
        raise WorldModelError("--keys and --scale are for .mp4 and .gif; a VPT clip has the frames as they are")
    if path.suffix and path.is_dir():
        raise WorldModelError(f"--export {path}: that is a folder")
    if path.suffix and not path.parent.is_dir():
        raise WorldModelError(f"--export {path}: there is no folder {path.parent}")
    try:
        if not path.suffix:
            path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent if path.suffix else path):
            pass
    except OSError as error:
        raise WorldModelError(f"--export {path} cannot be written: {reason_of(error)}") from None


@contextmanager
def whole_or_nothing(path: Path, steps: int) -> Iterator[None]:
    """Around the writing of `steps` steps into a file that is written aside: a disk's failure is one sentence."""
    try:
        yield
    except OSError as error:
        raise WorldModelError(f"{reason_of(error)}, 0 of {steps} steps kept: {path} was not written") from None


def write_video(path: Path, frames: Iterable[Frame], rate: float) -> None:
    """.mp4 or .gif by the path's suffix. frames: uint8 (H, W, 3), even sizes; rate: frames a second. OSError."""
    if path.suffix == ".mp4":
        write_mp4(path, frames, rate)
    else:
        from worldmodel.data.animation import write_gif

        write_gif(path, list(frames), rate, scale=1)


def write_mp4(path: Path, frames: Iterable[Frame], rate: float) -> None:
    """H.264. frames: uint8 (H, W, 3), even sizes; rate: frames a second. OSError."""
    import av

    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with av.open(str(temporary), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000))
            stream.pix_fmt = "yuv420p"
            stream.options = {"crf": QUALITY}
            for index, frame in enumerate(frames):
                if not index:
                    stream.height, stream.width = frame.shape[:2]
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # where the frames broke off


def write_vpt(folder: Path, name: str, steps: Iterable[ClipStep]) -> Path:
    """`<name>.mp4` + `<name>.jsonl`, 20 Hz: training data. Between two segments stands a step with an open GUI, so that
    a reader does not take a branch for the result of the action before. The jsonl comes last: a clip without it is not
    whole."""
    from worldmodel.data.ticks import action_lines
    from worldmodel.data.video import TICKS_PER_SECOND, TICKS_PER_STEP

    actions: list[Action | None] = []

    def frames() -> Iterator[Frame]:
        segment: int | None = None
        for step in steps:
            cut = segment is not None and step.segment != segment
            actions.extend([None, step.action] if cut else [step.action])
            segment = step.segment
            yield from [step.frame] * TICKS_PER_STEP * (2 if cut else 1)

    folder.mkdir(parents=True, exist_ok=True)
    video = folder / f"{name}.mp4"
    lines = video.with_suffix(".jsonl")
    temporary = lines.with_name(f".{lines.name}.tmp")
    try:
        write_mp4(video, frames(), TICKS_PER_SECOND)
        temporary.write_text("".join(line + "\n" for line in action_lines(actions)), encoding="utf-8")
        temporary.replace(lines)
    except OSError:
        temporary.unlink(missing_ok=True)
        video.unlink(missing_ok=True)  # alone it is no clip, and stands in the way of a list of clips
        raise
    return video
