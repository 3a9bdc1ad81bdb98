"""Runs the trials against the real game, keeps every one as it is done, and writes scores, table and page.

In the folder `out`: `real/` holds the recorded trials, which all checkpoints share; `<checkpoint>-<hash>/` what one
checkpoint made of them: a JSON and a strip of pictures a trial, then scores.json, trials.csv and page.html.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from worldmodel.data.frames import write_json
from worldmodel.evaluation.beside_game.measures import SOURCES, Measures, Model, measure, play_sources, strip
from worldmodel.evaluation.beside_game.page import write_page
from worldmodel.evaluation.beside_game.real_trials import read_trial, record_trials
from worldmodel.evaluation.beside_game.scores import Result, amounts_of, bars_of, scores_of
from worldmodel.evaluation.beside_game.trials import KINDS, Trial, make_trial
from worldmodel.games.luanti.presets import DEFAULT_LAND, PRESETS
from worldmodel.locking import building
from worldmodel.types import WorldModelError

FORMAT = 2
MOST_AWAY_S, STEPS_A_SECOND = 60.0, 10
MOST_TRIALS = 1000
JPEG_QUALITY = 90


@dataclass(frozen=True, slots=True)
class AgainstOptions:
    """out: folder of the results; trials: of each kind; seed: of the lands, the scripts and the model's sampling;
    preset: kind of land; kinds: what to try; away: seconds of looking elsewhere, once something was dug or placed."""

    out: Path
    trials: int = 50
    seed: int = 0
    preset: str = DEFAULT_LAND
    kinds: tuple[str, ...] = KINDS
    away: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.trials <= MOST_TRIALS:
            raise WorldModelError(f"--trials must be 1..{MOST_TRIALS} of each kind, got {self.trials}")
        if not 0 <= self.away <= MOST_AWAY_S:
            raise WorldModelError(f"--away must be 0..{MOST_AWAY_S:g} seconds, got {self.away:g}")
        if self.preset not in PRESETS:
            raise WorldModelError(f"unknown preset {self.preset!r}; known are {', '.join(PRESETS)}")
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            raise WorldModelError(f"--kinds must be some of {', '.join(KINDS)}, got {', '.join(unknown) or 'none'}")

    def all_trials(self) -> list[Trial]:
        away = round(self.away * STEPS_A_SECOND)
        return [make_trial(kind, index, self.seed, away) for kind in self.kinds for index in range(self.trials)]


def claim(folder: Path, name: str, contents: dict[str, Any], remedy: str) -> None:
    """Marks a folder as holding results of these contents. WorldModelError if it holds those of others."""
    path = folder / name
    if path.is_file():
        try:
            have = json.loads(path.read_text())
        except ValueError as error:
            raise WorldModelError(f"{path} is damaged ({error}): {remedy}") from None
        if have != contents:
            raise WorldModelError(f"{folder} was made with {have}, not with {contents}: {remedy}")
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, contents)


def record_real(options: AgainstOptions) -> Path:
    """The folder of the real side of all trials; those that are not there yet are played now."""
    folder = options.out / "real"
    contents = {"format": FORMAT, "seed": options.seed, "preset": options.preset, "away": options.away}
    claim(folder, "settings.json", contents, "choose another --out, or give the same --seed, --preset and --away")
    with building(folder):  # several checkpoints may be tried at once
        record_trials(options.all_trials(), folder, options.seed, options.preset)
    return folder


def run_trials(options: AgainstOptions, real: Path, model: Model, folder: Path) -> list[Result]:
    """Every trial of the options, played by the model and measured; those of an earlier run are read back."""
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    trials = options.all_trials()
    for trial in tqdm(trials, desc="model", unit="trial", disable=all(_done(folder, t.name) for t in trials)):
        if not _done(folder, trial.name):
            played = read_trial(real, trial.name, *model.frame_shape)
            sources = play_sources(played, model, options.seed)
            _write_strip(folder / f"{trial.name}.jpg", strip(played, sources))
            write_json(folder / f"{trial.name}.json", measure(played, sources))
        results.append(Result(trial.name, trial.kind, trial.variant, _read_measures(folder / f"{trial.name}.json")))
    return results


def _done(folder: Path, name: str) -> bool:
    """The json is written last."""
    return (folder / f"{name}.json").is_file()


def _read_measures(path: Path) -> dict[str, Measures]:
    try:
        measures = json.loads(path.read_text())
        if set(measures) != {"truth", *SOURCES}:
            raise ValueError(f"it has {', '.join(measures)}")
        if "node" in measures["truth"] and not all("stands_back" in measures[source] for source in SOURCES):
            raise ValueError("an older version measured it")
    except (ValueError, TypeError) as error:
        raise WorldModelError(f"{path} holds no measures ({error}): remove it, and the trial is played again") from None
    return measures


def _write_strip(path: Path, pixels: np.ndarray) -> None:
    temporary = path.with_name(path.name + ".tmp")
    Image.fromarray(pixels).save(temporary, "JPEG", quality=JPEG_QUALITY)
    os.replace(temporary, path)


def write_results(folder: Path, results: Sequence[Result], provenance: dict[str, Any]) -> None:
    """scores.json, trials.csv and page.html, each atomically."""
    scores = scores_of(results)
    values = {
        "provenance": provenance,
        "bars": bars_of(scores, provenance.get("away_seconds", 1.0)),
        "amounts": amounts_of(results),
        "scores": [asdict(score) for score in scores],
    }
    _write_csv(folder / "trials.csv", results)
    write_page(folder / "page.html", values, results, folder)
    write_json(folder / "scores.json", values)


def _write_csv(path: Path, results: Sequence[Result]) -> None:
    """One row a trial and source: what was measured, beside what the game's server knows ("truth")."""
    rows = [
        {"trial": result.name, "kind": result.kind, "variant": result.variant, "source": source, **measures}
        for result in results
        for source, measures in result.measures.items()
    ]
    names = list(dict.fromkeys(name for row in rows for name in row))
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, path)
