"""The scripted player's habits of looking: away from something and back to it, about, at nothing in particular, and
through the hotbar."""

from __future__ import annotations

from worldmodel.games.luanti.hands import FORWARD, NOTHING, Habit, Hands
from worldmodel.types import DEGREES_PER_PIXEL

AWAY_TICKS = (20, 40, 80)
AWAY_DEGREES = (45.0, 180.0)


class Looking(Hands):
    """Each method makes a generator that yields the buttons (MineRL's names) held in one tick."""

    def _look_away(self) -> Habit:
        """Away, there for 1, 2 or 4 seconds, and back by exactly as much: what was there must be there again."""
        self._is_steady = True
        yield from self._stand(6, 12)
        dx = self._random.choice((-1, 1)) * round(self._random.uniform(*AWAY_DEGREES) / DEGREES_PER_PIXEL)
        level = max(-30.0, min(40.0, self._random.gauss(6, 12)))
        dy = round((level - self.pitch) / DEGREES_PER_PIXEL) if self._random.random() < 0.5 else 0
        yield from self._swing(dx, dy)
        yield from self._hold(NOTHING, self._random.choice(AWAY_TICKS))
        yield from self._swing(-dx, -dy)
        yield from self._pause(8, 20)

    def _turn_round(self) -> Habit:
        """Once round, to where the view was."""
        self._is_steady = True
        yield from self._stand()
        dx = self._random.choice((-1, 1)) * round(360 / DEGREES_PER_PIXEL)
        yield from self._sweep(dx, 0, self._random.randint(30, 90))
        yield from self._pause(6, 16)

    def _glance(self) -> Habit:
        """Away at an even speed, and back at once by exactly as much."""
        way, speed = self._random.choice((-1, 1)), self._random.randint(10, 45)
        ticks = max(4, round(self._random.uniform(20, 80) / (speed * DEGREES_PER_PIXEL)))
        for sign in (1, -1):
            yield from self._sweep(way * sign * speed * ticks, 0, ticks)
            yield from self._pause(2, 6)

    def _look(self) -> Habit:
        way = self._random.choice((NOTHING, NOTHING, FORWARD))
        if self._random.random() < 0.3:
            self._pitch_target = self._random.gauss(8, 15)
            self._turn = self._random.choice((-1, 1)) * self._random.uniform(6, 45)
            yield from self._hold(way, self._random.randint(15, 50))
            return
        for _ in range(self._random.randint(2, 5)):
            self._pitch_target = max(-60.0, min(50.0, self._random.gauss(6, 20)))
            self._turn_by(15, 140)
            yield from self._aim(way)
            yield from self._pause(3, 15)

    def _gaze(self) -> Habit:
        """Stands still and looks."""
        self._is_steady = True
        yield from self._stand(25, 70)

    def _browse(self) -> Habit:
        """Through the hotbar, standing or walking: slot after slot, or here and there."""
        way = self._random.choice((NOTHING, FORWARD, FORWARD))
        self._turn, self._pitch_target = self._random.gauss(0, 3), self._random.gauss(10, 8)
        for _ in range(self._random.randint(3, 8)):
            self._select_any()
            yield from self._hold(way, self._random.randint(4, 14))

    def _admire(self, x: float, y: float, z: float) -> Habit:
        """Looks at a point, for a while."""
        self._look_at(x, y, z)
        self._pitch_target = max(-40.0, min(55.0, self._pitch_target))
        yield from self._aim()
        yield from self._stand(6, 20)
