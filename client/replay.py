"""The command `worldmodel replay`: rewatch a recording, simulate it again, compare it with another world, export it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from client.checks import replay_without_window
from client.options import Replay
from client.play.panel import Lines
from client.sessions.playback import SHOWN_NAME, Playback, ReplayWorld, date_of, name_of, open_session
from recordings.reader import Session
from recordings.values import printable
from worldmodel.types import Frame, Step, WorldModelError

if TYPE_CHECKING:
    from client.sessions.compare import Comparison

DIVERGED = 1  # exit code of --verify
COMPARED_SCALE = 2  # two panels of nano are small


def run_replay(options: Replay, started: float | None = None) -> int:
    """Shows the recording in a window. started: when the process began, in seconds of `time.monotonic`."""
    session, folder = open_session(options.file, options.world)
    return _show(options, session, lambda: ReplayWorld(session, folder, options.engine.threads), (), started)


def _show(options: Replay, session: Session, make: Callable[[], Playback], more: Lines, started: float | None) -> int:
    from client.sessions.timeline import timeline_of
    from client.window.options import WindowOptions
    from client.window.replay_window import ReplayClient
    from client.window.run import run_window

    header = session.header
    lines = (
        (("", options.file.name), ("world", name_of(header)), ("seed", str(session.seed_of(0)))),
        (("recorded", date_of(header)), ("engine", printable(header.engine, SHOWN_NAME))),
        *more,
    )
    actions, timeline = tuple(record.action for record in session.steps), timeline_of(session)
    return run_window(
        lambda stage: make(),
        WindowOptions(started=started),
        lambda factory, window: ReplayClient(factory, window, actions, timeline, lines, options.file),
        replay_without_window(options),
    )


def run_verify(options: Replay) -> int:
    """Re-simulates and compares. 0: all frames identical; 1: not, and the first difference is named, or only a part of
    the recording can be used."""
    from client.sessions.simulation import verify
    from worldmodel.engine.choice import engine_flags
    from worldmodel.worlds.neural import NeuralWorld

    session, folder = open_session(options.file, options.world)
    world = NeuralWorld(folder, options.engine).load()
    with tqdm(total=len(session.steps), unit="frame", desc="verifying", file=sys.stderr, disable=None) as bar:
        result = verify(session, world, bar.update)
    print(f"{result.equal} of {result.steps} frames identical")
    if result.first is None:
        return 0 if session.problem is None else DIVERGED  # the rest could not be verified
    step, place = result.first
    print(f"first difference: step {step}, token {place}; {result.tokens_equal:.2%} of all tokens are equal")
    if world.engine != session.header.engine:
        recorded = session.header.engine
        print(f"recorded on {recorded}, verified on {world.engine}: {engine_flags(recorded)}")
    return DIVERGED


def run_export(options: Replay) -> int:
    """Writes the recording as .mp4 (H.264), .gif or a VPT clip."""
    import torch

    from client.sessions.export import GIF_SCALE, check_export, whole_or_nothing, write_video, write_vpt
    from client.sessions.overlay import enlarged, with_keys
    from worldmodel.data.played import decode_steps

    path = options.export
    assert path is not None, "asked for"
    check_export(path, options.keys, options.scale)
    session, folder = open_session(options.file, options.world)
    if not path.suffix:
        if options.engine.threads:
            torch.set_num_threads(options.engine.threads)
        steps = decode_steps(session.stretches(), folder, session.header.tokenizer)
        bar = tqdm(steps, total=len(session.steps), unit="step", desc="exporting", file=sys.stderr, disable=None)
        with whole_or_nothing(path, len(session.steps)):
            written = write_vpt(path, options.file.stem, bar)
        print(written)
        return 0
    world = ReplayWorld(session, folder, options.engine.threads)
    scale = options.scale or (GIF_SCALE if path.suffix == ".gif" else 1)

    def picture(step: Step) -> Frame:
        large = enlarged(step.frame, scale)
        return with_keys(large, led(step)) if options.keys else large

    with whole_or_nothing(path, len(session.steps)):
        write_video(path, (picture(step) for step in _all(world)), world.tick_rate)
    print(path)
    return 0


def led(step: Step) -> frozenset[str]:
    """The buttons that led to a recorded picture."""
    assert step.action is not None, "a recording knows what led to its pictures"
    return step.action.buttons


def _all(world: Playback) -> Iterator[Step]:
    """Every picture, the opening first, with a bar on stderr."""
    with tqdm(total=len(world.actions) + 1, unit="frame", desc=world.name, file=sys.stderr, disable=None) as bar:
        for position in range(len(world.actions) + 1):
            yield world.seek(position)
            bar.update()


def run_against(options: Replay, started: float | None = None) -> int:
    """The recording and a second world side by side: in a window, or as an .mp4 and a .csv."""
    from client.sessions.compare import compare
    from client.sessions.export import check_export

    assert options.against is not None, "asked for"
    path = options.export
    if path is not None:
        if path.suffix != ".mp4":
            raise WorldModelError(f"--against exports an .mp4 and a .csv beside it, got {path}")
        check_export(path, options.keys, options.scale)
    found = compare(options.file, options.against, options.world, options.engine, options.engine.threads)
    if path is None and not options.headless:
        more = ((("left", "the recording"), ("right", found.title)), (("", found.note),))
        return _show(options, found.session, lambda: found.world(options.engine.threads), more, started)
    if path is None:
        path = options.file.with_name(f"{options.file.stem}-{found.title}.mp4")
        check_export(path, options.keys, options.scale)
    return _export_comparison(options, found, path)


def _export_comparison(options: Replay, found: Comparison, path: Path) -> int:
    from client.sessions.compare import summary, write_table
    from client.sessions.export import whole_or_nothing, write_mp4
    from client.sessions.overlay import enlarged, with_keys, with_titles

    scale = options.scale or COMPARED_SCALE
    world = found.world(options.engine.threads)

    def picture(step: Step) -> Frame:
        large = enlarged(step.frame, scale)
        if options.keys:
            large = with_keys(large, led(step))
        notes = "   ".join(f"{name} {value}" for name, value in step.status.notes)
        return with_titles(large, (options.file.name, f"{found.title}   {notes}"))

    try:
        with whole_or_nothing(path, len(world.actions)):
            write_mp4(path, (picture(step) for step in _all(world)), world.tick_rate)
        table = path.with_suffix(".csv")
        with whole_or_nothing(table, len(world.actions)):
            write_table(table, world.agreements, world.actions)
        print(f"{options.file} beside {found.title} ({found.note}): {summary(world.agreements)}")
    finally:
        world.close()
    print(path, path.with_suffix(".csv"), sep="\n")
    return 0
