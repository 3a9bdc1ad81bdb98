"""The comparison with the real game as one self-contained HTML page: shares, amounts, strips of pictures."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worldmodel.evaluation.beside_game.measures import SOURCES
from worldmodel.evaluation.beside_game.scores import Result
from worldmodel.evaluation.following.page import STYLE, table

STRIPS = 6  # of each kind; the folder has them all
TITLES = {
    "real": "real frames",
    "tokenizer": "their reconstruction (ceiling)",
    "model": "the model",
    "frozen": "first frame repeated",
}
MOMENTS = {
    "turn": "the start, then every step",
    "move": "the start, then every second step",
    "pace": "the start, then every second step",
    "hold": "the start, then every sixteenth step, and the end",
    "hotbar": "the start, then every step",
    "mirror": "the start, then every step: there, a pause, and back",
    "dig": "before, at the last step of the button, at rest, on the way, 44 degrees away, back again",
    "place": "before, at the step of the button, at rest, on the way, 44 degrees away, back again",
}


def share(score: dict[str, Any]) -> str:
    return f"{score['hits']}/{score['n']} = {score['share']:.0%} ({score['low']:.0%} to {score['high']:.0%})"


def scores_table(scores: Sequence[dict[str, Any]], kind: str) -> str:
    """Rows: question and group; columns: sources."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for score in scores:
        if score["kind"] == kind:
            rows.setdefault((score["question"], score["group"]), {})[score["source"]] = share(score)
    ordered = sorted(rows, key=lambda row: (list(dict.fromkeys(q for q, _ in rows)).index(row[0]), row[1] != "all"))
    lines = [
        [question if group == "all" else f"- {group}", *(rows[question, group][source] for source in SOURCES)]
        for question, group in ordered
    ]
    return table(["", *(TITLES[source] for source in SOURCES)], lines)


def amounts_table(amounts: dict[str, dict[str, float]]) -> str:
    names = list(next(iter(amounts.values())))
    lines = [[name.replace("_", " "), *(f"{amounts[s][name]:.2f}" for s in SOURCES)] for name in names]
    return table(["", *(TITLES[source] for source in SOURCES)], lines)


def strip_image(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img src="data:image/jpeg;base64,{data}">'


def write_page(path: Path, values: dict[str, Any], results: Sequence[Result], strips: Path) -> None:
    """values: those of scores.json; strips: folder of `<trial>.jpg`."""
    facts = values["provenance"]
    title = f"{facts['checkpoint']} against the real game"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        "<p>The same start and the same actions in the game, stepped at 10 Hz, and in the model, whose context is the "
        "real start. Shares are of trials, with Wilson's 95% interval. The same rules read the real frames, their "
        "reconstruction by the model's image tokenizer, and the model's first frame repeated.</p>",
    ]
    for bar in values["bars"]:
        verdict = "met" if bar["met"] else "not met"
        parts.append(f"<p><b>{html.escape(bar['question'])}: {share(bar)}; bar {bar['bar']:.0%}: {verdict}.</b></p>")
    for kind in dict.fromkeys(result.kind for result in results):
        parts += [f"<h2>{kind}</h2>", scores_table(values["scores"], kind)]
        if kind in values["amounts"]:
            parts.append(amounts_table(values["amounts"][kind]))
        parts.append(f"<p><small>Real above, model below: {MOMENTS[kind]}.</small></p>")
        for result in [result for result in results if result.kind == kind][:STRIPS]:
            parts.append(f"<h4>{html.escape(f'{result.name}: {result.variant}')}</h4>")
            parts.append(strip_image(strips / f"{result.name}.jpg"))
    parts += ["<h2>Where this comes from</h2>", table(["", ""], [[name, str(value)] for name, value in facts.items()])]
    head = f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(head + "".join(parts), encoding="utf-8")
    os.replace(temporary, path)
