"""Plays a session's actions again in a neural world, and compares the tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from client.play.recording import context_of
from recordings.opening import Opening, SamplerSettings
from recordings.reader import Session
from worldmodel.types import Action, Step, Tokens, WorldModelError

if TYPE_CHECKING:
    from kernels.sampling import Sampler
    from worldmodel.types import StartScene
    from worldmodel.worlds.neural import NeuralWorld

IMPORTED = "import"  # the header's engine of a session that no model has made (see client/sessions/importing.py)


def context_at(session: Session, step: int, encode: Callable[[Action], Tokens], window: int) -> StartScene:
    """The opening from which play goes on after step `step` of a session. encode: the action tokenizer's."""
    path = session.path_to(step, window)
    frames: list[Tokens] = []
    actions: list[Tokens] = []
    if len(path) < window:
        opening = known(session.opening_of(path[0].index))
        frames, actions = list(opening.tokens), list(opening.actions)
    for record in path:
        if record.tokens is None:
            raise WorldModelError(f"step {record.index} of the session has no tokens: it is not of a neural world")
        frames.append(record.tokens)
        actions.append(encode(record.action))
    return context_of(frames, actions, window)


def known(opening: Opening | None) -> Opening:
    """WorldModelError if the session does not have it."""
    if opening is None:
        raise WorldModelError("the session does not say what it started from")
    return opening


def check_weights(session: Session, world: NeuralWorld) -> None:
    """WorldModelError if the session was played on other weights: its tokens would mean something else."""
    if session.header.weights != world.weights:
        raise WorldModelError(
            f"the session was played on weights {session.header.weights[:12]}, {world.folder} has "
            f"{world.weights[:12]}: give the checkpoint that it was played on with --world"
        )


def last_stretch(session: Session) -> Session:
    """The steps that lead to the last one, from the last reset on, as a session of its own without branches."""
    path = session.path_to(len(session.steps) - 1)
    first = path[0].index
    header = replace(session.header, opening=session.opening_of(first), seed=session.seed_of(first))
    steps = tuple(replace(record, index=index) for index, record in enumerate(path))
    return Session(header, steps, (), 0, session.ended)


def sampler_from(settings: SamplerSettings) -> Sampler:
    """ValueError for settings out of range."""
    from kernels.sampling import Sampler

    return Sampler(**{field.name: getattr(settings, field.name) for field in fields(Sampler)})


def simulate(session: Session, world: NeuralWorld) -> Iterator[Step]:
    """What the world makes of each of the session's actions, from its starts, branches, seeds and settings."""
    from worldmodel.types import StartScene

    header = session.header
    world.sampler = sampler_from(header.sampler)
    markers = sorted(session.markers, key=lambda marker: marker.index)
    # What the next step starts from, where it is not the step before.
    opening, branch, pending = header.opening, None, True
    seed = header.seed
    for record in session.steps:
        while markers and markers[0].index <= record.index:
            marker = markers.pop(0)
            if marker.sampler is not None:
                world.sampler = sampler_from(marker.sampler)
            if marker.kind == "reset":
                opening, branch, pending = marker.opening, None, True
                seed = marker.seed or 0
            elif marker.kind == "branch":
                branch, pending = marker.back_to, True
        if pending:
            if branch is not None and branch >= 0:
                scene = context_at(session, branch, world.actions.encode, world.window)
            else:
                scene = StartScene(known(opening).tokens, known(opening).actions)
            world.open(scene, seed, record.frame)
            pending = False
        yield world.step(record.action)


@dataclass(frozen=True, slots=True)
class Verification:
    """steps: how many were compared; equal: of them, with all tokens equal; tokens_equal: share of equal tokens; first:
    (step, place) of the first difference."""

    steps: int
    equal: int
    tokens_equal: float
    first: tuple[int, int] | None


def verify(session: Session, world: NeuralWorld, progress: Callable[[], object] = lambda: None) -> Verification:
    """Simulates the session and compares the tokens. WorldModelError if the weights differ or no model made it."""
    if session.header.engine == IMPORTED:
        raise WorldModelError("no model made this recording (it was imported): compare it with --against CHECKPOINT")
    check_weights(session, world)
    if any(settings.former for settings in (session.header.sampler, *(m.sampler for m in session.markers)) if settings):
        raise WorldModelError(
            "the session was drawn by rules of guidance that are no more (one for the mouse buttons, others for moves, "
            "walks and sprints): it can be watched, exported and gone on from, but not verified"
        )
    equal, tokens_equal, tokens_all = 0, 0, 0
    first: tuple[int, int] | None = None
    for record, step in zip(session.steps, simulate(session, world), strict=True):
        made = step.tokens
        assert made is not None, "a neural world has tokens"
        if record.tokens is None or record.tokens.shape != made.shape:
            raise WorldModelError(f"step {record.index} of the session has no tokens that fit this world")
        same = made == record.tokens
        tokens_equal += int(same.sum())
        tokens_all += len(same)
        equal += bool(same.all())
        if first is None and not same.all():
            first = (record.index, int(np.flatnonzero(~same)[0]))
        progress()
    return Verification(len(session.steps), equal, tokens_equal / max(1, tokens_all), first)
