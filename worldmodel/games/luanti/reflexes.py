"""What interrupts the scripted player's habits: water, darkness, and walls."""

from __future__ import annotations

from worldmodel.games.luanti.habits_build import Building
from worldmodel.games.luanti.habits_walk import FAR
from worldmodel.games.luanti.hands import ATTACK, DARK, FORWARD, Habit
from worldmodel.games.luanti.presets import BLOCK_SLOTS, TOOL_SLOTS


class Reflexes(Building):
    """Each method makes a generator that yields the buttons (MineRL's names) held in one tick."""

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
        """Something is in the way, or fills the view: off to where there is none, or out through it."""
        for turn in (170, 80, 180, 90):
            self._turn_by(turn - 40, turn)
            self._pitch_target = self._random.gauss(6, 4)
            yield from self._aim()
            yield from self._pause(4, 6)  # for the news of it
            if not self._state.walled:
                self._still = 0
                yield from self._go(FORWARD, self._random.randint(14, 30))
                return
        yield from self._break_out()

    def _break_out(self) -> Habit:
        """From between walls: through them with one tool after another, or over them on blocks of its own."""
        for tool in self._random.sample(TOOL_SLOTS, len(TOOL_SLOTS)):
            x, z = self._state.x, self._state.z
            self._select(tool)
            self._turn_to(90 * round(self.yaw / 90 + 1))
            self._pitch_target = 5.0  # what is at the feet stays, to jump upon
            yield from self._aim()
            yield from self._dig_block()
            yield from self._hold(FORWARD | {"jump"}, 16)
            if self._distance(x, z) > 1:
                return
        self._select(self._random.choice(BLOCK_SLOTS))
        yield from self._rise(2)
        self._pitch_target = 10.0
        yield from self._aim()
        yield from self._hold(FORWARD | {"jump"}, 16)

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
