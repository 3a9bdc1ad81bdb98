"""The command `worldmodel replay`: rewatch a recording, re-simulate and compare it, or export it as a video."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tqdm import tqdm

from recordings.reader import Session, read_session
from worldmodel.types import Action, Frame, Step, Tokens, WorldModelError

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


class ReplayWorld:
    """A recording behind the World protocol: each step shows the next recorded frame, whatever the action.

    Needs the image tokenizer alone. `reset` goes back to the beginning.
    """

    starts = 1

    def __init__(self, session: Session, folder: Path, threads: int = 0) -> None:
        from worldmodel.model.loading import load_tokenizer
        from worldmodel.worlds.neural import pixel_decoder

        tokenizer = load_tokenizer(folder)
        config = tokenizer.config
        self.name = f"replay of {session.header.world}"
        self.frame_shape = (config.height, config.width)
        self.tick_rate = session.header.tick_rate
        self._session = session
        self._pixels = pixel_decoder(tokenizer, threads)
        self._next = 0
        for tokens in (record.tokens for record in session.steps):
            if tokens is None or len(tokens) != config.tokens_per_frame or tokens.max() >= config.codebook_size:
                raise WorldModelError(f"the recording's tokens do not fit {folder}: give its checkpoint with --world")

    def reset(self, start: int = 0, seed: int = 0) -> Step:
        self._next = 0
        openings = [self._session.header.opening, *(m.opening for m in self._session.markers if m.kind == "reset")]
        known = next((opening for opening in openings if opening is not None), None)
        return self._show(known.tokens[-1] if known is not None else self._tokens(0))

    def step(self, action: Action) -> Step:
        tokens = self._tokens(min(self._next, len(self._session.steps) - 1))
        self._next += 1
        return self._show(tokens)

    def close(self) -> None:
        pass

    def _tokens(self, index: int) -> Tokens:
        tokens = self._session.steps[index].tokens
        assert tokens is not None, "checked when the replay was opened"
        return tokens

    def _show(self, tokens: Tokens) -> Step:
        return Step(self._pixels(tokens), tokens)


def open_session(options: ReplayOptions) -> tuple[Session, Path]:
    """The recording and its checkpoint's folder. RecordingError or WorldModelError; says so if bytes were lost."""
    from worldmodel.worlds.neural import find_checkpoint

    session = read_session(options.file)
    if not session.steps:
        raise WorldModelError(f"{options.file} holds no step")
    if not session.ended:
        whole = f"{len(session.steps)} steps are whole, {session.lost} bytes are lost"
        print(f"{options.file}: the recording was cut off; {whole}", file=sys.stderr)
    if options.world is not None:
        return session, find_checkpoint(options.world)
    for name in (session.header.checkpoint, session.header.world):
        if Path(name).is_dir():
            return session, Path(name)
    return session, find_checkpoint(session.header.world)


def run_verify(options: ReplayOptions) -> int:
    """Re-simulates and compares. 0: all frames identical; 1: not, and the first difference is named."""
    from client.recording import verify
    from worldmodel.worlds.neural import NeuralOptions, NeuralWorld

    session, folder = open_session(options)
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
    session, folder = open_session(options)
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
