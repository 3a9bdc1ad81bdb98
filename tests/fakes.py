"""A world without a model: a pattern that moves with the actions. Deterministic, and slow or broken on demand."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import replace

import numpy as np

from client.sessions.playback import Playback
from kernels.sampling import Sampler
from worldmodel.data.hud import HOTBAR_LINES, shown_slot
from worldmodel.types import Action, Frame, Status, Step


class PlainWorld:
    """A checkered ground under a sky: the camera and the walk move it, a flag shows where the start scene is.

    step_s: seconds that a step takes; fail_at: the step that raises RuntimeError. `actions` keeps every action since
    the last reset, `resets` every (start, seed).
    """

    def __init__(
        self,
        frame_shape: tuple[int, int] = (112, 192),
        starts: int = 3,
        tick_rate: float = 10.0,
        step_s: float = 0.0,
        fail_at: int | None = None,
    ) -> None:
        self.name = "fake"
        self.frame_shape, self.starts, self.tick_rate = frame_shape, starts, tick_rate
        self.step_s, self.fail_at = step_s, fail_at
        self.actions: list[Action] = []
        self.resets: list[tuple[int, int]] = []
        self.steps = 0
        self.closed = threading.Event()
        self._digest = hashlib.sha256()

    def reset(self, start: int = 0, seed: int = 0) -> Step:
        self._x, self._z, self._yaw, self._pitch, self._hue = 0.0, 0.0, 0.0, 0.0, start
        self.actions.clear()
        self.resets.append((start, seed))
        self._digest = hashlib.sha256(f"{start} {seed}".encode())
        return Step(self._draw(), status=self._status())

    def step(self, action: Action) -> Step:
        # In short sleeps: a closed world answers at once, as a real game does whose process has ended.
        until = time.monotonic() + self.step_s
        while time.monotonic() < until:
            if self.closed.wait(min(0.02, self.step_s)):
                raise RuntimeError("the world is closed")
        self.steps += 1
        if self.steps == self.fail_at:
            raise RuntimeError("the ground has gone")
        held = action.buttons
        self._x += 0.5 * (("right" in held) - ("left" in held))
        self._z += 0.5 * (("forward" in held) - ("back" in held)) * (2 if "sprint" in held else 1)
        self._yaw += action.yaw
        self._pitch = max(-60.0, min(60.0, self._pitch + action.pitch))
        self.actions.append(action)
        self._digest.update(repr((sorted(held), action.pitch, action.yaw)).encode())
        return Step(self._draw(), timings={"decode": self.step_s}, status=self._status())

    def _status(self) -> Status:
        return Status()

    def close(self) -> None:
        self.closed.set()

    def _draw(self) -> Frame:
        """uint8 (H, W, 3)."""
        H, W = self.frame_shape
        rows = np.arange(H, dtype=np.float32)[:, None] - H * 0.45 + self._pitch * H / 60
        columns = np.arange(W, dtype=np.float32)[None] - W / 2
        depth = H * 1.2 / np.maximum(rows, 1.0)
        across = columns * depth / W * 2
        angle = np.deg2rad(self._yaw)
        east = across * np.cos(angle) + depth * np.sin(angle) + self._x
        north = depth * np.cos(angle) - across * np.sin(angle) + self._z
        checks = ((np.floor(east / 2) + np.floor(north / 2)) % 2)[..., None]
        fog = np.clip(depth / 60, 0, 1)[..., None]
        green = np.array([[70, 140, 60], [140, 110, 70], [90, 110, 150]], np.float32)[self._hue % 3]
        sky = np.array([150, 190, 235], np.float32) - np.clip(-rows, 0, H)[..., None] * 0.6
        ground = green * (0.8 + 0.35 * checks) * (1 - fog) + np.array([190, 205, 220]) * fog
        return np.ascontiguousarray(
            np.where(rows[..., None] > 0, ground, sky + 0 * ground).clip(0, 255).astype(np.uint8)
        )


class FakeWorld(PlainWorld):
    """With what a neural world has: a sampler, a context of six frames, facts."""

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self.sampler = Sampler()

    def _status(self) -> Status:
        return Status(context=(min(6, 1 + len(self.actions)), 6), sampler=self.sampler)

    def told(self, action: Action) -> Action:
        return action

    def facts(self) -> dict[str, object]:
        return {"engine": "fake", "device": "cpu", "tokens_sha256": self._digest.hexdigest()}

    def scene_of(self, picture: Frame) -> None:
        raise AssertionError("a test for a real one")

    scene_of_clip = open = scene_of


class HotbarWorld(FakeWorld):
    """A FakeWorld with a hotbar, as Luanti draws it; start scene i opens on slot `opens[i]` (1 to 9). It can be rewound
    and gone on from a bookmark. late: steps after which a chosen slot is shown."""

    recording = None

    def __init__(self, opens: tuple[int, ...] = (6, 3, 9), late: int = 0, **options: float) -> None:
        super().__init__(starts=len(opens), **options)  # type: ignore[arg-type]
        self.opens, self.late = opens, late
        self._slots = [1]  # after each step since the reset

    @property
    def length(self) -> int:
        return len(self._slots) - 1

    def reset(self, start: int = 0, seed: int = 0) -> Step:
        self._slots = [self.opens[start]]
        return super().reset(start, seed)

    def step(self, action: Action) -> Step:
        chosen = [int(name.removeprefix("hotbar.")) for name in action.buttons if name.startswith("hotbar.")]
        self._slots.append(chosen[0] if len(chosen) == 1 else self._slots[-1])  # two at once are none
        return super().step(action)

    def peek(self, back: int) -> Step:
        kept, self._slots = self._slots, self._slots[: len(self._slots) - back]
        step = Step(self._draw(), status=self._status())
        self._slots = kept
        return step

    def rewind(self, back: int) -> Step:
        self._slots = self._slots[: len(self._slots) - back]
        return Step(self._draw(), status=self._status())

    def bookmark(self) -> None:
        self._mark = self._slots[-1]

    def anchor(self, scene: object = None) -> Step:
        self._slots = [self._mark]
        return Step(self._draw(), status=self._status())

    def record(self, path: object) -> None:
        raise AssertionError("it is not recorded")

    def finish(self) -> None:
        pass

    def news(self) -> None:
        return None

    def _status(self) -> Status:
        slot = shown_slot(self._draw(), "luanti")
        return replace(super()._status(), slot=None if slot is None else slot + 1)

    def _draw(self) -> Frame:
        frame = super()._draw()
        H, W = self.frame_shape
        line = HOTBAR_LINES["luanti"]
        rows = slice(round(line.top * H), round(line.bottom * H))
        shown = self._slots[max(0, len(self._slots) - 1 - self.late)]
        for slot in range(line.slots):
            left = round((line.left + slot * line.pitch) * W)
            frame[rows, left : left + round(line.pitch * W)] = 200 if slot + 1 == shown else 90
        return frame


class FakePlayback(Playback):
    """A recording without a model: its picture at a position is that of a FakeWorld. `shown` keeps the positions."""

    def __init__(self, steps: int, tick_rate: float = 10.0) -> None:
        world = FakeWorld()
        buttons = ("forward", "left", "jump", "attack")
        actions = [Action(frozenset({buttons[i % 4]}), 0.0, i % 7 - 3.0) for i in range(steps)]
        super().__init__("fake replay", world.frame_shape, tick_rate, actions)
        self._pictures = [world.reset().frame, *(world.step(action).frame for action in actions)]
        self.shown: list[int] = []

    def show(self, position: int) -> Step:
        self.shown.append(position)
        return Step(self._pictures[position])
