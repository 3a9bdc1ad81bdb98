"""The options of every command, and what can be wrong with them: found before any work."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import OmitArgPrefixes, Positional

from client.play.game import CLIP, Start
from client.sessions.resume import Resume
from recordings.format import SUFFIX
from worldmodel.games import game_of
from worldmodel.settings import BenchOptions, EngineOptions, SamplingOptions, option_of
from worldmodel.types import WorldModelError


@dataclass(frozen=True, slots=True)
class Play:
    """Play a world in a window, or run it without one (--headless)."""

    world: str = "nano"
    """The world: "nano" (shipped), a checkpoint's folder, or a real game: "luanti" ("luanti:LAND" for one of its lands:
    meadow, forest, shore, hills, snow, gallery, grassland, default), "vizdoom", "minerl", or "gym:ENV_ID"."""
    start: str = "0"
    """Number of a start scene, a picture file to start from (its centre is cropped to the frame's shape), or a clip
    (FILE.mp4, its actions in FILE.jsonl beside it)."""
    resume: str | None = None
    """Go on from a recording: FILE.wms or FILE.wms@STEP (default: after its last step)."""
    seed: int = 0
    """Same world, start, seed and actions: same game. Also the seed of --actions random."""
    fps: float | None = None
    """Steps a second. Default: the world's own rate in a window; as fast as it goes with --headless."""
    sampling: OmitArgPrefixes[SamplingOptions] = field(default_factory=SamplingOptions)
    engine: OmitArgPrefixes[EngineOptions] = field(default_factory=EngineOptions)
    scale: int | None = None
    """Window pixels for each pixel of the frame. Default: a window of 960x560."""
    smooth: bool = True
    """Smooth the enlarged picture; --no-smooth shows sharp pixels."""
    sensitivity: float | None = None
    """Factor on mouse and stick; 1 turns 0.15 degrees for each pixel of mouse motion."""
    bindings: Path | None = None
    """JSON file of keys, such as {"jump": "Space", "drop": ["G", "Mouse 4"]}; the rest keep their default."""
    meter: bool = False
    """Show how often the actions that a second network reads from the pictures are the ones that were pressed."""
    headless: bool = False
    """No window: runs --frames steps of --actions and prints a report."""
    frames: int | None = None
    """Stop after so many steps. Default: never in a window; 300 or the whole file of actions with --headless."""
    actions: str | None = None
    """Who plays: "random", "idle" or a recorded FILE.jsonl. Default: you in a window; random with --headless."""
    report: str | None = None
    """File for one line of JSON on the run, or - for standard output. Default with --headless: -."""
    clips: Path | None = None
    """Write what is played of a real game into this folder, as clips to train on."""
    record: Path | None = None
    """Record the session into this file (.wms). In a window, R starts and ends a recording at any time."""
    output_dir: Path = Path("sessions")
    """Folder for saved pictures and for recordings that R starts."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Watch a recording, simulate it again (--verify), compare it with another world (--against), or write it as a
    video (--export)."""

    file: Positional[Path]
    """The recording (.wms)."""
    verify: bool = False
    """Simulate again from start, seed and actions, and compare the tokens; exit code 1 if they differ."""
    export: Path | None = None
    """Write the recording as .mp4, as .gif, or, given a folder, as a VPT clip (training data)."""
    keys: bool = False
    """Draw the keys on the export."""
    scale: int | None = None
    """Pixels of the export for each pixel of the frame. Default: 1; 2 for a .gif and for --against."""
    against: str | None = None
    """Play the same actions through a second world, side by side, with PSNR and token agreement: a checkpoint, "luanti"
    (the real game) or another recording of the same actions."""
    headless: bool = False
    """With --against: no window, but an .mp4 and a .csv (named by --export, or beside the recording)."""
    world: str | None = None
    """The checkpoint it was played on, where it is not found by its name: here, beside the recording, or around it."""
    engine: OmitArgPrefixes[EngineOptions] = field(default_factory=EngineOptions)
    """What simulates, for --verify and --against CHECKPOINT: tokens are certain to be equal only on what recorded."""


@dataclass(frozen=True, slots=True)
class Import:
    """Make recordings (.wms) of VPT clips, to replay them, compare a world with them, or play on from them."""

    source: Positional[Path]
    """A clip's .mp4 (its .jsonl beside it), or a folder of clips."""
    out: Path = Path("sessions")
    """Folder for the recordings; clips that are there already are left alone."""
    world: str = "nano"
    """The world whose image tokenizer makes the tokens: "nano", a checkpoint's or a tokenizer's folder."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """List the recordings in a folder, and make a strip of thumbnails beside each (FILE.wms.png)."""

    folder: Positional[Path] = Path("sessions")
    """Where to look, folders below included."""
    strips: bool = True
    """Make the strips that are missing."""


@dataclass(frozen=True, slots=True)
class Bench(BenchOptions):
    """Measure how fast a model runs here: frames a second, percentiles, memory, and the device's roofline."""

    json: bool = False
    """Print JSON instead of sentences."""


@dataclass(frozen=True, slots=True)
class Web:
    """Write a folder that any static host can serve: in it, a world plays wholly in the browser's tab."""

    out: Positional[Path]
    """The folder: a new one, or one that this command wrote before."""
    world: str = "nano"
    """The world: "nano" (shipped), or a checkpoint's folder."""
    bits: Literal[8, 16] = 8
    """What the weights are stored in; 8 is half the download."""


@dataclass(frozen=True, slots=True)
class Serve:
    """Play in a browser: prints a link, and serves the page behind it."""

    world: str = "nano"
    """The world, as `worldmodel play` takes it."""
    start: int = 0
    """Number of the start scene that a new game begins with."""
    seed: int = 0
    """And its seed."""
    players: int = 4
    """How many may play at a time, each in a game of their own; more wait."""
    host: str = "127.0.0.1"
    """The address to listen on. Default: for this machine alone; 0.0.0.0 is for every machine that can reach it. What
    is sent is not encrypted: on a network that others use, put it behind a proxy with TLS, or in a tunnel."""
    port: int = 8000
    """0 is any that is free."""
    bindings: Path | None = None
    """JSON file of keys, as `worldmodel play` takes it."""
    record: Path | None = None
    """Folder in which every game stays recorded. Default: a game's recording goes with its player."""
    ray: str | None = None
    """Serve on a Ray cluster: its address ("auto": the one that this machine is part of, "local": one of this machine's
    own). Needs --record with a folder that all its machines share: a player whose machine dies goes on from there on
    another."""
    replicas: int = 2
    """With --ray: how many copies of the world may run, each with seats for --players, on a GPU of its own where the
    cluster has any. They start as players wait."""
    sampling: OmitArgPrefixes[SamplingOptions] = field(default_factory=SamplingOptions)
    engine: OmitArgPrefixes[EngineOptions] = field(default_factory=EngineOptions)


@dataclass(frozen=True, slots=True)
class Doctor:
    """Say what works on this machine, and which command installs what does not."""


def parse_start(text: str) -> Start:
    """A number -> scene; anything else -> picture file."""
    return int(text) if text.removeprefix("-").isdigit() else Path(text)


def resume_of(text: str) -> Resume:
    """FILE or FILE@STEP."""
    file, _, step = text.rpartition("@")
    return Resume(Path(file), int(step)) if file and step.isdigit() else Resume(Path(text))


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
