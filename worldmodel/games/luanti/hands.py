"""The scripted player's hands and memory: smooth camera motion towards targets or by exact amounts, hotbar changes,
and the small parts that habits are made of. What is done with them is in habits_*.py and reflexes.py, when in
player.py."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from worldmodel.games.luanti.controls import HOTBAR_SLOTS, IDLE, Event, GameState
from worldmodel.types import DEGREES_PER_PIXEL

Habit = Iterator[frozenset[str]]

MAX_PITCH = 88.0
MAX_PIXELS = 120  # of mouse motion a tick: 360 degrees a second
SWING_PIXELS = (20, 70)  # of mouse motion a tick, on average, in a turn by an exact amount
DARK = 7  # light at the head below this: under ground
EYE_HEIGHT = 1.6  # nodes
BLOCKED = 10  # ticks of walking against something: more than a jump onto a block takes

NOTHING: frozenset[str] = frozenset()
FORWARD = frozenset({"forward"})
USE = frozenset({"use"})
ATTACK = frozenset({"attack"})


@dataclass(frozen=True, slots=True)
class PlayerOptions:
    """wheel: share of hotbar changes made with the wheel; drop: chance a tick of throwing an item away; steady: share
    of the habits played with a hand that does not tremble: the view stands still but where it is turned on purpose;
    deliberate: share of the habits that are one deed out of a standstill, and then a look at what has become of it.

    A trembling hand alone teaches a model that a picture that stands still goes on standing still, whatever is pressed.
    """

    wheel: float = 0.2
    drop: float = 0.0
    steady: float = 0.5
    deliberate: float = 0.08

    def __post_init__(self) -> None:
        for name in ("wheel", "drop", "steady", "deliberate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share from 0 to 1, got {getattr(self, name)}")


class Hands:
    """What a habit steers: camera targets, hotbar, and what has been seen of the game."""

    def __init__(self, seed: int, options: PlayerOptions) -> None:
        self._random = random.Random(seed)
        self._options = options
        self.yaw = self.pitch = 0.0  # degrees, from the motion sent so far
        self._before = IDLE
        self._state = GameState()
        # camera
        self._yaw_target: float | None = None  # without one, the view turns by _turn
        self._pitch_target = 0.0
        self._turn = 0.0  # pixels a tick
        self._tremor = 1.0  # pixels
        self._is_steady = False
        self._speed_x = self._speed_y = 0.0
        self._motion: tuple[int, int] | None = None  # pixels of this tick, whatever the targets
        # hotbar
        self._slot = 0
        self._wanted_slot: int | None = None
        self._by_wheel = False
        self._key_steps = 0
        self._key = 0
        self._presses: Counter[int] = Counter()
        # what has been seen
        self._jump_ticks = 0
        self._still = self._wet_ticks = self._dark_ticks = self._walled_ticks = 0
        self._anchor, self._vain_ticks = (0.0, 0.0), 0  # ticks of walking against something, near one place
        self._last_place = (0.0, 0.0)
        self._dry_places: list[tuple[float, float]] = []
        self._landmark: Event | None = None
        self._dug = self._placed = 0

    def _camera(self) -> tuple[int, int]:
        """Mouse motion of this tick in pixels: smooth pursuit of the targets, with a tremor."""
        wish_x, tremor = self._turn, self._tremor
        if self._yaw_target is not None:
            wish_x = 0.3 * (self._yaw_target - self.yaw) / DEGREES_PER_PIXEL
            if abs(self._yaw_target - self.yaw) < 2:
                tremor *= 0.3
        wish_y = 0.3 * (self._pitch_target - self.pitch) / DEGREES_PER_PIXEL
        if self._is_steady:
            tremor = 0.0
        clamp = lambda speed: max(-MAX_PIXELS, min(MAX_PIXELS, speed))  # noqa: E731
        self._speed_x = 0.5 * self._speed_x + 0.5 * clamp(wish_x) + self._random.gauss(0, tremor)
        self._speed_y = 0.5 * self._speed_y + 0.5 * clamp(wish_y) + self._random.gauss(0, 0.4 * tremor)
        dx, dy = round(self._speed_x), round(self._speed_y)
        if self._motion is not None:
            (dx, dy), self._motion, self._speed_x, self._speed_y = self._motion, None, 0.0, 0.0
        if abs(self.pitch + dy * DEGREES_PER_PIXEL) > MAX_PITCH:
            dy, self._speed_y = 0, 0.0
        self.yaw += dx * DEGREES_PER_PIXEL
        self.pitch += dy * DEGREES_PER_PIXEL
        return dx, dy

    def _hotbar(self, buttons: set[str]) -> int:
        """Adds the number key of a wanted slot to `buttons`, or returns a click of the wheel towards it."""
        if self._key_steps > 0:  # only one key at a time
            self._key_steps -= 1
            buttons.add(f"hotbar.{self._key + 1}")
            return 0
        if self._wanted_slot is None or self._wanted_slot == self._slot:
            self._wanted_slot = None
            return 0
        if self._by_wheel:
            if self._before.wheel or self._random.random() < 0.3:
                return 0
            ahead = (self._wanted_slot - self._slot) % HOTBAR_SLOTS
            return -1 if ahead <= HOTBAR_SLOTS // 2 else 1
        self._key, self._wanted_slot = self._wanted_slot, None
        self._presses[self._key] += 1
        # And the present one. What is held longer shows no more: the slot changes once.
        self._key_steps = self._random.choice((0, 0, 1))
        buttons.add(f"hotbar.{self._key + 1}")
        return 0

    def _select(self, slot: int) -> None:
        self._wanted_slot = slot
        self._by_wheel = self._random.random() < self._options.wheel

    def _select_any(self, slots: Sequence[int] = range(HOTBAR_SLOTS)) -> None:
        """One of the slots whose keys were pressed least."""
        least = sorted(slots, key=lambda slot: (self._presses[slot], self._random.random()))
        self._select(self._random.choice([slot for slot in least if slot != self._slot][:3]))

    def _jump(self) -> None:
        self._jump_ticks = self._random.randint(3, 9)

    def _turn_to(self, yaw: float) -> None:
        """Turns the short way to an absolute yaw."""
        self._yaw_target = self.yaw + (yaw - self.yaw + 180) % 360 - 180

    def _turn_by(self, low: float, high: float) -> None:
        self._turn_to(self.yaw + self._random.choice((-1, 1)) * self._random.uniform(low, high))

    def _rest_view(self) -> None:
        """The view stays where it is."""
        self._turn, self._yaw_target, self._pitch_target = 0.0, None, self.pitch
        self._speed_x = self._speed_y = 0.0

    def _curve(self, spread: float) -> None:
        """A slow turn, of some pixels a tick; a steady hand goes straight on."""
        self._turn = 0.0 if self._is_steady else self._random.gauss(0, spread)

    def _look_at(self, x: float, y: float, z: float) -> None:
        """Turns towards a point."""
        self._turn_to(self._heading(x, z))
        height = self._state.y + EYE_HEIGHT - y
        self._pitch_target = math.degrees(math.atan2(height, max(0.5, self._distance(x, z))))

    def _heading(self, x: float, z: float) -> float:
        return math.degrees(math.atan2(x - self._state.x, z - self._state.z))

    def _distance(self, x: float, z: float) -> float:
        return math.hypot(x - self._state.x, z - self._state.z)

    def _walled_in(self) -> bool:
        return self._state.light < DARK or self._still > BLOCKED

    # Parts of habits

    def _hold(self, buttons: frozenset[str], ticks: int) -> Habit:
        for _ in range(ticks):
            yield buttons

    def _pause(self, low: int, high: int) -> Habit:
        return self._hold(NOTHING, self._random.randint(low, high))

    def _stand(self, low: int = 6, high: int = 14) -> Habit:
        """Until the picture rests, and a while longer."""
        self._rest_view()
        yield from self._pause(low, high)

    def _aim(self, buttons: frozenset[str] = NOTHING, most: int = 40) -> Habit:
        """Until the view is on its targets."""
        for _ in range(most):
            yaw_off = 0.0 if self._yaw_target is None else self._yaw_target - self.yaw
            if max(abs(yaw_off), abs(self._pitch_target - self.pitch)) < 2:
                return
            yield buttons

    def _sweep(self, dx: int, dy: int, ticks: int, buttons: frozenset[str] = NOTHING) -> Habit:
        """Exactly (dx, dy) pixels of mouse motion, at an even speed."""
        for tick in range(ticks):
            self._motion = _part(dx, tick, ticks), _part(dy, tick, ticks)
            yield buttons
        self._rest_view()

    def _swing(self, dx: int, dy: int) -> Habit:
        """Exactly (dx, dy) pixels of mouse motion, slow at both ends."""
        speed = self._random.uniform(*SWING_PIXELS)
        ticks = max(4, round(max(abs(dx), abs(dy)) / speed))
        done_x = done_y = 0
        for tick in range(1, ticks + 1):
            part = 0.5 - 0.5 * math.cos(math.pi * tick / ticks)
            self._motion = round(dx * part) - done_x, round(dy * part) - done_y
            done_x, done_y = round(dx * part), round(dy * part)
            yield NOTHING
        self._rest_view()

    def _click(self, button: frozenset[str]) -> Habit:
        """And long enough for the news of it."""
        yield from self._hold(button, self._random.choice((2, 4, 4)))
        yield from self._pause(4, 6)


def _part(whole: int, tick: int, ticks: int) -> int:
    """The part of `whole` that falls into one of `ticks` ticks."""
    return round(whole * (tick + 1) / ticks) - round(whole * tick / ticks)
