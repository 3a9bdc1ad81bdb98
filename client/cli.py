"""The command `worldmodel`. Wires worlds, controls, window and reports together; `worldmodel play --help` says how.

Only light modules are imported here: torch, pygame and the engines come in when they are needed.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from client import making
from client.checks import check, check_replay, replay_without_window, without_window
from client.display import check_display
from client.options import Bench, Doctor, Import, Play, Replay, Serve, Sessions, Web, parse_start, resume_of
from client.play.bindings import DEFAULT_BINDINGS, read_bindings, table_of
from client.play.controls import InputLog
from client.play.runner import Source, WorldFactory
from client.play.stats import process_start
from recordings.recorder import Stopped
from worldmodel.failure import USER_ERROR, run_to_end
from worldmodel.games import LISTED, PLAYED_FRAME, game_of, make_game
from worldmodel.types import Action, World, WorldModelError

_IMPORTED_AT = time.monotonic()  # what the start-up time counts from where the system does not tell
HEADLESS_FRAMES = 300
DESCRIPTION = "Play, record and measure a game that runs inside a neural network."


def world_factory(
    options: Play,
    inputs: InputLog | None = None,
    on_stop: Callable[[Stopped], object] = lambda stopped: None,
) -> WorldFactory:
    """Makes the world that the options name. Slow imports happen when it is called, in the caller's thread.

    inputs: where a window notes the raw inputs of each step, for the recording; on_stop: called for a recording that
    ends before its time.
    """

    game = game_of(options.world)

    def real(stage) -> World:  # noqa: ANN001
        stage(f"starting {options.world}")
        world = make_game(options.world, PLAYED_FRAME)
        if options.clips is None:
            return world
        from worldmodel.games.clip_recorder import ClipRecorder

        return ClipRecorder(world, options.clips)

    def neural(stage) -> World:  # noqa: ANN001
        stage("loading PyTorch")
        from client.play.recording import RecordedWorld
        from worldmodel.model.loading import load_sampler
        from worldmodel.worlds.neural import NeuralWorld, find_checkpoint

        folder = find_checkpoint(options.world, LISTED)
        stage(f"loading {folder.name}")
        neural_world = NeuralWorld(folder, options.engine, options.sampling.over(load_sampler(folder))).load()
        for notice in neural_world.notices:
            print(notice, file=sys.stderr)
        world = RecordedWorld(neural_world, inputs.taken if inputs else tuple, on_stop)
        if options.record is not None:
            world.record(options.record)
        return world

    return neural if game is None else real


def actions_of(options: Play) -> tuple[Source | None, int | None]:
    """Who plays, and for how many steps at most: (None, ...) is the user; (..., None) is for ever.

    WorldModelError if a file of actions cannot be read or is shorter than --frames.
    """
    from client.play.actions import idle_actions, source_of
    from worldmodel.data.random_play import random_actions

    name = options.actions or ("random" if options.headless else None)
    endless = options.frames or (HEADLESS_FRAMES if options.headless else None)
    if name is None:
        return None, endless
    if name == "random":
        return source_of(random_actions(options.seed)), endless
    if name == "idle":
        return source_of(idle_actions()), endless
    from worldmodel.data.ticks import read_actions

    actions: list[Action] = read_actions(Path(name))
    if not actions:
        raise WorldModelError(f"{name} holds no actions")
    if options.frames is not None and options.frames > len(actions):
        raise WorldModelError(f"--frames {options.frames} is more than the {len(actions)} actions in {name}")
    return source_of(actions), options.frames or len(actions)


def play(options: Play, factory: WorldFactory | None = None) -> int:
    """Runs the command and returns its exit code. factory: another world than the options name (for tests)."""
    from tqdm import tqdm

    started = process_start(_IMPORTED_AT)
    check(options)
    if not options.headless:
        check_display(without_window(options))
    table = read_bindings(options.bindings) if options.bindings else table_of(DEFAULT_BINDINGS)
    source, frames = actions_of(options)
    inputs = InputLog()
    stopped: list[Stopped] = []

    def on_stop(recording: Stopped) -> None:
        stopped.append(recording)
        if options.headless:  # at once, and between the bar's lines
            tqdm.write(f"error: {recording.sentence(frames)}", file=sys.stderr)

    factory = factory or world_factory(options, None if options.headless else inputs, on_stop)
    start = resume_of(options.resume) if options.resume is not None else parse_start(options.start)
    if options.headless:
        from client.play.headless import BrokenOff, HeadlessOptions, run_headless
        from client.play.report import write_report

        assert source is not None, "somebody plays without a window"
        assert frames is not None, "a run without a window ends"
        try:
            report = run_headless(factory, HeadlessOptions(source, frames, start, options.seed, options.fps, started))
        except BrokenOff as broken:
            write_report(broken.report, options.report or "-")
            raise
        write_report(report, options.report or "-")
        return USER_ERROR if stopped else 0
    from client.play.meter import Meter
    from client.window.first_start import mark_file
    from client.window.options import WindowOptions
    from client.window.run import run_window

    code = run_window(
        factory,
        WindowOptions(
            start=start,
            seed=options.seed,
            fps=options.fps,
            scale=options.scale or 0,
            smooth=options.smooth,
            sensitivity=options.sensitivity or 1.0,
            table=table,
            source=source,
            frames=frames,
            report=options.report,
            output_dir=options.output_dir,
            started=started,
            inputs=inputs,
            meter=Meter() if options.meter else None,
            keys_mark=mark_file(),
        ),
        instead=without_window(options),
    )
    for recording in stopped:  # the window said so at once
        sys.stderr.write(f"error: {recording.sentence()}\n")
    return code or (USER_ERROR if stopped else 0)


def replay(options: Replay) -> int:
    """Runs the command and returns its exit code: 0; 1 if --verify found a difference."""
    from client.replay import run_against, run_export, run_replay, run_verify

    check_replay(options)
    if options.verify:
        return run_verify(options)
    shown = options.export is None and not options.headless
    if shown:
        check_display(replay_without_window(options))
    started = process_start(_IMPORTED_AT)
    if options.against is not None:
        return run_against(options, started)
    return run_replay(options, started) if shown else run_export(options)


def run_bench(options: Bench) -> int:
    """Measures and prints. Returns the exit code 0."""
    import json

    from worldmodel.measure.bench import bench, report

    result = bench(options)
    print(json.dumps(result) if options.json else report(result))
    return 0


def _command(argv: Sequence[str] | None) -> int:
    """Does what the command line asks for, and returns the exit code. Mistakes and failures are raised."""
    import tyro

    words = list(sys.argv[1:] if argv is None else argv)
    if (making_command := making.find(words)) is not None:
        return making.run(making_command, words[len(making_command.split()) :])
    if words and (about := making.GROUPS.get(words[0])) is not None:
        listed = making.listed(f"{words[0]} ")
        tyro.extras.subcommand_cli_from_dict(listed, prog=f"worldmodel {words[0]}", description=about, args=words[1:])
    commands: dict[str, Any] = {
        "play": Play,
        "replay": Replay,
        "sessions": Sessions,
        "import": Import,
        "bench": Bench,
        "doctor": Doctor,
        "web": Web,
        "serve": Serve,
        **(making.complete() if any(word.startswith("--tyro-") for word in words) else making.listed()),
    }
    if words == ["--version"]:
        print(f"worldmodel {version('worldmodel')}")
        return 0
    options = tyro.extras.subcommand_cli_from_dict(commands, prog="worldmodel", description=DESCRIPTION, args=words)
    if isinstance(options, Doctor):
        from client.doctor import doctor

        return doctor()
    if isinstance(options, Sessions):
        from client.sessions.listing import list_sessions

        return list_sessions(options.folder, options.strips)
    if isinstance(options, Bench):
        return run_bench(options)
    if isinstance(options, Web):
        from client.web.folder import write_web

        return write_web(options.out, options.world, options.bits)
    if isinstance(options, Serve):
        from client.serve.run import serve

        return serve(options)
    if isinstance(options, Import):
        from client.sessions.importing import import_clips

        return import_clips(options.source, options.world, options.out)
    return replay(options) if isinstance(options, Replay) else play(options)


def main(argv: Sequence[str] | None = None) -> int:
    """The console command. Returns the exit code: 0; 2 for a mistake of the user's; 1 if something broke; 128 and the
    number of the signal that ended it. tyro's own exits (--help, a wrong option) are raised."""
    words = sys.argv[1:] if argv is None else argv
    code = run_to_end(lambda: _command(argv), broken_off=making.stopped if making.find(words) else lambda _: None)
    if any(thread.name == "world" for thread in threading.enumerate()):
        # A step still hangs in native code. Python's own end would wait for it, or crash in it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
