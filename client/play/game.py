"""A world with its start and seed: `Game.advance` is the one stepping function of the window and of headless runs.

It knows worlds and actions; nothing of threads, clocks that pace, or pygame.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from client.play.pictures import load_picture
from client.play.recording import Recordable
from worldmodel.types import (
    NO_ACTION,
    Action,
    Frame,
    Neural,
    Rewindable,
    Seekable,
    Status,
    Step,
    Tokens,
    World,
    WorldModelError,
)

if TYPE_CHECKING:
    from worldmodel.types import StartScene


class Moment(Protocol):
    """A moment that play can go on from, kept somewhere else."""

    def open(self, world: Neural, seed: int) -> Step:
        """Opens it in a world. WorldModelError if it is not one of that world's."""
        ...


Start = int | Path | Moment
"""A start scene's number, a picture file (or clip) of the user's own, or a moment of a recording."""
CLIP = ".mp4"


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame and what was true when it was made.

    index: steps since the reset (0: the opening); sampled_at: when its input was read (None for an opening), and
    made_at: when the frame was ready, in seconds of `time.monotonic`; start: scene number, or None for a picture of
    the user's own; status: what the world told with it; tokens: its image tokens, if it has any.
    """

    frame: Frame
    index: int
    action: Action
    sampled_at: float | None
    made_at: float
    world: str
    start: int | None
    starts: int
    seed: int
    status: Status
    tokens: Tokens | None = None

    @property
    def cut(self) -> bool:
        """Not the result of a step: an opening, or a moment gone back to."""
        return self.sampled_at is None


class Game:
    """A world with its start and seed. WorldModelError if the world has no such start scene."""

    def __init__(self, world: World, start: Start = 0, seed: int = 0) -> None:
        if isinstance(start, int) and 0 < world.starts <= start:
            raise WorldModelError(
                f"there is no start scene {start}: {world.name} has {world.starts}, numbered 0 to {world.starts - 1}"
            )
        self.world = world
        self.start = start
        self.seed = seed
        self._scene: StartScene | None = None  # the user's picture, encoded once
        self._index = 0

    def restart(self) -> Picture:
        """Back to the opening of the chosen start scene."""
        if isinstance(self.start, int):
            step = self.world.reset(self.start, self.seed)
        else:
            world = self._neural("use --start with a scene's number")
            if not isinstance(self.start, Path):
                step = self.start.open(world, self.seed)
            else:
                if self._scene is None:
                    self._scene = self._opening(world, self.start)
                step = world.open(self._scene, self.seed)
        self._index = 0
        return self._picture(step, NO_ACTION, None)

    def advance(self, action: Action, sampled_at: float) -> Picture:
        """One step: the game loop's only stepping function."""
        step = self.world.step(action)
        self._index += 1
        return self._picture(step, action, sampled_at)

    def _neural(self, otherwise: str) -> Neural:
        """WorldModelError if the world cannot start from a picture."""
        if not isinstance(self.world, Neural):
            raise WorldModelError(f"{self.world.name} cannot start from a picture; {otherwise}")
        return self.world

    def _opening(self, world: Neural, start: Path) -> StartScene:
        """A picture, or a video with its actions beside it, as an opening."""
        if start.suffix == CLIP:
            return world.scene_of_clip(start)
        return world.scene_of(load_picture(start, self.world.frame_shape))

    def peek(self, back: int) -> Picture:
        """The picture `back` steps ago, while rewinding."""
        assert isinstance(self.world, Rewindable), "asked before"
        return self._picture(self.world.peek(back), NO_ACTION, None, self._index - back)

    def rewind(self, back: int) -> Picture:
        """Goes `back` steps back: play goes on from there."""
        assert isinstance(self.world, Rewindable), "asked before"
        step = self.world.rewind(back)
        self._index = max(0, self._index - back)
        return self._picture(step, NO_ACTION, None)

    def seek(self, position: int) -> Picture:
        """A recording's picture after `position` steps, or the nearest that it can show."""
        assert isinstance(self.world, Seekable), "only a recording has a timeline"
        step = self.world.seek(position)
        self._index = self.world.position
        return self._picture(step, NO_ACTION, None)

    def anchor(self, picture: Path | None = None) -> Picture:
        """Goes on from a picture file, or from the last bookmark's. WorldModelError if the file is no picture."""
        assert isinstance(self.world, Recordable), "asked before"
        scene = self._opening(self._neural(""), picture) if picture is not None else None
        return self._picture(self.world.anchor(scene), NO_ACTION, None)

    def move_start(self, by: int) -> Picture:
        """The next (1) or previous (-1) start scene, in a circle; from a picture, the first or the last."""
        count = max(1, self.world.starts)
        self.start = (self.start + by) % count if isinstance(self.start, int) else (0 if by > 0 else count - 1)
        return self.restart()

    def begin(self, start: int | None, seed: int | None) -> Picture:
        """Begins again with another start scene or seed (None: the present one). The scene is taken modulo theirs."""
        if start is not None:
            self.start = start % max(1, self.world.starts)
        if seed is not None:
            self.seed = seed
        return self.restart()

    def _picture(self, step: Step, action: Action, sampled_at: float | None, index: int | None = None) -> Picture:
        return Picture(
            frame=step.frame,
            index=self._index if index is None else max(0, index),
            action=action if step.action is None else step.action,
            sampled_at=sampled_at,
            made_at=time.monotonic(),
            world=self.world.name,
            start=self.start if isinstance(self.start, int) else None,
            starts=self.world.starts,
            seed=self.seed,
            status=step.status,
            tokens=step.tokens,
        )


FACTS = ("engine", "device", "checkpoint", "weights", "tokens_sha256")


def facts_of(world: World) -> dict[str, Any]:
    """What a report says about a world; None for what it does not have."""
    facts = world.facts() if isinstance(world, Neural) else {}
    folder = facts.get("checkpoint")
    told = facts | {"checkpoint": _from_here(folder) if folder is not None else None}
    return {"world": world.name, **{name: told.get(name) for name in FACTS}}


def _from_here(folder: Path) -> str:
    """Without the way to the current folder, where it lies below: a report that is kept does not name a machine's."""
    whole, here = folder.resolve(), Path.cwd().resolve()
    return str(whole.relative_to(here) if whole.is_relative_to(here) else folder)
