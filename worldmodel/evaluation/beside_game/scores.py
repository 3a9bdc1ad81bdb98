"""From the measures of single trials to scores: shares with Wilson's 95% interval, and how far off the amounts are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest

from worldmodel.evaluation.beside_game.block_rule import STANDS, THERE
from worldmodel.evaluation.beside_game.measures import SOURCES, Measures
from worldmodel.evaluation.beside_game.trials import name_of_walk

LEAST_TURN = 0.25  # of the real turn: less is no turn
MIRROR_DB = 3.0  # how much less alike than in the game the way back may show what the way there did
AS_FAR = 2 / 3, 3 / 2  # of the real turn or walk
STILL_WALKS = 0.8  # of the real pace
# Share of what was dug or placed that must be there after looking away and back: for so many seconds at most.
STAYS_BARS = {1.0: 0.8, 60.0: 0.6}

QUESTIONS = {
    "turn": ("turns the right way", "turns as far, within a third"),
    "move": ("walks the way asked, or stands",),
    "pace": ("walks, sprints, sneaks as far, within a third",),
    "hold": ("a walk held for six seconds still goes, at four fifths of the pace",),
    "hotbar": ("the slot asked is in hand",),
    "mirror": ("the way back shows what the way there did, within 3 dB of the game's own",),
    "dig": ("the hole appears", "the hole is there after looking away and back", "both times as the game draws it"),
    "place": ("the block appears", "the block is there after looking away and back", "both times as the game draws it"),
}
FALSE_ALARM = "seen before it was made (false alarm)"


@dataclass(frozen=True, slots=True)
class Result:
    """One trial that was played and measured."""

    name: str
    kind: str
    variant: str
    measures: dict[str, Measures]

    def groups(self) -> list[str]:
        """The groups that it counts in: all of its kind, and its variant's words ("right 5.10": right, and 5.10)."""
        return ["all", *(self.variant.split() if self.kind == "turn" else [self.variant])]


@dataclass(frozen=True, slots=True)
class Score:
    """hits of n trials; low, high: Wilson's 95% interval of the share."""

    kind: str
    question: str
    group: str
    source: str
    hits: int
    n: int
    share: float
    low: float
    high: float


def score(kind: str, question: str, group: str, source: str, answers: Sequence[bool]) -> Score:
    """answers: one a trial, at least one."""
    hits, n = sum(answers), len(answers)
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return Score(kind, question, group, source, hits, n, hits / n, float(interval.low), float(interval.high))


def answers(result: Result, source: str) -> dict[str, bool]:
    """Question -> whether this source of this trial does what the real game did."""
    truth, found = result.measures["truth"], result.measures[source]
    questions = QUESTIONS[result.kind]
    if result.kind == "turn":
        ratio = found["degrees"] / truth["degrees"]
        return dict(zip(questions, (ratio >= LEAST_TURN, AS_FAR[0] <= ratio <= AS_FAR[1]), strict=True))
    if result.kind == "move":
        return {questions[0]: name_of_walk(found["forward"], found["right"]) == result.variant}
    if result.kind == "pace":
        return {questions[0]: AS_FAR[0] <= found["forward"] / truth["forward"] <= AS_FAR[1]}
    if result.kind == "hold":
        return {questions[0]: found["forward"] >= STILL_WALKS * truth["forward"]}
    if result.kind == "hotbar":
        return {questions[0]: found["slot"] == truth["slot"]}
    if result.kind == "mirror":
        # What a tokenizer makes of pictures that are nearly alike is no fault of the model.
        own = result.measures["real" if source == "real" else "tokenizer"]
        moved = found["moved_db"] <= own["moved_db"] + MIRROR_DB  # else a picture that stands still would do
        return {questions[0]: moved and found["mirror_db"] >= own["mirror_db"] - MIRROR_DB}
    there, stays = (found[f"stands_{at}"] >= STANDS for at in ("after", "back"))
    drawn = all(found[f"drawn_{at}"] >= THERE for at in ("after", "back"))
    told = dict(zip(questions, (there, there and stays, drawn), strict=True))
    return {**told, FALSE_ALARM: found["stands_control"] >= STANDS}


def scores_of(results: Iterable[Result]) -> list[Score]:
    """By kind, question, group and source, in the order of the trials."""
    table: dict[tuple[str, str, str, str], list[bool]] = defaultdict(list)
    for result in results:
        for group in result.groups():
            for source in SOURCES:
                for question, answer in answers(result, source).items():
                    table[result.kind, question, group, source].append(bool(answer))
    return [score(*key, values) for key, values in table.items()]


def amounts_of(results: Sequence[Result]) -> dict[str, dict[str, dict[str, float]]]:
    """Kind -> source -> how far the measured amount is from what the game's server knows.

    turn: mean absolute error in degrees a step, and the median of measured / asked; move, pace, hold: mean distance in
    nodes between the walk measured and the walk made, and the median length measured; mirror: mean dB between the way
    there and the way back.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    walks = dict.fromkeys(("move", "pace", "hold"), _move_amounts)
    measures = {"turn": _turn_amounts, **walks, "mirror": _mirror_amounts}
    for kind, measure in measures.items():
        some = [result for result in results if result.kind == kind]
        if some:
            found[kind] = {source: measure(some, source) for source in SOURCES}
    return found


def _turn_amounts(results: Sequence[Result], source: str) -> dict[str, float]:
    errors, ratios = [], []
    for result in results:
        asked, found = result.measures["truth"]["degrees"], result.measures[source]
        errors += [abs(step - asked / len(found["steps"])) for step in found["steps"]]
        ratios.append(found["degrees"] / asked)
    return {"error_degrees_a_step": float(np.mean(errors)), "median_gain": float(np.median(ratios))}


def _move_amounts(results: Sequence[Result], source: str) -> dict[str, float]:
    def vector(measures: Measures) -> np.ndarray:
        return np.array([measures["forward"], measures["right"]])

    made = [result for result in results if result.variant != "stand"] or results
    pairs = [(vector(result.measures["truth"]), vector(result.measures[source])) for result in made]
    return {
        "error_nodes": float(np.mean([np.hypot(*(found - true)) for true, found in pairs])),
        "median_nodes": float(np.median([np.hypot(*found) for _, found in pairs])),
        "median_nodes_made": float(np.median([np.hypot(*true) for true, _ in pairs])),
    }


def _mirror_amounts(results: Sequence[Result], source: str) -> dict[str, float]:
    return {"mirror_db": float(np.mean([result.measures[source]["mirror_db"] for result in results]))}


def bars_of(scores: Sequence[Score], away: float) -> list[dict[str, Any]]:
    """The bars that these trials can tell, each with what was measured. away: seconds of looking elsewhere."""
    bar = next(share for seconds, share in STAYS_BARS.items() if away <= seconds)
    asked = [(kind, QUESTIONS[kind][1], "all", "model") for kind in ("place", "dig")]
    found = [s for s in scores if (s.kind, s.question, s.group, s.source) in asked]
    return [{"bar": bar, "away_seconds": away, "met": s.share >= bar, **asdict(s)} for s in found]
