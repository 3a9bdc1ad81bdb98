"""Writes the figures in the READMEs from the JSON files that scripts measured; no figure is typed by hand.

    python scripts/write_tables.py [--check]

Replaces what stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->`. --check only says whether they are current.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.play.bindings import DEFAULT_BINDINGS
from client.play.keys import PLAY, REPLAY, game_keys, help_lines
from worldmodel.evaluation import shipped
from worldmodel.evaluation.following.bars import bar_rows
from worldmodel.evaluation.following.comparison import markdown as table
from worldmodel.lab.table import read_rows
from worldmodel.lab.table import summary as lab_summary
from worldmodel.measure import tables
from worldmodel.model.loading import load_config
from worldmodel.script import main_with_errors

ROOT = Path(__file__).resolve().parent.parent
NANO = ROOT / "worldmodel/pretrained/nano"
IDM = ROOT / "worldmodel/pretrained/idm"
LUANTI = ROOT / "worldmodel/games/luanti"
BENCHMARKS = ROOT / "benchmarks"
PAGES = (
    *(folder / "README.md" for folder in (ROOT, ROOT / "client", BENCHMARKS, NANO, IDM, LUANTI)),
    BENCHMARKS / "nano.md",
)
NOT_YET = "Not yet measured."


@dataclass(frozen=True)
class Arguments:
    """Write the tables, or check them."""

    check: bool = False
    """Write nothing; exit code 1 if a table is not that of the JSON files."""


def of(path: Path, shown: Callable[[Any], str], missing: str = NOT_YET) -> str:
    """What a measurement's file holds, as a table."""
    return shown(json.loads(path.read_text())) if path.is_file() else missing


def bench(name: str, shown: Callable[[Any], str], missing: str = NOT_YET) -> str:
    """The same of a file in benchmarks/."""
    return of(BENCHMARKS / name, shown, missing)


def keys() -> str:
    """The game's own keys as they are bound at first, and the client's while one plays and in a replay."""
    first = {button: bound[0] for button, bound in DEFAULT_BINDINGS.items()}
    tables = {"game": game_keys(first), "while you play": help_lines(PLAY), "in a replay": help_lines(REPLAY)}
    return "\n\n".join(table([title, ""], [list(line) for line in lines]) for title, lines in tables.items())


def evaluations() -> dict[str, Any]:
    """What scripts/evaluate.py left of nano, on the clips that each file names; those that are there."""
    files = {"validation clips": "evaluation_nano.json", "fresh seeds": "evaluation_nano_fresh.json"}
    there = {title: BENCHMARKS / name for title, name in files.items() if (BENCHMARKS / name).is_file()}
    return {title: json.loads(path.read_text()) for title, path in there.items()}


def nano_following() -> str:
    found = evaluations()
    return shipped.following_table(*next(iter(found.items()))) if found else NOT_YET


def nano_bars() -> str:
    found = evaluations()
    games = [json.loads(path.read_text()) for path in sorted(BENCHMARKS.glob("against_game_nano*.json"))]
    size = sum(path.stat().st_size for path in NANO.glob("*.safetensors")) / 1e6
    if not found:
        return NOT_YET
    evaluated = list(found.values())
    return bench("play_headless.json", lambda play: table(["", "bar", *found], bar_rows(evaluated, play, games, size)))


def nano_scores() -> str:
    codes = load_config(NANO).image_tokenizer.codebook_size
    return of(NANO / "scores.json", lambda scores: shipped.scores_table(scores, codes))


def play_speed() -> str:
    return bench(
        "play_headless.json", lambda run: bench("play_window.json", lambda other: tables.play_speed(run, other))
    )


def gpu_speed() -> str:
    missing = "GPU speed: not yet measured (`scripts/gpu_check.py` writes `benchmarks/gpu.json`)."
    return bench("gpu.json", tables.gpu_speed, missing)


def reliability() -> str:
    missing = "Not yet measured (`make fuzz` and `make soak` write `benchmarks/reliability.json`)."
    return bench("reliability.json", tables.reliability, missing)


def lab() -> str:
    path = BENCHMARKS / "lab.json"
    return lab_summary(read_rows(path)) if path.is_file() else NOT_YET


BLOCKS: dict[str, Callable[[], str]] = {
    "keys": keys,
    "lab": lab,
    "nano-scores": nano_scores,
    "nano-rollouts": lambda: of(NANO / "scores.json", shipped.rollouts_table),
    "nano-training": lambda: of(NANO / "training.json", shipped.training_table),
    "nano-following": nano_following,
    "nano-bars": nano_bars,
    "nano-sampling": lambda: bench("sweep_nano.json", tables.sweep),
    "nano-game": lambda: bench("against_game_nano.json", shipped.game_table),
    "idm-scores": lambda: of(IDM / "scores.json", shipped.reader_table),
    "tokenizer-settings": lambda: bench("tokenizer_settings.json", tables.tokenizer_settings),
    "art": lambda: bench("art.json", tables.art),
    "cpu-engines": lambda: bench("cpu_engines.json", tables.cpu_engines),
    "play-speed": play_speed,
    "recording-cost": lambda: bench("recording.json", tables.recording_cost),
    "reliability": reliability,
    "gpu-speed": gpu_speed,
    "camera": lambda: bench("camera.json", tables.camera),
    "training-speed": lambda: bench("training_speed.json", tables.training_speed),
    "training-speed-plain": lambda: bench("training_speed_plain.json", tables.training_speed),
    "environments": lambda: bench("environments.json", tables.environments),
    "web": lambda: bench("web.json", tables.web),
    "weight-formats": lambda: bench("weight_formats.json", tables.weight_formats),
}


def filled(text: str) -> str:
    """`text` with every marked block made anew."""

    def block(match: re.Match[str]) -> str:
        return f"{match[1]}\n\n{BLOCKS[match[2]]()}\n\n{match[3]}"

    return re.sub(r"(<!-- ([a-z-]+):begin -->).*?(<!-- \2:end -->)", block, text, flags=re.DOTALL)


def main(args: Arguments) -> None:
    stale = []
    for path in PAGES:
        text = path.read_text()
        new = filled(text)
        if new != text:
            stale.append(str(path.relative_to(ROOT)))
            if not args.check:
                path.write_text(new)
    if args.check and stale:
        sys.exit(f"the tables in {', '.join(stale)} are not those of the JSON files: run scripts/write_tables.py")


if __name__ == "__main__":
    main_with_errors(main, Arguments)
