"""Videos of any rate, shape and direction: the picture that a player shows at each step, or one sentence."""

import json
import struct
from contextlib import suppress
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition
from conftest import vpt_line, write_clip

from worldmodel.data.clips import ClipError, plan_clip, read_clip
from worldmodel.data.ticks import read_actions
from worldmodel.data.video import open_video

H, W = 48, 80
LEVEL = 8  # grey levels from tick to tick of a picture that shows its time


def write_video(path, ticks, lines, height=96, width=160, picture=None):
    """A clip whose pictures are shown from the given ticks (of 1/20 s) on; each is as grey as its tick says, unless
    `picture` (height, width, 3) is given. Line t turns the camera by t pixels."""
    base = Fraction(1, 6000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = base
        stream.options = {"crf": "10", "preset": "ultrafast", "x264-params": "bframes=2"}
        for tick in ticks:
            grey = np.full((height, width, 3), round(LEVEL * tick) % 250, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey if picture is None else picture, format="rgb24")
            frame.pts, frame.time_base = round(Fraction(tick) / 20 / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    path.with_suffix(".jsonl").write_text("".join(f"{line}\n" for line in map(vpt_text, range(lines))))
    return path


def vpt_text(tick):
    return json.dumps(vpt_line(dx=float(tick % 16)))


def shown(path):
    """(tick that the picture shows, first tick of the action, segment) of each step."""
    steps = list(read_clip(path, H, W))
    # A step's two ticks turn by t and t + 1 pixels of 0.15 degrees.
    return [(step.frame.mean() / LEVEL, (step.action.yaw / 0.15 - 1) / 2 % 16, step.segment) for step in steps]


@pytest.mark.parametrize("rate", [10, 12, 15, 20, 24, 25, 30, 50, 60])
def test_any_rate_is_paired_by_time(tmp_path, rate):
    ticks = [Fraction(20 * number, rate) for number in range(3 * rate // 2)]
    found = shown(write_video(tmp_path / "a.mp4", ticks, 30))
    assert len(found) == 15
    for number, (picture, action, segment) in enumerate(found):
        assert round(action) == 2 * number % 16
        assert segment == 0
        # The last picture that had begun, up to a quarter of a tick early.
        assert picture == pytest.approx(max(tick for tick in ticks if tick <= 2 * number + 0.25), abs=0.3)
    notes = plan_clip(tmp_path / "a.mp4", H, W).notes
    assert notes == (() if rate == 20 else (f"{rate} pictures a second, taken by their times at 20",))


def test_trembling_timestamps_are_20_hz(tmp_path):
    rng = np.random.default_rng(0)
    path = write_video(tmp_path / "a.mp4", [0, *(tick + rng.uniform(-0.2, 0.2) for tick in range(1, 24))], 24)
    assert [round(picture) for picture, _, _ in shown(path)] == list(range(0, 24, 2))


def test_a_pause_in_the_pictures_is_a_cut(tmp_path):
    path = write_video(tmp_path / "a.mp4", [*range(10), *range(17, 30)], 30)
    found = shown(path)
    # Of the pause's steps only the first still has a picture that is no older than a step.
    assert [(round(picture), round(action) % 16, segment) for picture, action, segment in found] == [
        *((tick, tick, 0) for tick in (0, 2, 4, 6, 8)), (9, 10, 0), *((tick, tick % 16, 1) for tick in range(18, 30, 2))
    ]  # fmt: skip
    assert plan_clip(path, H, W).notes == ("pauses in the pictures, whose steps are left out",)


def test_too_few_pictures_are_refused_with_the_rate(tmp_path):
    path = write_video(tmp_path / "a.mp4", range(0, 40, 4), 40)
    with pytest.raises(ClipError, match=r"a.mp4: 5\.0 pictures a second are too few: .* 10 a second"):
        plan_clip(path, H, W)


@pytest.mark.parametrize("rate", [10, 20, 60])
def test_video_and_lines_that_differ_too_much_are_refused_before_decoding(tmp_path, rate):
    path = write_video(tmp_path / "a.mp4", [Fraction(20 * number, rate) for number in range(rate)], 61)
    with pytest.raises(ClipError, match=rf"{rate} frames but 61 lines in a.jsonl \(1 and 3\.05 s\)"):
        plan_clip(path, H, W)


def corners():
    """A picture with another colour in each quarter: red, green / blue, white."""
    picture = np.zeros((96, 160, 3), np.uint8)
    picture[:48, :80, 0] = picture[:48, 80:, 1] = picture[48:, :80, 2] = 220
    picture[48:, 80:] = 220
    return picture


def names(frame):
    """Colours of the four corners of a frame, row by row."""
    height, width = frame.shape[:2]
    places = [(y, x) for y in (height // 8, -height // 8) for x in (width // 8, -width // 8)]
    known = {(1, 0, 0): "r", (0, 1, 0): "g", (0, 0, 1): "b", (1, 1, 1): "w"}
    return "".join(known[tuple((frame[place] > 110).astype(int))] for place in places)


@pytest.mark.parametrize(
    ("matrix", "seen"),
    [
        ((1, 0, 0, 1), "rgbw"),
        ((0, 1, -1, 0), "brwg"),  # clockwise
        ((-1, 0, 0, -1), "wbgr"),
        ((0, -1, 1, 0), "gwrb"),
        ((-1, 0, 0, 1), "grwb"),  # mirrored
    ],
)
def test_the_rotation_flag_is_applied(tmp_path, matrix, seen):
    path = write_video(tmp_path / "a.mp4", range(8), 8, picture=corners())
    data = path.read_bytes()
    a, b, c, d = (value << 16 for value in matrix)
    plain, turned = (
        struct.pack(">9i", *values)
        for values in ((1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30), (a, b, 0, c, d, 0, 0, 0, 1 << 30))
    )
    at = data.index(plain, data.index(b"tkhd"))  # the track's, not the film's
    path.write_bytes(data[:at] + turned + data[at + len(plain) :])
    height, width = (W, H) if a == 0 else (H, W)
    frames = [step.frame for step in read_clip(path, height, width)]
    assert frames[0].shape == (height, width, 3)
    assert names(frames[0]) == seen
    assert plan_clip(path, height, width).notes == ()


def test_another_shape_is_cut_around_the_centre(tmp_path):
    """A circle stays one: a square picture loses its top and bottom, a wide one its sides."""
    for height, width, lost in ((160, 160, "rows"), (64, 320, "columns")):
        picture = np.zeros((height, width, 3), np.uint8)
        y, x = np.mgrid[:height, :width] + 0.5
        picture[(y - height / 2) ** 2 + (x - width / 2) ** 2 < 24**2] = 255
        path = write_video(tmp_path / f"{lost}.mp4", range(4), 4, height, width, picture)
        bright = next(iter(read_clip(path, H, W))).frame.mean(2) > 128
        tall, wide = bright.any(1).sum(), bright.any(0).sum()
        assert abs(int(tall) - int(wide)) <= 2
        assert bright[H // 2, W // 2]
        assert plan_clip(path, H, W).notes == (f"{width}x{height} px, cut around the centre to the shape of 80x48",)
    with pytest.raises(ClipError, match="64 px is smaller than the 192x112"):
        plan_clip(path, 112, 192)


def test_vpts_own_shape_is_scaled_as_it_always_was(tmp_path):
    """16:9 in 12:7 is nearly the same shape: nothing is cut off, not even the hotbar's ends."""
    picture = np.zeros((360, 640, 3), np.uint8)
    picture[:, :8] = picture[:, -8:] = 255
    path = write_video(tmp_path / "a.mp4", range(4), 4, 360, 640, picture)
    frame = next(iter(read_clip(path, 112, 192))).frame
    assert frame[:, 0].mean() > 200
    assert frame[:, -1].mean() > 200
    assert plan_clip(path, 112, 192).notes == ()


def test_a_cover_picture_is_no_video(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream(codec, rate=20) for codec in ("mjpeg", "libx264")]
        for stream, kind in zip(streams, ("yuvj420p", "yuv420p"), strict=True):
            stream.width, stream.height, stream.pix_fmt = 160, 96, kind
        streams[0].disposition = Disposition.attached_pic
        for number in range(8):
            for stream in streams[number > 0 :]:
                grey = np.full((96, 160, 3), 40 if stream is streams[1] else 250, np.uint8)
                frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 20)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    path.with_suffix(".jsonl").write_text("".join(f"{vpt_text(tick)}\n" for tick in range(8)))
    frames = [step.frame for step in read_clip(path, H, W)]
    assert len(frames) == 4
    assert abs(frames[0].mean() - 40) < 4


def test_a_flick_is_cut_to_half_a_turn_in_a_clip_and_refused_in_actions(tmp_path):
    lines = [vpt_line(), vpt_line(), vpt_line(dx=900.0), vpt_line(dx=900.0, dy=-1200.0)]
    path = write_clip(tmp_path / "a", lines)
    assert [(step.action.pitch, step.action.yaw) for step in read_clip(path, H, W)] == [(0, 0), (-180, 180)]
    assert plan_clip(path, H, W).notes == ("camera moves over 180 degrees a step, cut to that",)
    with pytest.raises(ClipError, match=r"a.jsonl:3: the camera moves by -180\.0, 270\.0 degrees in a step"):
        read_actions(path.with_suffix(".jsonl"))


def test_cut_files_at_every_length(tmp_path):
    """Whatever of a file is there: it is read, or it is one sentence."""
    path = write_video(tmp_path / "a.mp4", range(24), 24)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 200, 100):  # the last bytes are a comment
        path.write_bytes(whole[:length])
        with pytest.raises(ClipError, match=r"a\.mp4: "):
            list(read_clip(path, H, W))


def test_altered_bytes_are_read_or_refused(tmp_path):
    path = write_video(tmp_path / "a.mp4", range(24), 24)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(20):
        data = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            data[place] = rng.integers(256)
        path.write_bytes(bytes(data))
        with suppress(ClipError):
            assert all(step.frame.shape == (H, W, 3) for step in read_clip(path, H, W))


def test_huge_pictures_are_refused_before_one_is_decoded(tmp_path):
    grey = np.full((4000 * 3 // 2, 6000), 128, np.uint8)  # a new frame holds whatever lay in memory
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.pix_fmt = 6000, 4000, "yuv420p"
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "yuv420p")))
        container.mux(stream.encode())
    assert path.stat().st_size < 1 << 20
    with pytest.raises(ClipError, match="its pictures are 6000x4000 px, more than 9 million: scale the video down"):
        open_video(path)


def test_what_is_known_of_a_video(tmp_path):
    video = open_video(write_video(tmp_path / "a.mp4", range(5, 25), 20))
    assert (video.frames, video.ticks, video.rate, video.gaps) == (20, 20, 20.0, 0)
    assert (video.width, video.height) == (160, 96)
