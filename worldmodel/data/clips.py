"""Reads VPT contractor clips (`<id>.mp4` + `<id>.jsonl`, 20 Hz) as a stream of 10 Hz steps.

Line t is the action taken on frame t; frame t+1 is its result. A clip is never loaded whole. Real contractor files have
defects that are survived here: missing or extra lines at the end, frames with a GUI open. It knows files and actions;
nothing of models. What a line says is in ticks.py.

Format source: the VPT repository's README (openai/Video-Pre-Training) and arXiv 2206.11795.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from worldmodel.data.ticks import MAX_TURN, Tick, fold, read_ticks, turned_too_far, within_reach
from worldmodel.data.video import (
    TICKS_PER_SECOND,
    TICKS_PER_STEP,
    ClipError,
    Video,
    fit_to,
    fitted,
    open_video,
    pictures,
)
from worldmodel.types import Action, Frame

# Real files end with a few lines or frames too many. More than two seconds is a broken file.
MAX_MISSING_TICKS = 2 * TICKS_PER_SECOND
RATE_NOTED = 0.02  # how far a rate may be from 20 Hz before it is said


@dataclass(frozen=True, slots=True)
class ClipStep:
    """frame: uint8 (H, W, 3) at the step's start; action: what was done on it; segment: number of the unbroken run of
    play that it belongs to (a GUI screen, or a pause in the pictures, cuts a clip into segments)."""

    frame: Frame
    action: Action
    segment: int


ClipReader = Callable[[Path, int, int], Iterator[ClipStep]]
"""A clip's file, height and width of the frames -> its 10 Hz steps, as `read_clip`."""


def find_clips(folder: Path, suffixes: Sequence[str] = (".mp4",)) -> list[Path]:
    """The files of all clips below `folder`, sorted. ClipError if there is none."""
    if not folder.is_dir():
        raise ClipError(f"{folder} is not a folder; give a folder of VPT clips (<id>.mp4 and <id>.jsonl)")
    found = (path for suffix in suffixes for path in folder.rglob(f"*{suffix}"))
    clips = sorted(found, key=lambda path: (str(path.parent), len(path.stem), path.stem))
    if not clips:
        raise ClipError(f"no clips in {folder}: it needs <id>.mp4 and <id>.jsonl (make some with worldmodel record)")
    return clips


def check_length(folders: Sequence[Path], steps: int) -> None:
    """ClipError if no clip has so many 10 Hz steps, told from the small jsonl files alone."""
    longest = 0
    for folder in folders:
        for clip in find_clips(folder):
            lines = clip.with_suffix(".jsonl")
            if lines.is_file():
                with lines.open("rb") as file:
                    longest = max(longest, sum(1 for line in file if line.strip()) // TICKS_PER_STEP)
            if longest >= steps:
                return
    raise ClipError(
        f"no clip is long enough: {steps} steps are needed (context and frames); the longest clip has {longest}"
    )


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """A clip that can be used, before any picture but the first is decoded. size: (height, width) of its frames; steps:
    (first tick, action, segment) of each; notes: what is not read as it stands, without the clip's name."""

    video: Video
    size: tuple[int, int]
    steps: tuple[tuple[int, Action, int], ...]
    notes: tuple[str, ...]


def plan_clip(path: Path, height: int, width: int) -> ClipPlan:
    """All that can be told of a clip without decoding it; frames are to be (height, width).

    path: the mp4; its jsonl lies beside it. Raises ClipError for an unreadable video, one smaller than asked or of
    fewer pictures than steps, a bad line (file and line), or lines and video that differ by more than
    MAX_MISSING_TICKS.
    """
    lines = path.with_suffix(".jsonl")
    if not lines.is_file():
        raise ClipError(f"{path} has no {lines.name} beside it")
    ticks = list(read_ticks(lines))
    video = open_video(path)
    fit = fit_to(video, height, width)
    if abs(video.ticks - len(ticks)) > MAX_MISSING_TICKS:
        raise ClipError(
            f"{path}: {video.frames} frames but {len(ticks)} lines in {lines.name} ({video.ticks / TICKS_PER_SECOND:g} "
            f"and {len(ticks) / TICKS_PER_SECOND:g} s): they may differ by {MAX_MISSING_TICKS / TICKS_PER_SECOND:g} s"
        )
    steps = _steps(ticks[: video.ticks])
    notes = []
    if abs(video.rate / TICKS_PER_SECOND - 1) > RATE_NOTED:
        notes.append(f"{video.rate:.3g} pictures a second, taken by their times at {TICKS_PER_SECOND}")
    if video.gaps:
        notes.append("pauses in the pictures, whose steps are left out")
    if fit.cropped:
        notes.append(f"{video.width}x{video.height} px, cut around the centre to the shape of {width}x{height}")
    if any(turned_too_far(action) for _, action, _ in steps):
        notes.append(f"camera moves over {MAX_TURN:g} degrees a step, cut to that")
    reached = tuple((tick, within_reach(action), segment) for tick, action, segment in steps)
    return ClipPlan(video, (height, width), reached, tuple(notes))


def _steps(ticks: Sequence[Tick]) -> list[tuple[int, Action, int]]:
    """Pairs of ticks -> (first tick, action, segment). Ticks with a GUI are left out, and cut the clip."""
    steps: list[tuple[int, Action, int]] = []
    pending: list[Tick] = []
    segment, in_gui = 0, False
    for number, tick in enumerate(ticks):
        if tick.gui:  # the step is dropped, and play after it is a new segment
            pending, in_gui = [], True
            continue
        if in_gui:
            in_gui, segment = False, segment + (1 if steps else 0)
        pending.append(tick)
        if len(pending) == TICKS_PER_STEP:
            steps.append((number - TICKS_PER_STEP + 1, fold(pending), segment))
            pending = []
    return steps


def read_clip(path: Path, height: int, width: int) -> Iterator[ClipStep]:
    """Streams a clip's 10 Hz steps, frames reduced to (height, width) by area averaging: of each step, the picture that
    the video shows when it begins. ClipError as plan_clip, and where the video breaks off."""
    return read_plan(plan_clip(path, height, width))


def read_plan(plan: ClipPlan) -> Iterator[ClipStep]:
    """The steps of a clip that was looked at. ClipError where the video breaks off."""
    fit = fit_to(plan.video, *plan.size)
    pauses, paused = 0, False
    shown = pictures(plan.video, (tick for tick, _, _ in plan.steps))
    for picture, (_, action, segment) in zip(shown, plan.steps, strict=True):
        if picture is None:
            paused = True
            continue
        pauses, paused = pauses + paused, False
        yield ClipStep(fitted(picture, plan.video, fit, *plan.size), action, segment + pauses)
