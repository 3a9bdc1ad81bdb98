"""A world with its start and seed: `Game.advance` is the one stepping function of the window and of headless runs.

It knows worlds and actions; nothing of threads, clocks that pace, or pygame.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.play.pictures import load_picture
from worldmodel.data.hud import shown_slot
from worldmodel.types import NO_ACTION, Action, Frame, Step, World, WorldModelError

if TYPE_CHECKING:
    from kernels.sampling import Sampler


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on from a recording, after step `step` (None: its last)."""

    file: Path
    step: int | None = None


Start = int | Path | Resume
"""A start scene's number, a picture file (or clip) of the user's own, or a moment of a recording."""
CLIP = ".mp4"


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame and what was true when it was made.

    index: steps since the reset (0: the opening); sampled_at: when its input was read (None for an opening), and
    made_at: when the frame was ready, in seconds of `time.monotonic`; start: scene number, or None for a picture of
    the user's own; context: frames in the context and at most, where the world has one; recording: what is recorded,
    or why it stopped; notes: label-value pairs that the world tells with the step; dropped: ticks dropped so far; slot:
    the selected hotbar slot, 1 to 9, where the world can tell.
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
    context: tuple[int, int] | None
    sampler: Sampler | None
    recording: str | None = None
    notes: tuple[tuple[str, str], ...] = ()
    dropped: int = 0
    slot: int | None = None

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
        self._scene: Any = None  # the user's picture, encoded once
        self._index = 0

    def restart(self) -> Picture:
        """Back to the opening of the chosen start scene."""
        if isinstance(self.start, int):
            step = self.world.reset(self.start, self.seed)
        elif isinstance(self.start, Resume):
            step = self._resume(self.start)
        else:
            world: Any = self.world  # only a neural world can start from a picture
            if not hasattr(world, "scene_of"):
                raise WorldModelError(f"{world.name} cannot start from a picture; use --start with a scene's number")
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

    @staticmethod
    def _opening(world: Any, start: Path) -> Any:
        """A picture, or a video with its actions beside it, as an opening."""
        if start.suffix == CLIP:
            return world.scene_of_clip(start)
        return world.scene_of(load_picture(start, world.frame_shape))

    def _resume(self, point: Resume) -> Step:
        from client.sessions.playback import tell_if_cut, usable
        from client.sessions.simulation import check_weights, context_at
        from recordings.reader import read_session

        world: Any = self.world
        session = read_session(point.file)
        check_weights(session, world)
        session = usable(session, point.file, world.model.config.image_tokenizer)
        tell_if_cut(session, point.file)
        at = len(session.steps) - 1 if point.step is None else point.step
        if not 0 <= at < len(session.steps):
            raise WorldModelError(f"{point.file} has no step {at}: it has {len(session.steps)}, numbered from 0")
        scene = context_at(session, at, world.actions.encode, world.window)
        return world.open(scene, self.seed, session.steps[at].frame + 1)

    def peek(self, back: int) -> Picture:
        """The picture `back` steps ago, while rewinding."""
        world: Any = self.world
        return self._picture(world.peek(back), NO_ACTION, None, self._index - back)

    def rewind(self, back: int) -> Picture:
        """Goes `back` steps back: play goes on from there."""
        world: Any = self.world
        step = world.rewind(back)
        self._index = max(0, self._index - back)
        return self._picture(step, NO_ACTION, None)

    def seek(self, position: int) -> Picture:
        """A recording's picture after `position` steps, or the nearest that it can show."""
        world: Any = self.world
        step = world.seek(position)
        self._index = world.position
        return self._picture(step, NO_ACTION, None)

    def anchor(self, picture: Path | None = None) -> Picture:
        """Goes on from a picture file, or from the last bookmark's. WorldModelError if the file is no picture."""
        world: Any = self.world
        scene = world.scene_of(load_picture(picture, world.frame_shape)) if picture is not None else None
        return self._picture(world.anchor(scene), NO_ACTION, None)

    def move_start(self, by: int) -> Picture:
        """The next (1) or previous (-1) start scene, in a circle; from a picture, the first or the last."""
        count = max(1, self.world.starts)
        self.start = (self.start + by) % count if isinstance(self.start, int) else (0 if by > 0 else count - 1)
        return self.restart()

    def _picture(self, step: Step, action: Action, sampled_at: float | None, index: int | None = None) -> Picture:
        world = self.world
        window = getattr(world, "window", None)
        return Picture(
            frame=step.frame,
            index=self._index if index is None else max(0, index),
            action=step.info.get("action", action),  # a recording knows what led to its picture
            sampled_at=sampled_at,
            made_at=time.monotonic(),
            world=world.name,
            start=self.start if isinstance(self.start, int) else None,
            starts=world.starts,
            seed=self.seed,
            context=(int(getattr(world, "filled", 0)), int(window)) if window is not None else None,
            sampler=getattr(world, "sampler", None),
            recording=getattr(world, "recording", None),
            notes=step.info.get("notes", ()),
            slot=slot_of(world, step),
        )


def slot_of(world: World, step: Step) -> int | None:
    """The hotbar slot, 1 to 9, that is selected in the world: a real game says it, of another it is read off the
    picture. None for a world or a picture without a hotbar."""
    state, hud = step.info.get("state"), getattr(world, "hud", None)
    if state is not None:
        return state.slot + 1
    slot = shown_slot(step.frame, hud) if hud is not None else None
    return None if slot is None else slot + 1


def facts_of(world: World) -> dict[str, Any]:
    """What a report says about a world; None for what it does not have."""
    device, folder = getattr(world, "device", None), getattr(world, "folder", None)
    return {
        "world": world.name,
        "engine": getattr(world, "engine", None),
        "device": str(device) if device is not None else None,
        "checkpoint": _from_here(folder) if folder is not None else None,
        "weights": getattr(world, "weights", None),
        "tokens_sha256": getattr(world, "tokens_sha256", None),
    }


def _from_here(folder: Path) -> str:
    """Without the way to the current folder, where it lies below: a report that is kept does not name a machine's."""
    whole, here = folder.resolve(), Path.cwd().resolve()
    return str(whole.relative_to(here) if whole.is_relative_to(here) else folder)
