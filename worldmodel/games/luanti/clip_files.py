"""A clip of the real game on its way to the disk: its video, and its lines."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.stream import VideoStream

from worldmodel.data.ticks import Inputs, input_entries
from worldmodel.data.video import TICKS_PER_SECOND
from worldmodel.games.luanti.controls import IDLE, KEY_PREFIX, Controls, GameState, next_slot
from worldmodel.games.luanti.game import TICK_SECONDS
from worldmodel.types import DEGREES_PER_PIXEL, Frame


class ClipWriter:
    """Writes a clip's video and lines under `.tmp` names; `finish` renames them, the jsonl last. A context manager:
    left without `finish`, it removes what it wrote."""

    def __init__(self, folder: Path, clip_id: str, width: int, height: int, crf: int) -> None:
        self._video_path, self._lines_path = folder / f"{clip_id}.mp4", folder / f"{clip_id}.jsonl"
        self._video_tmp, self._lines_tmp = folder / f"{clip_id}.mp4.tmp", folder / f"{clip_id}.jsonl.tmp"
        self._container = av.open(str(self._video_tmp), "w", format="mp4")
        stream = self._container.add_stream("libx264", rate=TICKS_PER_SECOND)
        assert isinstance(stream, VideoStream), "libx264 is a video codec"
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryfast"}
        stream.codec_context.thread_count = 1  # the other cores belong to the other games
        self._stream = stream
        self._lines = self._lines_tmp.open("w", encoding="utf-8")
        self._count = 0

    def write(self, frame: Frame, line: dict[str, Any]) -> None:
        """frame: uint8 (height, width, 3) as seen when the action of `line` was taken."""
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        picture.pts, picture.time_base = self._count, Fraction(1, TICKS_PER_SECOND)
        self._count += 1
        self._container.mux(self._stream.encode(picture))
        self._lines.write(json.dumps(line) + "\n")

    def finish(self) -> None:
        self._container.mux(self._stream.encode())
        self._close()
        self._video_tmp.replace(self._video_path)
        self._lines_tmp.replace(self._lines_path)

    def _close(self) -> None:
        self._container.close()
        self._lines.close()

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self._video_tmp.unlink(missing_ok=True)
        self._lines_tmp.unlink(missing_ok=True)


class LineMaker:
    """Makes the lines of one clip. Keeps what a line needs to know of the ones before: held keys, slot, view angles."""

    def __init__(self, width: int, height: int, slot: int, began: float) -> None:
        self._middle = (width / 2, height / 2)
        self._before = IDLE
        self._slot = slot
        self._yaw = self._pitch = 0.0
        self._began = began

    def line(self, tick: int, controls: Controls, state: GameState) -> dict[str, Any]:
        """The line of frame `tick` and the controls applied to it. yaw and pitch are those of the frame, in degrees."""
        line = {
            **input_entries(
                _inputs(controls), _inputs(self._before), controls.dx, controls.dy, controls.wheel, self._middle
            ),
            "isGuiOpen": False,
            "isGuiInventory": False,
            "hotbar": self._slot,
            "yaw": round(self._yaw, 3),
            "pitch": round(self._pitch, 3),
            "xpos": round(state.x, 3),
            "ypos": round(state.y, 3),
            "zpos": round(state.z, 3),
            "tick": round(state.clock / TICK_SECONDS),
            "milli": round(1000 * (self._began + tick * TICK_SECONDS)),
            "pointed": _pointed(state),
            "light": state.light,
            "wet": state.wet,
            "events": [f"{event.kind} {event.node}" for event in state.events],
        }
        self._slot = next_slot(self._slot, self._before, controls)
        self._yaw += controls.dx * DEGREES_PER_PIXEL
        self._pitch += controls.dy * DEGREES_PER_PIXEL
        self._before = controls
        return line


def _pointed(state: GameState) -> list[str | int] | None:
    """[node, x, y, z]."""
    if state.pointed is None:
        return None
    at = state.pointed.at
    return [state.pointed.node, round(at.x), round(at.y), round(at.z)]


def _inputs(controls: Controls) -> Inputs:
    return Inputs(frozenset(KEY_PREFIX + key for key in controls.keys), controls.mouse)
