"""Whether a session that could be read can be used: its records against each other, the model and the clock.

Every use of a session (replay, verify, export, resume, the window, training) goes through `check_session`. It knows
numbers; which model they are of, the caller says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recordings.format import Marker, RecordingError, StepRecord
from recordings.opening import Opening, SamplerSettings
from recordings.reader import Session

RATES = (0.1, 1000.0)  # steps a second that a clock can keep and a video can have


@dataclass(frozen=True, slots=True)
class Shapes:
    """What a model's sessions look like. places: image tokens a frame; codes: they lie below; action: tokens an action;
    vocabulary: those lie in codes..vocabulary - 1."""

    places: int
    codes: int
    action: int
    vocabulary: int


def check_session(
    session: Session, shapes: Shapes, check_settings: Callable[[SamplerSettings], object] = lambda settings: None
) -> Session:
    """The session up to the first record that cannot be used; `problem` then says why it ends there.

    check_settings: raises ValueError for a sampler's settings that the model cannot draw with. RecordingError if the
    header cannot be used, or no step is left.
    """
    rate = session.header.tick_rate
    if not RATES[0] <= rate <= RATES[1]:
        raise RecordingError(f"its tick_rate is {rate:g} steps a second: {RATES[0]:g} to {RATES[1]:g} can be played")
    fault = _opening(session.header.opening, shapes) or _settings(session.header.sampler, check_settings)
    if fault is not None:
        raise RecordingError(f"its header: {fault}")
    steps, problem = len(session.steps), session.problem
    for record in session.steps:
        fault = _tokens(record, shapes)
        if fault is not None:
            steps, problem = record.index, f"step {record.index}: {fault}"
            break
    markers: list[Marker] = []
    opening = session.header.opening
    for marker in session.markers:
        fault = _marker(marker, markers[-1].index if markers else 0, len(session.steps), opening)
        fault = fault or _opening(marker.opening, shapes) or _settings(marker.sampler, check_settings)
        if fault is not None:
            if marker.index < steps or steps == len(session.steps):
                problem = f"the {marker.kind} before step {marker.index}: {fault}"
            steps = min(steps, marker.index)
            break
        markers.append(marker)
        opening = marker.opening if marker.kind == "reset" else opening
    if not steps:
        raise RecordingError(problem or "it holds no step")
    if steps == len(session.steps) and len(markers) == len(session.markers):
        return session
    kept = tuple(marker for marker in markers if marker.index < steps)
    return replace(session, steps=session.steps[:steps], markers=kept, ended=False, problem=problem)


def _tokens(record: StepRecord, shapes: Shapes) -> str | None:
    """What is wrong with a step's picture; None: nothing. So are those below."""
    tokens = record.tokens
    if tokens is None:
        return "it has no image tokens: it was not made by a model"
    if len(tokens) != shapes.places or int(tokens.max()) >= shapes.codes:
        return f"its {_range(tokens[None])} do not fit the model's {shapes.places} below {shapes.codes}"
    return None


def _opening(opening: Opening | None, shapes: Shapes) -> str | None:
    if opening is None:
        return None
    tokens, actions = opening.tokens, opening.actions
    if tokens.shape[1] != shapes.places or int(tokens.max()) >= shapes.codes:
        return f"the opening's frames of {_range(tokens)} do not fit the model's {shapes.places} below {shapes.codes}"
    if len(actions) and not (
        actions.shape[1] == shapes.action and shapes.codes <= actions.min() and actions.max() < shapes.vocabulary
    ):
        wanted = f"{shapes.action} in {shapes.codes}..{shapes.vocabulary - 1}"
        return f"the opening's actions of {_range(actions)} do not fit the model's {wanted}"
    return None


def _settings(settings: SamplerSettings | None, check: Callable[[SamplerSettings], object]) -> str | None:
    try:
        if settings is not None:
            check(settings)
    except ValueError as error:
        return f"the sampler's {error}"
    return None


def _marker(marker: Marker, earlier: int, steps: int, opening: Opening | None) -> str | None:
    """earlier: index of the marker before it; opening: what its stretch started from."""
    if not earlier <= marker.index <= steps:
        return f"it stands behind one before step {earlier}, in a session of {steps} steps"
    if marker.kind == "branch":
        back = marker.back_to
        if back is None or back >= marker.index:
            return f"it goes back to step {back}, which is not before it"
        if back < 0 and opening is None:
            return "it goes back to an opening that the session does not have"
    return None


def _range(rows: NDArray[np.int32]) -> str:
    """(n, width) -> what they are."""
    return f"{rows.shape[1]} tokens" + (f" up to {rows.max()}" if rows.size else "")
