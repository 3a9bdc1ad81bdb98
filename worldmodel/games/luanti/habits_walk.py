"""The scripted player's habits of getting about: straight on at three paces, there and back by the same way, round
things, and away from what it built and back to it."""

from __future__ import annotations

from worldmodel.games.luanti.controls import Event, Position
from worldmodel.games.luanti.habits_look import Looking
from worldmodel.games.luanti.hands import BLOCKED, FORWARD, NOTHING, Habit
from worldmodel.types import DEGREES_PER_PIXEL

NEAR, FAR = 4.0, 28.0  # nodes: close enough to look at a landmark, and too far to go back to it
ROUND = (2.4, 4.6)  # nodes from a thing that is walked round
FULL_TURN = round(360 / DEGREES_PER_PIXEL)
PACES = (NOTHING, frozenset({"sprint"}), frozenset({"sneak"}))
PACE_TICKS = (18, 32)  # long enough for a pace to be seen
OPPOSITE = {"forward": "back", "back": "forward", "left": "right", "right": "left"}


class Walking(Looking):
    """Each method makes a generator that yields the buttons (MineRL's names) held in one tick."""

    def _go(self, buttons: frozenset[str], ticks: int) -> Habit:
        """Holds the buttons, but not against a wall."""
        for _ in range(ticks):
            if self._still > BLOCKED:
                return
            yield buttons

    # Straight on

    def _walk(self) -> Habit:
        side = self._random.choice(("left", "right", None))
        self._pitch_target, self._tremor = self._random.gauss(7, 9), 1.5
        for tick in range(self._random.randint(25, 70)):
            if tick % 20 == 0:
                self._turn = self._random.gauss(0, 6)
            if self._random.random() < 0.012:
                self._jump()
            yield FORWARD | {side} if side and tick % 40 > 26 else FORWARD

    def _march(self) -> Habit:
        """Forward for 3 to 8 seconds, straight or in a slow curve."""
        self._pitch_target = self._random.gauss(6, 6)
        yield from self._aim(most=10)
        yield from self._stand(7, 10)
        self._curve(3)
        yield from self._go(FORWARD, self._random.randint(60, 160))

    def _pace(self) -> Habit:
        """One line at changing paces: what sprinting and sneaking look like is seen beside a walk."""
        self._pitch_target = self._random.gauss(12, 8)
        yield from self._aim(most=10)
        yield from self._stand(7, 10)
        self._curve(2)
        pace = self._random.choice(PACES)
        for _ in range(self._random.randint(2, 5)):
            yield from self._go(FORWARD | pace, self._random.randint(*PACE_TICKS))
            pace = self._random.choice([other for other in PACES if other != pace])

    def _sprint(self) -> Habit:
        self._pitch_target, self._tremor = self._random.gauss(4, 6), 1.5
        yield from self._aim(FORWARD, most=10)
        self._curve(4)
        for _ in range(self._random.randint(25, 70)):
            if self._random.random() < 0.02:
                self._jump()
            yield FORWARD | {"sprint"}

    def _sneak(self) -> Habit:
        """A standing player looks the same, so it moves nearly always."""
        self._pitch_target = self._random.gauss(15, 10)
        self._curve(4)
        for _ in range(self._random.randint(1, 3)):
            way = self._random.choice(("forward", "forward", "back", "left", "right"))
            yield from self._go(frozenset({"sneak", way}), self._random.randint(*PACE_TICKS))
        if self._random.random() < 0.2:
            yield from self._hold(frozenset({"sneak"}), self._random.randint(6, 12))

    def _back(self) -> Habit:
        self._pitch_target = self._random.gauss(10, 10)
        self._curve(4)
        side = self._random.choice(("left", "right", None, None))
        yield from self._go(frozenset({"back", side} if side else {"back"}), self._random.randint(10, 40))

    def _strafe(self) -> Habit:
        side = self._random.choice(("left", "right"))
        self._pitch_target = self._random.gauss(8, 10)
        self._curve(3)
        for tick in range(self._random.randint(16, 50)):
            if self._random.random() < 0.015:
                self._jump()
            yield frozenset({side, "forward"}) if tick % 25 > 18 else frozenset({side})

    def _hop(self) -> Habit:
        way = self._random.choice((FORWARD, FORWARD, NOTHING, FORWARD | {"sprint"}))
        self._pitch_target = self._random.gauss(8, 8)
        self._curve(5)
        for _ in range(self._random.randint(2, 5)):
            yield from self._hold(way | {"jump"}, self._random.randint(8, 16))
            yield from self._hold(way, self._random.randint(8, 12))

    def _set_off(self) -> Habit:
        """A few walks and jumps out of a standstill, straight on."""
        self._pitch_target = self._random.gauss(14, 10)
        yield from self._aim()
        for _ in range(self._random.randint(2, 5)):
            yield from self._stand()
            way = self._random.choice(("forward", "forward", "back", "left", "right", "jump"))
            extra = self._random.choice((None, None, "sneak", "sprint", "jump"))
            if extra == "jump" or way == "jump":
                yield from self._hold(frozenset({way, "jump"}), self._random.randint(6, 20))
            elif extra:
                way = way if extra == "sneak" else "forward"  # only forwards is there a sprint
                yield from self._go(frozenset({way, extra}), self._random.randint(*PACE_TICKS))
            else:
                yield from self._go(frozenset({way}), self._random.randint(6, 20))
        yield from self._stand()

    # And back to where it was

    def _there_and_back(self) -> Habit:
        """The same way twice, the second time backwards, with the view at rest."""
        self._is_steady = True
        yield from self._stand()
        way, pace = self._random.choice(list(OPPOSITE)), self._random.choice((NOTHING, NOTHING, PACES[2]))
        ticks = 2 * self._random.randint(6, 20)
        yield from self._hold(frozenset({way}) | pace, ticks)
        yield from self._stand(4, 14)
        yield from self._hold(frozenset({OPPOSITE[way]}) | pace, ticks)
        yield from self._stand()

    def _loop(self) -> Habit:
        """Round a circle or a square, to where it began."""
        self._is_steady = True
        self._pitch_target = self._random.gauss(8, 5)
        yield from self._aim()
        yield from self._stand(2, 8)
        way = self._random.choice((-1, 1))
        if self._random.random() < 0.5:
            for held in self._sweep(way * FULL_TURN, 0, self._random.randint(70, 150), FORWARD):
                if self._still > BLOCKED:
                    return
                yield held
        else:
            ticks = 2 * self._random.randint(5, 14)
            for _ in range(4):
                yield from self._hold(FORWARD, ticks)
                yield from self._swing(way * FULL_TURN // 4, 0)
        yield from self._stand()

    def _sight(self) -> Position | Event | None:
        """The nearest tree or the block placed last, whichever comes to mind."""
        sights = [at for at in (self._state.tree, self._landmark) if at and self._distance(at.x, at.z) < 3 * NEAR]
        return self._random.choice(sights) if sights else None

    def _round(self) -> Habit:
        """Sideways round a thing, looking at it."""
        thing = self._sight()
        if thing is None:
            return
        yield from self._go_to(thing.x, thing.z, 50)
        if self._distance(thing.x, thing.z) > 2 * NEAR:
            return
        side = self._random.choice(("left", "right"))
        self._pitch_target, low, high = self._random.uniform(0, 20), *ROUND
        for _ in range(self._random.randint(60, 140)):
            if self._still > BLOCKED:
                side, self._still = OPPOSITE[side], 0
            self._turn_to(self._heading(thing.x, thing.z))
            distance = self._distance(thing.x, thing.z)
            yield frozenset({side}) | ({"forward"} if distance > high else {"back"} if distance < low else NOTHING)

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
        yield from self._go(way, self._random.randint(20, 50))
        yield from self._go_to(built.x, built.z, 120)
        yield from self._admire(built.x, built.y, built.z)
