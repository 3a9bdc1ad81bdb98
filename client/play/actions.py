"""Where actions come from when nobody plays: a list of them, or idle (the random player: worldmodel/data)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from client.play.runner import Source
from worldmodel.types import NO_ACTION, Action


def idle_actions() -> Iterator[Action]:
    while True:
        yield NO_ACTION


def source_of(actions: Iterable[Action]) -> Source:
    """Actions one after the other, then None."""
    iterator = iter(actions)
    return lambda: next(iterator, None)
