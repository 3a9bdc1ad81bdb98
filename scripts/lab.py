"""The tokenizer laboratory: published ideas as presets, measured alike, in one table.

    python scripts/lab.py run PRESET --data CLIPS [CLIPS ...] --val CLIPS [--reader runs/idm] [--out runs/lab]
    python scripts/lab.py table [--results benchmarks/lab.json]
    python scripts/lab.py plots [--results benchmarks/lab.json] [--picture benchmarks/lab.png]

A run takes about 15 minutes on two cores, 5 where it shares the baseline's tokenizer, adds its row to --results, and is
skipped if the row is there; killed, the same command goes on. Without --reader (an inverse dynamics model, worldmodel
train idm) the columns that need one stay empty. Three seeds of the preset "baseline" give the noise: what lies inside
it is a tie. Scores are comparable between runs; milliseconds are what a run found on a machine that had other work. The
presets, with their papers, are in worldmodel/lab/presets.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro

from worldmodel.lab.bench import run
from worldmodel.lab.budget import Budget
from worldmodel.lab.presets import preset
from worldmodel.lab.table import TABLES, plot, read_rows, table
from worldmodel.script import main_with_errors


@dataclass(frozen=True)
class Run:
    """Measure one preset."""

    preset: tyro.conf.Positional[str]
    """Its name (worldmodel/lab/presets.py)."""
    data: tuple[Path, ...] = (Path("runs/land/train"),)
    """Folders of clips."""
    val: Path = Path("runs/land/val")
    """Folder of clips of other lands, for the scores."""
    reader: Path | None = None
    """Folder of an inverse dynamics model. Default: the columns that need one stay empty."""
    out: Path = Path("runs/lab")
    """Folder of everything between."""
    results: Path | None = None
    """File of the results. Default: lab.json in --out."""
    seed: int = 0
    """Of everything that is drawn by chance."""
    threads: int = 2
    """Of torch."""
    budget: tyro.conf.OmitArgPrefixes[Budget] = field(default_factory=Budget)


@dataclass(frozen=True)
class Table:
    """Print the results as Markdown."""

    results: Path = Path("benchmarks/lab.json")
    """File of the results."""


@dataclass(frozen=True)
class Plots:
    """Draw the results."""

    results: Path = Path("benchmarks/lab.json")
    """File of the results."""
    picture: Path = Path("benchmarks/lab.png")
    """The picture."""


Command = (
    Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Table, tyro.conf.subcommand("table")]
    | Annotated[Plots, tyro.conf.subcommand("plots")]
)


def main(args: Run | Table | Plots) -> None:
    if isinstance(args, Table):
        print(table(read_rows(args.results)))
    elif isinstance(args, Plots):
        plot(read_rows(args.results), args.picture)
        print(args.picture)
    else:
        torch.set_num_threads(args.threads)
        variant, results = preset(args.preset), args.results or args.out / "lab.json"
        row = run(args.preset, variant, args.data, args.val, args.reader, args.out, results, args.budget, args.seed)
        for title, columns in TABLES.items():
            shown = ((column, row["columns"].get(column.name)) for column in columns)
            found = (f"{column.title} {value:{column.show}}" for column, value in shown if value is not None)
            print(f"{args.preset}, seed {args.seed}, {title}: {', '.join(found)}")


if __name__ == "__main__":
    main_with_errors(main, Command, extra=True)  # type: ignore[arg-type]
