"""What can be wrong with the options of play, replay and serve: found before any work."""

from __future__ import annotations

import math
from pathlib import Path

from client.options import Play, Replay, Serve, parse_start, resume_of
from client.play.game import CLIP
from recordings.format import SUFFIX
from worldmodel.games import game_of
from worldmodel.settings import option_of
from worldmodel.types import WorldModelError


def window_only(options: Play) -> list[str]:
    """The options that are given and mean nothing without a window."""
    values = {
        "--scale": options.scale,
        "--sensitivity": options.sensitivity,
        "--bindings": options.bindings,
        "--meter": options.meter or None,
    }
    return [flag for flag, value in values.items() if value is not None]


def without_window(options: Play) -> str:
    """What to do where no window can be opened."""
    given = window_only(options)
    return f"use --headless, without {' and '.join(given)}" if given else "use --headless"


def replay_without_window(options: Replay) -> str:
    """The same for a recording."""
    if options.against is not None:
        return "use --headless, which writes an .mp4 and a .csv"
    return "--export FILE.mp4 writes it as a video"


def world_problems(options: Play | Serve, given: list[str]) -> list[str]:
    """What is wrong with how a world is to be run. given: the other options that are for a neural world alone."""
    problems = options.engine.problems()
    game = game_of(options.world)
    given = [option_of(name) for name in options.sampling.given()] + options.engine.given() + given
    if game is not None and given:
        problems.append(f"{' and '.join(given)} are for a neural world, not for --world {game[0]}")
    try:
        options.sampling.over()
    except WorldModelError as error:
        problems.append(str(error))
    return problems


def check(options: Play) -> None:
    """All that can be wrong with the options, before any work. WorldModelError with everything in one sentence."""
    problems: list[str] = []

    def positive(flag: str, value: float | None) -> None:
        if value is not None and not (value > 0 and math.isfinite(value)):
            problems.append(f"{flag} must be more than 0, got {value}")

    positive("--fps", options.fps)
    positive("--scale", options.scale)
    positive("--sensitivity", options.sensitivity)
    if options.frames is not None and options.frames < 1:
        problems.append(f"--frames must be at least 1, got {options.frames}")
    if not 0 <= options.seed < 1 << 64:
        problems.append(f"--seed must be 0 or more and below 2^64, got {options.seed}")
    if options.actions not in (None, "random", "idle"):
        if not options.actions.endswith(".jsonl"):
            problems.append(f'--actions must be "random", "idle" or a .jsonl file, got {options.actions}')
        elif not Path(options.actions).is_file():
            problems.append(f"no actions file {options.actions}")
    if options.report not in (None, "-") and not Path(options.report).parent.is_dir():
        problems.append(f"--report {options.report}: there is no folder {Path(options.report).parent}")
    if options.record is not None and options.record.suffix != SUFFIX:
        ending = options.record.suffix
        recording = f"{str(options.record).removesuffix(ending)}{SUFFIX}"
        as_video = f", and then: worldmodel replay {recording} --export {options.record}" if ending else ""
        problems.append(f"--record writes recordings ({SUFFIX}), got {options.record}: --record {recording}{as_video}")
    elif options.record is not None and options.record.exists():
        problems.append(f"{options.record} exists: a recording is never written over; give another name")
    if options.headless:
        given = window_only(options)
        if given:
            problems.append(f"{' and '.join(given)} need a window, not --headless")
    if options.resume is not None and options.start != "0":
        problems.append("--resume and --start are two beginnings: give one of them")
    if options.resume is not None and not resume_of(options.resume).file.is_file():
        problems.append(f"no recording {resume_of(options.resume).file}")
    start = parse_start(options.start)
    if isinstance(start, int) and start < 0:
        problems.append(f"--start counts from 0, got {start}")
    if options.clips is not None and game_of(options.world) is None:
        problems.append("--clips is for a real game: a neural world is recorded with --record")
    others = {
        "--start PICTURE": isinstance(start, Path),
        "--record": options.record is not None,
        "--resume": options.resume is not None,
    }
    problems += world_problems(options, [flag for flag, given in others.items() if given])
    if isinstance(start, Path) and start.suffix == CLIP:
        if not start.is_file():
            problems.append(f"there is no clip {start}")
    elif isinstance(start, Path):
        from client.play.pictures import load_picture

        try:
            load_picture(start, (1, 1))  # read whole, so that a broken file is found now
        except WorldModelError as error:
            problems.append(str(error))
    if problems:
        raise WorldModelError("; ".join(problems))


def check_replay(options: Replay) -> None:
    """A file that is not there, and options that do not go together. WorldModelError."""
    from client.sessions.compare import plays_checkpoint

    if not options.file.is_file():
        raise WorldModelError(f"no recording {options.file}")
    exports = options.export is not None and options.against is None
    commands = {"--verify": options.verify, "--export": exports, "--against": options.against is not None}
    given = [flag for flag, on in commands.items() if on]
    if len(given) > 1:
        raise WorldModelError(f"{' and '.join(given)} are different commands: give one of them")
    if options.headless and options.against is None:
        raise WorldModelError("--headless goes with --against; --export and --verify open no window anyway")
    if (options.keys or options.scale is not None) and options.export is None and not options.headless:
        raise WorldModelError("--keys and --scale are for --export FILE")
    if options.scale is not None and options.scale < 1:
        raise WorldModelError(f"--scale must be at least 1, got {options.scale}")
    if problems := options.engine.problems():
        raise WorldModelError("; ".join(problems))
    if not options.verify and (options.against is None or not plays_checkpoint(options.against)):
        given = [flag for flag in options.engine.given() if flag != "--threads"]
        if given:
            raise WorldModelError(
                f"{' and '.join(given)} simulate, with --verify or --against CHECKPOINT; a recording's own pictures "
                "are decoded by the image tokenizer alone"
            )
