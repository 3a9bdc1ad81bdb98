"""What the scripted player does: each habit is a generator that yields the buttons (MineRL's names) held in one tick
and steers the camera by setting targets. What a world model finds hard is played on purpose: looking away from
something just built and back, walking away and returning to it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from worldmodel.games.luanti.controls import HOTBAR_SLOTS
from worldmodel.games.luanti.hands import DARK, NOTHING, Habit, Hands
from worldmodel.games.luanti.presets import BLOCK_SLOTS, TOOL_SLOTS
from worldmodel.types import DEGREES_PER_PIXEL

EYE_HEIGHT = 1.6  # nodes
NEAR, FAR = 4.0, 28.0  # nodes: close enough to look at a landmark, and too far to go back to it

SHOVEL = TOOL_SLOTS[1]
USE = frozenset({"use"})
ATTACK = frozenset({"attack"})
FORWARD = frozenset({"forward"})


class Habits(Hands):
    """Deeds, habits and reflexes, as methods that make a generator each."""

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
