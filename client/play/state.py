"""What the worker thread tells the main one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from client.play.game import Picture
from worldmodel.types import Action


@dataclass(frozen=True, slots=True)
class State:
    """What the main thread sees of the worker. stage: what is being done before the first picture; steps: made in all,
    over every restart; dropped: ticks that were; sought: number of the `seek` that was carried out last; told: see
    Neural; facts: from `facts_of`, at the end; notice: number and text of the last line for the player."""

    stage: str = "starting"
    picture: Picture | None = None
    steps: int = 0
    dropped: int = 0
    sought: int = 0
    tick_rate: float | None = None
    told: Callable[[Action], Action] | None = None
    error: BaseException | None = None
    finished: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    notice: tuple[int, str] = (0, "")
