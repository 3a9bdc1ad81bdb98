"""The options of every command; what can be wrong with them is in checks.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import OmitArgPrefixes, Positional

from client.play.game import Start
from client.sessions.resume import Resume
from worldmodel.settings import BenchOptions, EngineOptions, SamplingOptions


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
