"""A scripted player with human habits, for recording training data: seeded, and testable without the game.

Each habit is a generator that yields the buttons (MineRL's names) held in one tick and steers the camera by setting
targets; Player adds camera motion, hotbar changes and reflexes. What a world model finds hard is played on purpose:
looking away from something just built and back, walking away and returning to it. Rare actions get their share.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from worldmodel.games.luanti.controls import (
    HOTBAR_SLOTS,
    IDLE,
    KEY_OF_BUTTON,
    MOUSE_OF_BUTTON,
    Controls,
    Event,
    GameState,
    next_slot,
)
from worldmodel.games.luanti.presets import BLOCK_SLOTS, TOOL_SLOTS
from worldmodel.types import DEGREES_PER_PIXEL

Habit = Iterator[frozenset[str]]

MAX_PITCH = 88.0
MAX_PIXELS = 120  # of mouse motion a tick: 360 degrees a second
EYE_HEIGHT = 1.6  # nodes
DARK = 7  # light at the head below this: under ground
NEAR, FAR = 4.0, 28.0  # nodes: close enough to look at a landmark, and too far to go back to it

NOTHING: frozenset[str] = frozenset()
SHOVEL = TOOL_SLOTS[1]
USE = frozenset({"use"})
ATTACK = frozenset({"attack"})
FORWARD = frozenset({"forward"})
FIDGETING = frozenset({"walk", "sprint", "back", "strafe", "hop", "sneak", "look", "idle"})  # changes slots in passing
WALKING = frozenset({"forward", "back", "left", "right"})


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
    deliberate: float = 0.2

    def __post_init__(self) -> None:
        for name in ("wheel", "drop", "steady", "deliberate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share from 0 to 1, got {getattr(self, name)}")


USUAL = PlayerOptions()


class Player:
    """`act` gives the controls of the next tick for what is known of the game. Equal seeds play equal games."""

    def __init__(self, seed: int, options: PlayerOptions = USUAL) -> None:
        self._random = random.Random(seed)
        self._options = options
        self.yaw = self.pitch = 0.0  # degrees, from the motion sent so far
        self.mode = "idle"
        self._habit: Habit = iter(())
        self._before = IDLE
        self._state = GameState()
        # camera
        self._yaw_target: float | None = None  # without one, the view turns by _turn
        self._pitch_target = 0.0
        self._turn = 0.0  # pixels a tick
        self._tremor = 1.0  # pixels
        self._is_steady = False
        self._speed_x = self._speed_y = 0.0
        self._sweep = 0  # pixels of this tick, at an even speed
        # hotbar
        self._slot = 0
        self._wanted_slot: int | None = None
        self._by_wheel = False
        self._key_ticks = 0
        self._key = 0
        # what has been seen
        self._jump_ticks = 0
        self._still = self._wet_ticks = self._dark_ticks = 0
        self._last_place = (0.0, 0.0, 0.0)
        self._dry_places: list[tuple[float, float]] = []
        self._landmark: Event | None = None
        self._dug = self._placed = 0
        self._modes: dict[str, tuple[float, Callable[[], Habit]]] = {
            "walk": (18, self._walk),
            "sprint": (12, self._sprint),
            "back": (16, self._back),
            "strafe": (16, self._strafe),
            "hop": (12, self._hop),
            "sneak": (14, self._sneak),
            "look": (9, self._look),
            "browse": (12, self._browse),
            "dig": (13, self._dig),
            "tunnel": (5, self._tunnel),
            "build": (22, self._build),
            "revisit": (7, self._revisit),
            "idle": (4, self._idle),
        }
        self._deeds: dict[str, tuple[float, Callable[[], Habit]]] = {
            "set off": (3, self._set_off),
            "place one": (5, self._place_one),
            "dig one": (5, self._dig_one),
        }

    def act(self, state: GameState) -> Controls:
        """The next tick's controls. state: the newest known, with the events since the last call."""
        self._observe(state)
        self._reflexes()
        if self.mode in FIDGETING and self._random.random() < 0.02:
            self._select(self._random.randrange(HOTBAR_SLOTS))
        held = next(self._habit, None)
        while held is None:
            held = self._new_habit()
        buttons = set(held)
        if self._jump_ticks > 0:
            self._jump_ticks -= 1
            buttons.add("jump")
        if self._still > 5 and "forward" in buttons:
            buttons.add("jump")
        if "sneak" in buttons:
            buttons -= {"jump", "sprint"}
        if self._random.random() < self._options.drop:
            buttons.add("drop")
        wheel = self._hotbar(buttons)
        dx, dy = self._camera()
        keys = frozenset(KEY_OF_BUTTON[button] for button in buttons if button in KEY_OF_BUTTON)
        mouse = frozenset(MOUSE_OF_BUTTON[button] for button in buttons if button in MOUSE_OF_BUTTON)
        controls = Controls(keys, mouse, dx, dy, wheel)
        self._slot = next_slot(self._slot, self._before, controls)
        self._before = controls
        self._walking = bool(buttons & WALKING)
        return controls

    # What the player sees and what interrupts it

    _walking = False

    def _observe(self, state: GameState) -> None:
        self._state = state
        place = (state.x, state.y, state.z)
        moved = math.dist(place, self._last_place)
        self._still = self._still + 1 if self._walking and moved < 0.03 else 0
        self._last_place = place
        self._wet_ticks = self._wet_ticks + 1 if state.wet else 0
        self._dark_ticks = self._dark_ticks + 1 if state.light < DARK else 0
        if not state.wet and (not self._dry_places or math.dist(self._dry_places[-1], (state.x, state.z)) > 2):
            self._dry_places = [*self._dry_places[-3:], (state.x, state.z)]
        for event in state.events:
            self._dug += event.kind == "dig"
            if event.kind == "place":
                self._placed += 1
                self._landmark = event

    def _reflexes(self) -> None:
        if self._wet_ticks > 8 and self.mode != "leave_water":
            self._begin("leave_water", self._leave_water())
        elif self._dark_ticks > 25 and self.mode != "climb_out":
            self._begin("climb_out", self._climb_out())
        elif self._still > 24:
            self._still = 0
            self._begin("turn_back", self._turn_back())

    def _begin(self, mode: str, habit: Habit) -> None:
        self.mode, self._habit = mode, habit
        self._yaw_target, self._turn, self._tremor = None, 0.0, 1.0
        self._is_steady = mode in self._deeds or self._random.random() < self._options.steady

    def _new_habit(self) -> frozenset[str] | None:
        modes = self._deeds if self._random.random() < self._options.deliberate else self._modes
        mode = self._random.choices(list(modes), [weight for weight, _ in modes.values()])[0]
        self._begin(mode, modes[mode][1]())
        return next(self._habit, None)

    # Hands

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
        if self._sweep:
            dx, self._sweep, self._speed_x = self._sweep, 0, 0.0
        if abs(self.pitch + dy * DEGREES_PER_PIXEL) > MAX_PITCH:
            dy, self._speed_y = 0, 0.0
        self.yaw += dx * DEGREES_PER_PIXEL
        self.pitch += dy * DEGREES_PER_PIXEL
        return dx, dy

    def _hotbar(self, buttons: set[str]) -> int:
        """Adds the number key of a wanted slot to `buttons`, or returns a click of the wheel towards it."""
        if self._key_ticks > 0:  # a key stays down for a few ticks, and only one at a time
            self._key_ticks -= 1
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
        self._key_ticks = self._random.choice((1, 1, 2, 3))  # and the present one
        buttons.add(f"hotbar.{self._key + 1}")
        return 0

    def _select(self, slot: int) -> None:
        self._wanted_slot = slot
        self._by_wheel = self._random.random() < self._options.wheel

    def _jump(self) -> None:
        self._jump_ticks = self._random.randint(3, 9)

    def _turn_to(self, yaw: float) -> None:
        """Turns the short way to an absolute yaw."""
        self._yaw_target = self.yaw + (yaw - self.yaw + 180) % 360 - 180

    def _turn_by(self, low: float, high: float) -> None:
        self._turn_to(self.yaw + self._random.choice((-1, 1)) * self._random.uniform(low, high))

    def _heading(self, x: float, z: float) -> float:
        return math.degrees(math.atan2(x - self._state.x, z - self._state.z))

    def _distance(self, x: float, z: float) -> float:
        return math.hypot(x - self._state.x, z - self._state.z)

    def _walled_in(self) -> bool:
        return self._state.light < DARK or self._still > 8

    # Parts of habits

    def _hold(self, buttons: frozenset[str], ticks: int) -> Habit:
        for _ in range(ticks):
            yield buttons

    def _pause(self, low: int, high: int) -> Habit:
        return self._hold(NOTHING, self._random.randint(low, high))

    def _aim(self, buttons: frozenset[str] = NOTHING, most: int = 40) -> Habit:
        """Until the view is on its targets."""
        for _ in range(most):
            yaw_off = 0.0 if self._yaw_target is None else self._yaw_target - self.yaw
            if max(abs(yaw_off), abs(self._pitch_target - self.pitch)) < 2:
                return
            yield buttons

    def _click(self, button: frozenset[str]) -> Habit:
        yield from self._hold(button, self._random.choice((2, 2, 3, 4)))
        yield from self._pause(1, 4)

    # Deeds: out of a standstill, with a steady hand

    def _stand(self, low: int = 6, high: int = 14) -> Habit:
        """Until the picture rests, and a while longer."""
        self._turn, self._yaw_target, self._pitch_target = 0.0, None, self.pitch
        yield from self._pause(low, high)

    def _glance(self) -> Habit:
        """Away at an even speed, and back by exactly as much."""
        way, speed = self._random.choice((-1, 1)), self._random.randint(10, 45)
        ticks = max(4, round(self._random.uniform(20, 80) / (speed * DEGREES_PER_PIXEL)))
        for sign in (1, -1):
            for _ in range(ticks):
                self._sweep = way * sign * speed
                yield NOTHING
            yield from self._pause(2, 6)

    def _set_off(self) -> Habit:
        """A few walks and jumps, straight on."""
        self._pitch_target = self._random.gauss(18, 12)
        yield from self._aim()
        for _ in range(self._random.randint(2, 5)):
            yield from self._stand()
            way = self._random.choice(("forward", "forward", "back", "left", "right", "jump"))
            extra = self._random.choice((None, None, None, "sneak", "sprint", "jump"))
            yield from self._hold(frozenset({way, extra} if extra else {way}), self._random.randint(6, 20))
        yield from self._stand()

    def _place_one(self) -> Habit:
        """A few blocks one at a time, each looked at."""
        self._select(self._random.choice(BLOCK_SLOTS))
        for _ in range(self._random.randint(2, 4)):
            if self._walled_in():
                return
            self._pitch_target = self._random.uniform(26, 56)
            self._turn_by(10, 70)
            yield from self._aim()
            yield from self._stand()
            yield from self._hold(USE, self._random.choice((2, 2, 3, 4)))
            yield from self._stand(4, 10)
            if self._random.random() < 0.4:
                yield from self._glance()
            yield from self._hold(frozenset({"back"}), self._random.choice((0, 0, 5, 8)))
            if self._random.random() < 0.3:
                self._select(self._random.choice(BLOCK_SLOTS))

    def _dig_one(self) -> Habit:
        """A few blocks one at a time, each hole looked at."""
        self._select(SHOVEL if self._random.random() < 0.7 else self._random.choice(TOOL_SLOTS))
        for _ in range(self._random.randint(2, 4)):
            self._pitch_target = self._random.uniform(28, 58)
            self._turn_by(10, 70)
            yield from self._aim()
            yield from self._stand()
            dug = self._dug
            for _ in range(36):
                if self._dug != dug:
                    break
                yield ATTACK
            yield from self._stand(4, 10)
            if self._random.random() < 0.4:
                yield from self._glance()

    # Habits: getting about

    def _walk(self) -> Habit:
        side = self._random.choice(("left", "right", None))
        self._pitch_target, self._tremor = self._random.gauss(7, 9), 1.5
        for tick in range(self._random.randint(25, 90)):
            if tick % 20 == 0:
                self._turn = self._random.gauss(0, 6)
            if self._random.random() < 0.012:
                self._jump()
            yield FORWARD | {side} if side and tick % 40 > 26 else FORWARD

    def _sprint(self) -> Habit:
        self._pitch_target, self._tremor = self._random.gauss(4, 6), 1.5
        self._turn = self._random.gauss(0, 4)
        for _ in range(self._random.randint(25, 70)):
            if self._random.random() < 0.02:
                self._jump()
            yield FORWARD | {"sprint"}

    def _back(self) -> Habit:
        self._pitch_target, self._turn = self._random.gauss(10, 10), self._random.gauss(0, 4)
        side = self._random.choice(("left", "right", None, None))
        yield from self._hold(frozenset({"back", side} if side else {"back"}), self._random.randint(10, 40))

    def _strafe(self) -> Habit:
        side = self._random.choice(("left", "right"))
        self._pitch_target = self._random.gauss(8, 10)
        # Half the time round something in front: the view turns against the step.
        circling = 9.0 * (1 if side == "left" else -1) if self._random.random() < 0.5 else 0.0
        self._turn = circling + self._random.gauss(0, 3)
        for tick in range(self._random.randint(12, 45)):
            if self._random.random() < 0.015:
                self._jump()
            yield frozenset({side, "forward"}) if tick % 25 > 18 else frozenset({side})

    def _hop(self) -> Habit:
        way = self._random.choice((FORWARD, FORWARD, NOTHING, frozenset({"forward", "sprint"})))
        self._pitch_target, self._turn = self._random.gauss(8, 8), self._random.gauss(0, 5)
        for _ in range(self._random.randint(2, 5)):
            yield from self._hold(way | {"jump"}, self._random.randint(3, 10))
            yield from self._hold(way, self._random.randint(3, 12))

    def _sneak(self) -> Habit:
        self._pitch_target, self._turn = self._random.gauss(18, 12), self._random.gauss(0, 4)
        for _ in range(self._random.randint(1, 3)):
            way = self._random.choice(("forward", "forward", "back", "left", "right", None))
            yield from self._hold(frozenset({"sneak", way} if way else {"sneak"}), self._random.randint(8, 30))

    # Habits: looking

    def _look(self) -> Habit:
        way = self._random.choice((NOTHING, NOTHING, FORWARD))
        if self._random.random() < 0.3:
            self._pitch_target = self._random.gauss(8, 15)
            self._turn = self._random.choice((-1, 1)) * self._random.uniform(6, 45)
            yield from self._hold(way, self._random.randint(15, 50))
            return
        for _ in range(self._random.randint(2, 5)):
            self._pitch_target = max(-60.0, min(70.0, self._random.gauss(8, 22)))
            self._turn_by(15, 140)
            yield from self._aim(way)
            yield from self._pause(3, 15)

    def _look_away_and_back(self) -> Habit:
        yaw, pitch = self.yaw, self.pitch
        self._turn_by(50, 180)
        away = self._yaw_target
        self._pitch_target = self._random.gauss(6, 14)
        yield from self._aim()
        yield from self._pause(4, 20)
        # The way back is the way there, or once round.
        self._yaw_target = yaw if away is None or self._random.random() < 0.8 else yaw + math.copysign(360, away - yaw)
        self._pitch_target = pitch
        yield from self._aim(most=60)
        yield from self._pause(6, 18)

    def _idle(self) -> Habit:
        self._tremor, self._pitch_target = 0.2, self.pitch
        yield from self._pause(5, 25)

    def _browse(self) -> Habit:
        """Through the hotbar, standing or walking."""
        way = self._random.choice((NOTHING, FORWARD))
        self._turn, self._pitch_target = self._random.gauss(0, 3), self._random.gauss(10, 8)
        for _ in range(self._random.randint(2, 6)):
            self._select(self._random.randrange(HOTBAR_SLOTS))
            yield from self._hold(way, self._random.randint(6, 22))

    # Habits: changing the world

    def _dig(self) -> Habit:
        self._select(self._random.choice((*TOOL_SLOTS, SHOVEL)))
        self._pitch_target, self._tremor = self._random.uniform(25, 60), 0.6
        self._turn_by(0, 25)
        yield from self._aim()
        dug, since, bursts = self._dug, 0, self._random.random() < 0.25
        for tick in range(self._random.randint(25, 80)):
            since += 1
            if self._dug != dug:  # the next block: beside it or below
                dug, since = self._dug, 0
                self._turn_by(0, 14)
                self._pitch_target = max(15.0, min(62.0, self._pitch_target + self._random.uniform(-12, 12)))
            elif since > 26:  # nothing in reach: a pick needs 14 ticks for grass, and the news 2 more
                since, self._pitch_target = 0, min(65.0, self._pitch_target + 14)
            yield NOTHING if bursts and tick % 22 > 17 else ATTACK
        if self._random.random() < 0.3:
            yield from self._look_away_and_back()

    def _tunnel(self) -> Habit:
        """Into a hillside, or a few steps down; then out again."""
        self._select(self._random.choice(TOOL_SLOTS[:2]))
        self._pitch_target, self._tremor = self._random.uniform(5, 38), 0.5
        start = (self._state.x, self._state.z)
        yield from self._aim()
        for tick in range(self._random.randint(40, 90)):
            if self._state.light < DARK + 3:
                break
            self._still = 0  # standing before a wall is the work
            yield ATTACK | FORWARD if tick % 24 > 13 else ATTACK
        yield from self._go_to(*start, most=60)

    def _place(self) -> Iterator[frozenset[str]]:
        """One block; aims elsewhere if the last ones did not stick."""
        before = self._placed
        if self._walled_in():
            return
        yield from self._click(USE)
        if self._placed == before:
            self._pitch_target = max(22.0, min(62.0, self._pitch_target + self._random.uniform(-14, 14)))
            yield from self._hold(frozenset({"back"}), self._random.randint(0, 5))

    def _build(self) -> Habit:
        self._select(self._random.choice(BLOCK_SLOTS))
        self._tremor = 0.5
        self._pitch_target = self._random.uniform(28, 52)
        self._turn_by(0, 40)
        yield from self._aim()
        styles = (self._build_row, self._build_row, self._build_wall, self._build_heap, self._build_held, self._pillar)
        yield from self._random.choice(styles)()
        if self._random.random() < 0.6:
            yield from self._look_away_and_back()
        if self._random.random() < 0.35:
            yield from self._revisit()

    def _build_row(self) -> Habit:
        step = frozenset({self._random.choice(("left", "right", "back"))})
        if self._random.random() < 0.5:
            step |= {"sneak"}
        ticks = 12 if "sneak" in step else 5  # about one node
        for _ in range(self._random.randint(4, 10)):
            yield from self._place()
            yield from self._hold(step, ticks)

    def _build_wall(self) -> Habit:
        step = frozenset({self._random.choice(("left", "right"))})
        for _ in range(self._random.randint(2, 4)):
            ground = self._pitch_target
            for _ in range(self._random.randint(2, 3)):
                yield from self._place()
                self._pitch_target = max(-10.0, self._pitch_target - self._random.uniform(12, 18))
                yield from self._aim()
            self._pitch_target = ground
            yield from self._hold(step, 5)
            yield from self._aim()

    def _build_heap(self) -> Habit:
        for _ in range(self._random.randint(3, 8)):
            yield from self._place()
            if self._random.random() < 0.3:
                self._select(self._random.choice(BLOCK_SLOTS))
            self._turn_by(5, 35)
            self._pitch_target = self._random.uniform(24, 55)
            yield from self._aim()

    def _build_held(self) -> Habit:
        """The button stays down and the game places block after block; a player who stood still would be walled in."""
        way = USE | {self._random.choice(("left", "right"))}
        self._pitch_target = self._random.uniform(26, 36)
        yield from self._aim()
        for _ in range(self._random.randint(35, 80)):
            if self._walled_in():
                return
            yield way

    def _pillar(self) -> Habit:
        """Up on a pillar under the own feet, a look round, and down again."""
        self._pitch_target = 84.0
        yield from self._aim()
        for _ in range(self._random.randint(1, 4)):
            height = self._state.y
            yield from self._hold(frozenset({"jump"}), 5)
            yield from self._hold(frozenset({"jump", "use"}), 4)
            yield from self._pause(5, 9)
            if self._state.y < height + 0.6:  # no higher: another block would be one in the face
                break
        for _ in range(2):
            self._pitch_target = self._random.uniform(0, 35)
            self._turn_by(40, 150)
            yield from self._aim()
            yield from self._pause(4, 12)
        yield from self._hold(FORWARD, 14)

    def _go_to(self, x: float, z: float, most: int, way: frozenset[str] = FORWARD) -> Habit:
        self._pitch_target = self._random.uniform(4, 16)
        for tick in range(most):
            if self._distance(x, z) < NEAR:
                return
            if tick % 4 == 0:
                self._turn_to(self._heading(x, z))
            yield way if tick > 6 else NOTHING

    def _revisit(self) -> Habit:
        """Away from what was built last, and back to it."""
        built = self._landmark
        if built is None or self._distance(built.x, built.z) > FAR:
            return
        self._turn_to(self._heading(built.x, built.z) + 180 + self._random.uniform(-50, 50))
        self._pitch_target = self._random.gauss(6, 6)
        way = FORWARD | {"sprint"} if self._random.random() < 0.4 else FORWARD
        yield from self._aim()
        yield from self._hold(way, self._random.randint(15, 50))
        yield from self._go_to(built.x, built.z, 120)
        self._turn_to(self._heading(built.x, built.z))
        height = self._state.y + EYE_HEIGHT - built.y
        self._pitch_target = math.degrees(math.atan2(height, max(1.0, self._distance(built.x, built.z))))
        yield from self._aim()
        yield from self._pause(6, 20)

    # Reflexes

    def _leave_water(self) -> Habit:
        """Back to where it was dry."""
        shore = self._dry_places[0] if self._dry_places else (self._state.x, self._state.z + FAR)
        self._pitch_target = 5.0
        for tick in range(160):
            if not self._state.wet:
                break
            if tick % 8 == 0:
                self._turn_to(self._heading(*shore) + self._random.uniform(-15, 15))
            swim = self._state.wet == 2 or tick % 20 < 12
            yield FORWARD | {"jump"} if swim else FORWARD
        yield from self._hold(FORWARD, 12)

    def _turn_back(self) -> Habit:
        """Something is in the way."""
        self._turn_by(70, 170)
        yield from self._aim()
        yield from self._hold(FORWARD, self._random.randint(12, 30))

    def _climb_out(self) -> Habit:
        """Out from under the ground: back where it came from, then a stair upwards through whatever is there."""
        self._select(TOOL_SLOTS[0])
        self._turn_by(150, 180)
        self._pitch_target = 5.0
        yield from self._aim()
        for tick in range(240):
            if self._state.light >= DARK + 3:
                return
            self._still = 0
            if tick == 40:
                self._pitch_target = -35.0
            yield FORWARD | ATTACK if tick < 40 else (FORWARD | ATTACK | {"jump"} if tick % 12 > 5 else ATTACK)
