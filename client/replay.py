"""The command `worldmodel replay`: rewatch a recording, re-simulate and compare it, or export it as a video."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tqdm import tqdm

from client.playback import ReplayWorld, open_session
from worldmodel.types import Action, Frame, WorldModelError

if TYPE_CHECKING:
    from worldmodel.worlds.neural import NeuralWorld

DIVERGED = 1  # exit code of --verify


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """file: the recording; world: the checkpoint, if it is not where it was; export: .mp4 or .gif."""

    file: Path
    world: str | None = None
    verify: bool = False
    export: Path | None = None
    engine: Literal["auto", "openvino", "eager"] = "auto"
    threads: int = 0


def run_replay(options: ReplayOptions, started: float) -> int:
    """Shows the recording in a window. started: when the process began, in seconds of `time.monotonic`."""
    from client.loop import WindowOptions
    from client.replay_window import ReplayClient
    from client.timeline import timeline_of
    from client.window import run_window

    session, folder = open_session(options.file, options.world)
    actions = tuple(record.action for record in session.steps)
    header = session.header
    lines = (
        (("", options.file.name), ("world", header.world), ("seed", str(session.seed_of(0)))),
        (("recorded", datetime.fromtimestamp(header.created).strftime("%Y-%m-%d %H:%M")), ("engine", header.engine)),
    )
    timeline = timeline_of(session)
    return run_window(
        lambda stage: ReplayWorld(session, folder, options.threads),
        WindowOptions(started=started),
        lambda factory, window: ReplayClient(factory, window, actions, timeline, lines, options.file),
    )


def run_verify(options: ReplayOptions) -> int:
    """Re-simulates and compares. 0: all frames identical; 1: not, and the first difference is named."""
    from client.recording import verify
    from worldmodel.worlds.neural import NeuralOptions, NeuralWorld

    session, folder = open_session(options.file, options.world)
    world: NeuralWorld = NeuralWorld(folder, NeuralOptions(options.engine, threads=options.threads))
    with tqdm(total=len(session.steps), unit="frame", desc="verifying", file=sys.stderr, disable=None) as bar:
        result = verify(session, world, bar.update)
    print(f"{result.equal} of {result.steps} frames identical")
    if result.first is None:
        return 0
    step, place = result.first
    print(f"first difference: step {step}, token {place}; {result.tokens_equal:.2%} of all tokens are equal")
    if world.engine != session.header.engine:
        print(f"recorded on {session.header.engine}, verified on {world.engine}: --engine {session.header.engine}")
    return DIVERGED


def run_export(options: ReplayOptions) -> int:
    """Writes the recording as .mp4 (H.264) or .gif."""
    from worldmodel.data.animation import write_gif

    assert options.export is not None, "asked for"
    if options.export.suffix not in (".mp4", ".gif", ""):
        raise WorldModelError(f"--export writes .mp4, .gif or a folder for a VPT clip, got {options.export}")
    session, folder = open_session(options.file, options.world)
    world = ReplayWorld(session, folder, options.threads)

    def frames() -> Iterator[Frame]:
        yield world.reset().frame
        for record in tqdm(session.steps, unit="frame", desc="exporting", file=sys.stderr, disable=None):
            yield world.step(record.action).frame

    if not options.export.suffix:
        print(_write_vpt(options.export, options.file.stem, frames(), [record.action for record in session.steps]))
        return 0
    if options.export.suffix == ".mp4":
        _write_mp4(options.export, frames(), world.tick_rate)
    else:
        write_gif(options.export, list(frames()), world.tick_rate)
    print(options.export)
    return 0


def _write_vpt(folder: Path, name: str, frames: Iterator[Frame], actions: list[Action]) -> Path:
    """`<name>.mp4` + `<name>.jsonl`, 20 Hz: training data. Line t is the action taken on frame t, so the last frame
    stays out. The jsonl comes last: a clip without it is not whole."""
    from itertools import islice

    from worldmodel.data.clips import TICKS_PER_SECOND, TICKS_PER_STEP, action_lines

    folder.mkdir(parents=True, exist_ok=True)
    video = folder / f"{name}.mp4"
    doubled = (frame for frame in islice(frames, len(actions)) for _ in range(TICKS_PER_STEP))
    _write_mp4(video, doubled, TICKS_PER_SECOND)
    lines = video.with_suffix(".jsonl")
    temporary = lines.with_name(f".{lines.name}.tmp")
    temporary.write_text("".join(line + "\n" for line in action_lines(actions)), encoding="utf-8")
    temporary.replace(lines)
    return video


def _write_mp4(path: Path, frames: Iterator[Frame], rate: float) -> None:
    import av

    temporary = path.with_name(f".{path.name}.tmp")
    with av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=round(rate))
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18"}
        for index, frame in enumerate(frames):
            if not index:
                stream.height, stream.width = frame.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    temporary.replace(path)
