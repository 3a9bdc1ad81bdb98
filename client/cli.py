"""The command `worldmodel`. Wires worlds, controls, window and reports together; `worldmodel play --help` says how.

Only light modules are imported here: torch, pygame and the engines come in when they are needed.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from client.controls import DEFAULT_BINDINGS, InputLog, read_bindings, table_of
from client.failure import INTERRUPTED, report_failure
from client.game import Resume, Start
from client.runner import Source, WorldFactory
from client.stats import process_start
from worldmodel.types import Action, World, WorldModelError

if TYPE_CHECKING:
    from kernels.sampling import Sampler

_IMPORTED_AT = time.monotonic()  # what the start-up time counts from where the system does not tell
LUANTI_FRAME = (224, 384)  # height, width that the real game is played at
HEADLESS_FRAMES = 300
DESCRIPTION = "Play, record and measure a game that runs inside a neural network."


@dataclass(frozen=True, slots=True)
class Play:
    """Play a world in a window, or run it without one (--headless)."""

    world: str = "nano"
    """The world: "nano" (shipped), a checkpoint's folder, or "luanti" (the real game)."""
    start: str = "0"
    """Number of a start scene, or a picture file to start from (its centre is cropped to the frame's shape)."""
    resume: str | None = None
    """Go on from a recording: FILE.wms or FILE.wms@STEP (default: after its last step)."""
    seed: int = 0
    """Same world, start, seed and actions: same game. Also the seed of --actions random."""
    fps: float | None = None
    """Steps a second. Default: the world's own rate in a window; as fast as it goes with --headless."""
    temperature: float | None = None
    """Sampling temperature; 0 always takes the likeliest token. Default: the model's."""
    top_p: float | None = None
    """Sample among the likeliest tokens that together have this probability, 0 to 1."""
    top_k: int | None = None
    """Sample among this many likeliest tokens; 0 is all."""
    engine: Literal["auto", "openvino", "eager"] = "auto"
    """What runs the model; auto takes the fastest that works here."""
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    """Where the model runs."""
    threads: int = 0
    """CPU threads for the model; 0 is all cores."""
    scale: int | None = None
    """Window pixels for each pixel of the frame. Default: a window of 960x560."""
    smooth: bool = True
    """Smooth the enlarged picture; --no-smooth shows sharp pixels."""
    sensitivity: float | None = None
    """Factor on mouse and stick; 1 turns 0.15 degrees for each pixel of mouse motion."""
    bindings: Path | None = None
    """JSON file of keys, such as {"jump": "Space", "drop": ["G", "Mouse 4"]}; the rest keep their default."""
    headless: bool = False
    """No window: runs --frames steps of --actions and prints a report."""
    frames: int | None = None
    """Stop after so many steps. Default: never in a window; 300 or the whole file of actions with --headless."""
    actions: str | None = None
    """Who plays: "random", "idle" or a recorded FILE.jsonl. Default: you in a window; random with --headless."""
    report: str | None = None
    """File for one line of JSON on the run, or - for standard output. Default with --headless: -."""
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
    """The checkpoint it was played on, if it is no longer where it was."""
    engine: Literal["auto", "openvino", "eager"] = "auto"
    """What simulates; tokens are certain to be equal only on the engine that recorded."""
    threads: int = 0
    """CPU threads; 0 is all cores."""


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
class Doctor:
    """Say what works on this machine, and which command installs what does not."""


def parse_start(text: str) -> Start:
    """A number -> scene; anything else -> picture file."""
    return int(text) if text.removeprefix("-").isdigit() else Path(text)


def resume_of(text: str) -> Resume:
    """FILE or FILE@STEP."""
    file, _, step = text.rpartition("@")
    return Resume(Path(file), int(step)) if file and step.isdigit() else Resume(Path(text))


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
    if options.seed < 0:
        problems.append(f"--seed must be 0 or more, got {options.seed}")
    if options.threads < 0:
        problems.append(f"--threads must be 0 (all cores) or more, got {options.threads}")
    if options.actions not in (None, "random", "idle"):
        if not options.actions.endswith(".jsonl"):
            problems.append(f'--actions must be "random", "idle" or a .jsonl file, got {options.actions}')
        elif not Path(options.actions).is_file():
            problems.append(f"no actions file {options.actions}")
    if options.report not in (None, "-") and not Path(options.report).parent.is_dir():
        problems.append(f"--report {options.report}: there is no folder {Path(options.report).parent}")
    if options.record is not None and options.record.exists():
        problems.append(f"{options.record} exists: a recording is never written over; give another name")
    if options.headless:
        window_only = {"--scale": options.scale, "--sensitivity": options.sensitivity, "--bindings": options.bindings}
        given = [flag for flag, value in window_only.items() if value is not None]
        if given:
            problems.append(f"{' and '.join(given)} need a window, not --headless")
    if options.resume is not None and options.start != "0":
        problems.append("--resume and --start are two beginnings: give one of them")
    if options.resume is not None and not resume_of(options.resume).file.is_file():
        problems.append(f"no recording {resume_of(options.resume).file}")
    start = parse_start(options.start)
    if isinstance(start, int) and start < 0:
        problems.append(f"--start counts from 0, got {start}")
    if options.world == "luanti":
        neural_only = {
            "--temperature": options.temperature is not None,
            "--top-p": options.top_p is not None,
            "--top-k": options.top_k is not None,
            "--engine": options.engine != "auto",
            "--device": options.device != "auto",
            "--threads": options.threads != 0,
            "--start PICTURE": isinstance(start, Path),
            "--record": options.record is not None,
            "--resume": options.resume is not None,
        }
        given = [flag for flag, wrong in neural_only.items() if wrong]
        if given:
            problems.append(f"{' and '.join(given)} are for a neural world, not for --world luanti")
    try:
        sampler_of(options)
    except ValueError as error:
        problems.append(str(error))
    if isinstance(start, Path):
        from client.pictures import load_picture

        try:
            load_picture(start, (1, 1))  # read whole, so that a broken file is found now
        except WorldModelError as error:
            problems.append(str(error))
    if problems:
        raise WorldModelError("; ".join(problems))


def sampler_of(options: Play) -> Sampler | None:
    """The sampler that the options ask for; None if they leave it to the world. ValueError out of range."""
    named = {"temperature": options.temperature, "top_p": options.top_p, "top_k": options.top_k}
    given = {name: value for name, value in named.items() if value is not None}
    if not given:
        return None
    from kernels.sampling import Sampler

    return Sampler(**given)  # pyright: ignore[reportArgumentType] - each name has its own type


def check_display() -> None:
    """WorldModelError where no window can be opened."""
    if sys.platform.startswith("linux") and not any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    ):
        raise WorldModelError("there is no display to open a window on; use --headless")


def world_factory(options: Play, inputs: InputLog | None = None) -> WorldFactory:
    """Makes the world that the options name. Slow imports happen when it is called, in the caller's thread.

    inputs: where a window notes the raw inputs of each step, for the recording.
    """

    def luanti(stage) -> World:  # noqa: ANN001
        stage("starting Luanti")
        from worldmodel.games.luanti.world import LuantiWorld

        return LuantiWorld(frame_shape=LUANTI_FRAME)

    def neural(stage) -> World:  # noqa: ANN001
        stage("loading PyTorch")
        from client.recording import RecordedWorld
        from worldmodel.worlds.neural import NeuralOptions, NeuralWorld, find_checkpoint

        folder = find_checkpoint(options.world)
        stage(f"loading {folder.name}")
        chosen = NeuralOptions(options.engine, options.device, options.threads)
        world = RecordedWorld(NeuralWorld(folder, chosen, sampler_of(options)), inputs.taken if inputs else tuple)
        if options.record is not None:
            world.record(options.record)
        return world

    return luanti if options.world == "luanti" else neural


def actions_of(options: Play) -> tuple[Source | None, int | None]:
    """Who plays, and for how many steps at most: (None, ...) is the user; (..., None) is for ever.

    WorldModelError if a file of actions cannot be read or is shorter than --frames.
    """
    from client.actions import idle_actions, random_actions, source_of

    name = options.actions or ("random" if options.headless else None)
    endless = options.frames or (HEADLESS_FRAMES if options.headless else None)
    if name is None:
        return None, endless
    if name == "random":
        return source_of(random_actions(options.seed)), endless
    if name == "idle":
        return source_of(idle_actions()), endless
    from worldmodel.data.clips import read_actions

    actions: list[Action] = read_actions(Path(name))
    if not actions:
        raise WorldModelError(f"{name} holds no actions")
    if options.frames is not None and options.frames > len(actions):
        raise WorldModelError(f"--frames {options.frames} is more than the {len(actions)} actions in {name}")
    return source_of(actions), options.frames or len(actions)


def play(options: Play, factory: WorldFactory | None = None) -> int:
    """Runs the command and returns its exit code. factory: another world than the options name (for tests)."""
    started = process_start(_IMPORTED_AT)
    check(options)
    if not options.headless:
        check_display()
    table = read_bindings(options.bindings) if options.bindings else table_of(DEFAULT_BINDINGS)
    source, frames = actions_of(options)
    inputs = InputLog()
    factory = factory or world_factory(options, None if options.headless else inputs)
    start = resume_of(options.resume) if options.resume is not None else parse_start(options.start)
    if options.headless:
        from client.headless import HeadlessOptions, run_headless
        from client.report import write_report

        assert source is not None, "somebody plays without a window"
        assert frames is not None, "a run without a window ends"
        report = run_headless(factory, HeadlessOptions(source, frames, start, options.seed, options.fps, started))
        write_report(report, options.report or "-")
        return 0
    from client.loop import WindowOptions
    from client.window import run_window

    return run_window(
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
        ),
    )


def replay(options: Replay) -> int:
    """Runs the command and returns its exit code: 0; 1 if --verify found a difference."""
    from client.replay import ReplayOptions, run_against, run_export, run_replay, run_verify

    commands = {"--verify": options.verify, "--export": options.export is not None and options.against is None}
    given = [flag for flag, on in {**commands, "--against": options.against is not None}.items() if on]
    if len(given) > 1:
        raise WorldModelError(f"{' and '.join(given)} are different commands: give one of them")
    if options.headless and options.against is None:
        raise WorldModelError("--headless goes with --against; --export and --verify open no window anyway")
    if (options.keys or options.scale is not None) and options.export is None and not options.headless:
        raise WorldModelError("--keys and --scale are for --export FILE")
    chosen = ReplayOptions(
        options.file,
        options.world,
        options.export,
        options.keys,
        options.scale,
        options.against,
        options.engine,
        options.threads,
        process_start(_IMPORTED_AT),
    )
    if options.verify:
        return run_verify(chosen)
    shown = options.export is None and not options.headless
    if shown:
        check_display()
    if options.against is not None:
        return run_against(chosen, options.headless)
    return run_replay(chosen) if shown else run_export(chosen)


def main(argv: Sequence[str] | None = None) -> int:
    """The console command. Returns the exit code: 0; 2 for a mistake of the user's; 1 if something broke."""
    import tyro

    commands = {"play": Play, "replay": Replay, "sessions": Sessions, "import": Import, "doctor": Doctor}
    options = tyro.extras.subcommand_cli_from_dict(commands, prog="worldmodel", description=DESCRIPTION, args=argv)
    try:
        if isinstance(options, Doctor):
            from client.doctor import doctor

            return doctor()
        if isinstance(options, Sessions):
            from client.sessions import list_sessions

            return list_sessions(options.folder, options.strips)
        if isinstance(options, Import):
            from client.importing import import_clips

            return import_clips(options.source, options.world, options.out)
        code = replay(options) if isinstance(options, Replay) else play(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        code = report_failure(error)
    if any(thread.name == "world" for thread in threading.enumerate()):
        # A step still hangs in native code. Python's own end would wait for it, or crash in it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
