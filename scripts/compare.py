"""Puts evaluations side by side, with MineWorld's published figures as reference rows marked "other data".

    python scripts/compare.py EVALUATION [EVALUATION ...] [--out compare]

EVALUATION: folders that worldmodel evaluate left. Prints one table, and leaves compare.md and page.html in --out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from worldmodel.evaluation.following.comparison import HEAD, comparison, markdown, read_scores
from worldmodel.evaluation.following.page import plot, table, write_whole
from worldmodel.evaluation.following.tally import MODEL
from worldmodel.script import main_with_errors
from worldmodel.types import WorldModelError


@dataclass(frozen=True)
class Arguments:
    """What is put side by side."""

    evaluations: tyro.conf.Positional[tuple[Path, ...]]
    """Folders that worldmodel evaluate left."""
    out: Path = Path("compare")
    """Folder of the comparison."""


def main(args: Arguments) -> None:
    if not args.evaluations:
        raise WorldModelError("give at least one folder that worldmodel evaluate left")
    scores = [read_scores(folder) for folder in args.evaluations]
    rows = comparison(scores)
    text = markdown(HEAD, rows)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "compare.md").write_text(text + "\n", encoding="utf-8")
    curves = {
        folder.name: found["picture"][f"psnr_{MODEL}"] for folder, found in zip(args.evaluations, scores, strict=True)
    }
    parts = [
        "<h1>Evaluations side by side</h1>",
        table(HEAD, rows),
        "<p>Rows marked “other data” are MineWorld's published figures (arXiv 2504.08388): another game, other clips, "
        "another reader of actions, 11 camera bins instead of 21. They show the order of magnitude, no more.</p>",
        plot(curves, None, "frame", "PSNR, dB"),
        plot({folder.name: [part["f1"] for part in found["drift"]]
              for folder, found in zip(args.evaluations, scores, strict=True)}, None, "stretch of 100 frames", "F1"),
    ]  # fmt: skip
    write_whole(args.out / "page.html", "Evaluations side by side", parts)
    print(text)
    print(args.out / "page.html")


if __name__ == "__main__":
    main_with_errors(main, Arguments, extra=True)
