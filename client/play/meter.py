"""The live meter: do the pressed actions come out of the pictures?

Beside the game, an inverse dynamics model (`worldmodel.readers.idm`) reads from the frames alone what was done; the
panel shows how often what was pressed is what it reads. What was not pressed does not count, nor what it cannot tell,
which the panel names. It reads in a thread of its own, at a low priority; when it cannot keep up, steps are left out:
play never waits for it. It knows pictures and readings; nothing of pygame.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from client.play.game import Picture
from client.play.panel import Lines
from client.play.runner import WorldFactory
from worldmodel.tokenizers.action import BUTTON_SLOTS, CAMERA_CENTRE, camera_to_bin
from worldmodel.types import BUTTONS, HOTBAR, Action, Frame, World, WorldModelError

if TYPE_CHECKING:
    from worldmodel.readers.reader import ActionReader

STEPS = 100  # the last ones that are counted: ten seconds of play
CHUNK = 8  # steps that are read at once
WAITING = 4 * CHUNK  # steps that may wait to be read; the oldest are left out
NEAR = 1  # camera bins by which a reading may be off
NICENESS = 10

GROUPS: dict[str, tuple[str, ...]] = {
    "move": ("forward", "back", "left", "right"),
    "jump/sneak/sprint": ("jump", "sneak", "sprint"),
    "attack/use": ("attack", "use"),
    "hotbar": tuple(f"hotbar.{slot}" for slot in range(1, 10)),
}
CAMERA = "camera"


def load_shipped() -> ActionReader:
    """See shipped_reader; PyTorch is loaded when it is called."""
    from worldmodel.readers.reader import shipped_reader

    return shipped_reader()


@dataclass(frozen=True, slots=True)
class Compared:
    """One step. used: the groups of which something was pressed; failed: those of which not all of that was read;
    missed: what was not ("jump not seen")."""

    used: frozenset[str]
    failed: frozenset[str]
    missed: tuple[str, ...]


def compare(
    action: Action, held: frozenset[str], bins: Sequence[int], tells: frozenset[str] = frozenset(BUTTONS)
) -> Compared:
    """A step's pressed action with what was read. held: buttons read; bins: camera bins [pitch, yaw] read; tells: the
    buttons that count.

    Of buttons that exclude each other, two pressed at once are none: the model was told so too.
    """
    told = set(action.buttons)
    for slot in BUTTON_SLOTS:
        if len(told & set(slot)) > 1:
            told -= set(slot)
    used, failed, missed = set(), set(), []
    for group, buttons in GROUPS.items():
        for button in buttons:
            if button not in told or button not in tells:
                continue
            used.add(group)
            if button not in held:
                failed.add(group)
                missed.append(f"{button} not seen")
    for axis, degrees, found in zip(("pitch", "yaw"), (action.pitch, action.yaw), bins, strict=True):
        turned = camera_to_bin(degrees)
        if turned == CAMERA_CENTRE:
            continue
        used.add(CAMERA)
        if abs(turned - found) > NEAR:
            failed.add(CAMERA)
            missed.append(f"{axis} not seen" if found == CAMERA_CENTRE else f"{axis} off")
    return Compared(frozenset(used), frozenset(failed), tuple(missed))


def summary(steps: Sequence[Compared], tells: frozenset[str] = frozenset(BUTTONS)) -> Lines:
    """The panel's rows on some steps: per group, the share of the steps that used it in which it was read as pressed;
    then what fails most often, and what does not count because the reader cannot tell it."""
    shares: list[tuple[str, str]] = []
    for group, buttons in (*GROUPS.items(), (CAMERA, ())):
        counted = [button for button in buttons if button in tells]
        if buttons and not counted:
            continue
        uses = [step for step in steps if group in step.used]
        good = sum(group not in step.failed for step in uses)
        label = group if len(counted) == len(buttons) else "/".join(counted)
        shares.append((label, f"{100 * good / len(uses):.0f}% of {len(uses)}" if uses else "-"))
    worst = Counter(name for step in steps for name in step.missed).most_common(3)
    fails = ", ".join(f"{name} {times}x" for name, times in worst) or "-"
    rows = ((("meter, steps read", str(len(steps))), *shares[:2]), tuple(shares[2:]), (("fails", fails),))
    untold = _untold(tells)
    return (*rows, (("its reader cannot tell", ", ".join(untold)),)) if untold else rows


def _untold(tells: frozenset[str]) -> list[str]:
    """What of the groups does not count; the hotbar's keys are one."""
    names = (
        "hotbar" if button in HOTBAR else button
        for buttons in GROUPS.values()
        for button in buttons
        if button not in tells
    )
    return list(dict.fromkeys(names))


class Meter:
    """Reads beside the game. load: makes the reader, once, in the thread that makes the world; steps: how many of the
    last ones count."""

    def __init__(self, load: Callable[[], ActionReader] = load_shipped, steps: int = STEPS) -> None:
        self._load = load
        self._reader: ActionReader | None = None
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Frame, Action]] = deque()  # each picture with the action that led to it
        self._new = 0  # of the waiting ones, how many have led to no reading yet
        self._last: Picture | None = None
        self._done: deque[Compared] = deque(maxlen=steps)
        self._over = False
        self.skipped = 0
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)

    def beside(self, factory: WorldFactory) -> WorldFactory:
        """The same world, once the reader is there. WorldModelError if the reader reads frames of another size."""

        def make(stage: Callable[[str], None]) -> World:
            stage("loading the meter")
            reader = self._load()
            world = factory(stage)
            if reader.size is not None and reader.size != world.frame_shape:
                found, read = ("x".join(map(str, reversed(shape))) for shape in (world.frame_shape, reader.size))
                world.close()
                raise WorldModelError(f"--meter reads frames of {read}, and those of {world.name} are {found}")
            self._reader = reader
            self._thread.start()
            return world

        return make

    def see(self, picture: Picture | None) -> None:
        """Every picture of the game, in order. Returns at once."""
        if picture is None or (self._last is not None and picture.frame is self._last.frame):
            return  # the same picture with other facts around it
        with self._changed:
            if self._last is None or picture.cut or picture.index != self._last.index + 1:
                self._waiting.clear()  # what lies on both sides of a cut is no step
                self._new = 0
            else:
                self._new += 1
            self._last = picture
            self._waiting.append((picture.frame, picture.action))
            self._forget()
            self._changed.notify()

    def lines(self) -> Lines:
        """The panel's rows."""
        with self._changed:
            if self.error is not None:
                return ((("meter", f"stopped: {self.error}"),),)
            return summary(tuple(self._done), self._reader.tells if self._reader is not None else frozenset(BUTTONS))

    def stop(self, timeout: float) -> None:
        """Ends the thread, waiting `timeout` seconds at most for a reading in progress."""
        with self._changed:
            self._over = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _forget(self) -> None:
        """Drops the pictures that no reading needs, and steps that have waited too long."""
        reader = self._reader
        assert reader is not None, "pictures come from a world, and the reader is there before it"
        most = WAITING + reader.around
        if self._new > most:
            self.skipped += self._new - most
            self._new = most
        while len(self._waiting) > reader.around + 1 + self._new:
            self._waiting.popleft()

    def _run(self) -> None:
        if sys.platform == "linux":  # there, a thread has a priority of its own, and its helpers inherit it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        reader = self._reader
        assert reader is not None, "started with a reader"
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._over or self._new >= CHUNK + reader.around)
                if self._over:
                    return
                pictures = list(self._waiting)
                first = len(pictures) - 1 - self._new  # the first step that is not read yet
                ripe = self._new - reader.around
                self._new = reader.around
                self._forget()
            try:
                found = reader.read(np.stack([frame for frame, _ in pictures]))
                held, bins = found.held, found.bins
            except Exception as error:  # shown in the panel: play goes on without the meter
                with self._changed:
                    self.error = error
                return
            steps = [
                compare(
                    pictures[step + 1][1],
                    frozenset(name for name, down in zip(BUTTONS, held[step], strict=True) if down),
                    bins[step].tolist(),
                    reader.tells,
                )
                for step in range(first, first + ripe)
            ]
            with self._changed:
                self._done.extend(steps)
