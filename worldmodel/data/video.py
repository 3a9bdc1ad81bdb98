"""Reads a clip's video by its timestamps, upright, and in the model's shape. It knows containers; no actions.

Pictures are wanted at ticks of 1/20 s, counted from the video's first picture: the one that a player of the file shows
then is taken, whatever the rate of the video (`pictures`). A clip of exactly 20 Hz gives each of its pictures to the
tick of the same number. All that can be told without decoding is told first (`open_video`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.sidedata.sidedata import SideData
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from worldmodel.types import Frame, WorldModelError

TICKS_PER_SECOND = 20
TICKS_PER_STEP = 2
EARLY = 0.25  # of a tick, that a picture may come after its tick: timestamps are rounded, and clocks tremble
# Of the step that a picture is the beginning of: with fewer pictures than steps, some steps would show no change.
SLOWEST = TICKS_PER_SECOND / TICKS_PER_STEP
# A shape this near to the model's is scaled as it is: VPT's 16:9 is 3.7% wider than nano's 12:7.
NEARLY = 1.05
MOST_PIXELS = (
    4096 * 2304
)  # of a picture: a decoder holds a score of them, and black ones of any size fit into a small file


class ClipError(WorldModelError):
    """A clip that cannot be used; the message names the file, the line where there is one, and what to do."""


@dataclass(frozen=True, slots=True)
class Turn:
    """How a picture is set upright: transposed first, then mirrored. The display matrix of the container."""

    transposed: bool = False
    mirrored: bool = False
    upside_down: bool = False

    def apply(self, frame: Frame) -> Frame:
        """uint8 (H, W, 3) -> the same, or (W, H, 3) where it is transposed."""
        frame = frame.transpose(1, 0, 2) if self.transposed else frame
        return frame[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]


UPRIGHT = Turn()


@dataclass(frozen=True, slots=True)
class Video:
    """What is known of a video before it is decoded. stream: its number among the file's videos; width, height: pixels,
    upright; pixel: width of a pixel over its height, upright; start: timestamp of the first picture, in seconds;
    frames: how many there are; rate: pictures a second, of most; ticks: how many ticks it lasts; gaps: pauses longer
    than a step."""

    path: Path
    stream: int
    width: int
    height: int
    pixel: Fraction
    turn: Turn
    start: Fraction
    frames: int
    rate: float
    ticks: int
    gaps: int


def open_video(path: Path) -> Video:
    """All but the pictures. ClipError if there is no video that can be read, or one of fewer pictures than steps.

    The packets are read through (no picture is decoded but the first): their timestamps say how long each is shown.
    """
    try:
        with _open(path) as container:
            number, stream = _stream(container, path)
            coded = stream.codec_context
            if coded.width * coded.height > MOST_PIXELS:
                size = f"{coded.width}x{coded.height} px, more than {MOST_PIXELS // 10**6} million"
                raise ClipError(f"{path}: its pictures are {size}: scale the video down (the model sees far less)")
            first = next(container.decode(stream), None)
            if first is None:
                raise ClipError(f"{path}: the video has no pictures")
            turn = _turn(first, path)
            pixel = Fraction(stream.sample_aspect_ratio or 1)
        with _open(path) as container:
            times, length = _times(container, container.streams.video[number], path)
    except (FFmpegError, OSError) as error:
        raise ClipError(f"{path}: not a readable video ({error.strerror or error})") from None
    between = [later - earlier for earlier, later in pairwise(times)]
    usual = median(between) if between else length
    if between and usual * SLOWEST > NEARLY:
        rate = f"{float(1 / usual):.1f} pictures a second"
        raise ClipError(f"{path}: {rate} are too few: a step needs one of its own, {SLOWEST:g} a second")
    if between and usual <= 0:
        raise ClipError(f"{path}: its pictures have no times of their own, so that no action can be told to be theirs")
    end = times[-1] + (length if length > 0 else usual) - times[0]
    wide, high = (first.height, first.width) if turn.transposed else (first.width, first.height)
    return Video(
        path=path,
        stream=number,
        width=wide,
        height=high,
        pixel=1 / pixel if turn.transposed else pixel,
        turn=turn,
        start=times[0],
        frames=len(times),
        rate=float(1 / usual) if usual > 0 else 0.0,
        ticks=max(1, math.ceil(end * TICKS_PER_SECOND - EARLY)),
        gaps=sum(gap * TICKS_PER_SECOND > TICKS_PER_STEP + EARLY for gap in between),
    )


def _open(path: Path) -> InputContainer:
    return av.open(str(path), metadata_errors="replace")  # a title in another encoding is no reason to refuse it


def _stream(container: InputContainer, path: Path) -> tuple[int, VideoStream]:
    """The first video that is no cover picture, and its number among the videos."""
    for number, stream in enumerate(container.streams.video):
        if stream.disposition & Disposition.attached_pic:
            continue
        if stream.codec_context is None:
            raise ClipError(f"{path}: its video is of a codec that is not known here")
        return number, stream
    raise ClipError(f"{path}: has no video stream")


def _times(container: InputContainer, stream: av.VideoStream, path: Path) -> tuple[list[Fraction], Fraction]:
    """Seconds at which each picture begins, sorted, and how long the last is shown (0: not said)."""
    found: list[tuple[int, int]] = []
    for packet in container.demux(stream):
        if packet.size and not packet.is_discard:  # an edit list hides pictures from a player
            if packet.pts is None:
                raise ClipError(f"{path}: picture {len(found)} has no timestamp")
            found.append((packet.pts, packet.duration or 0))
    if not found:
        raise ClipError(f"{path}: the video has no pictures")
    found.sort()
    base = Fraction(stream.time_base or 1)
    return [pts * base for pts, _ in found], found[-1][1] * base


def _turn(frame: VideoFrame, path: Path) -> Turn:
    """The display matrix of a picture: x' = a x + c y, y' = b x + d y."""
    data: SideData | None = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return UPRIGHT
    a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32).tolist()
    turned, straight = min(abs(b), abs(c)), min(abs(a), abs(d))
    if straight > 20 * max(abs(b), abs(c)):
        return Turn(False, a < 0, d < 0)
    if turned > 20 * max(abs(a), abs(d)):
        return Turn(True, c < 0, b < 0)
    raise ClipError(
        f"{path}: the video is to be shown turned by {frame.rotation} degrees: only 90, 180 and 270 are known"
    )


@dataclass(frozen=True, slots=True)
class Fit:
    """How a picture comes into the model's shape: scaled to (height, width) pixels, of which the centre is kept."""

    height: int
    width: int
    cropped: bool


def fit_to(video: Video, height: int, width: int) -> Fit:
    """How the video's pictures become (height, width): scaled, or, of another shape, cut around the centre as well.
    ClipError if they are smaller than that."""
    shape = float(video.width * video.pixel / video.height)
    wider = shape / (width / height)
    if 1 / NEARLY <= wider <= NEARLY:
        fit = Fit(height, width, False)
    elif wider > 1:
        fit = Fit(height, max(width, round(height * shape)), True)
    else:
        fit = Fit(max(height, round(width / shape)), width, True)
    if video.width < width or video.height < height:
        raise ClipError(f"{video.path}: {video.width}x{video.height} px is smaller than the {width}x{height} asked for")
    return fit


def fitted(frame: VideoFrame, video: Video, fit: Fit, height: int, width: int) -> Frame:
    """A picture, upright, by area averaging -> uint8 (height, width, 3)."""
    scaled = (fit.width, fit.height) if video.turn.transposed else (fit.height, fit.width)
    small = frame.reformat(scaled[1], scaled[0], "rgb24", interpolation=Interpolation.AREA)
    upright = video.turn.apply(np.asarray(small.to_ndarray(), np.uint8))
    top, left = (fit.height - height) // 2, (fit.width - width) // 2
    return np.ascontiguousarray(upright[top : top + height, left : left + width], np.uint8)


def decoded(video: Video) -> Iterator[tuple[float, VideoFrame]]:
    """Every picture, as it is stored, and the tick at which it begins. ClipError if the video breaks off."""
    number = 0
    with _open(video.path) as container:
        frames = container.decode(container.streams.video[video.stream])
        while True:
            try:
                frame = next(frames, None)
            except FFmpegError as error:
                raise ClipError(f"{video.path}: the video breaks off after {number} frames ({error})") from None
            if frame is None:
                return
            if frame.pts is None or frame.time_base is None:
                raise ClipError(f"{video.path}: picture {number} has no timestamp")
            number += 1
            yield float((frame.pts * frame.time_base - video.start) * TICKS_PER_SECOND), frame


def pictures(video: Video, ticks: Iterable[int]) -> Iterator[VideoFrame | None]:
    """The picture that is shown at each of the ticks, which rise; None where the last one is older than a step, or
    where the video is over. ClipError if the video breaks off."""
    frames = decoded(video)
    shown: tuple[float, VideoFrame] | None = None
    coming = next(frames, None)
    for tick in ticks:
        while coming is not None and coming[0] <= tick + EARLY:
            shown, coming = coming, next(frames, None)
        fresh = shown is not None and tick - shown[0] <= TICKS_PER_STEP + EARLY and tick < video.ticks
        yield shown[1] if shown is not None and fresh else None
