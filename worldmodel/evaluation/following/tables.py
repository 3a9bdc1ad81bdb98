"""The tables that an evaluation leaves beside its JSON."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from worldmodel.evaluation.following.scores import GROUPS


def origin(scores: dict[str, Any]) -> dict[str, object]:
    """What every row says of where it comes from."""
    settings = scores["settings"]
    return {
        "commit": scores["provenance"]["commit"],
        "weights_sha256": settings["weights_sha256"],
        "order": settings["order"],
        "sampler": ";".join(f"{name}={value}" for name, value in settings["sampler"].items()),
        "clips": scores["episodes"],
        "seeds": settings["seeds"],
    }


def write_tables(out: Path, rows: list[dict[str, Any]], scores: dict[str, Any]) -> None:
    """frames.csv: PSNR and SSIM of every frame; actions.csv: scores of every class."""
    where = origin(scores)
    with (out / "frames.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [*rows[0], *where])
        table.writeheader()
        table.writerows({**row, **where} for row in rows)
    with (out / "actions.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(("source", "group", "class", "precision", "recall", "f1", "support", *where))
        for source, result in scores["following"].items():
            for group in GROUPS:
                for name, values in result["groups"][group]["classes"].items():
                    numbers = (round(value, 5) for value in values.values())
                    lines.writerow((source, group, name, *numbers, *where.values()))
