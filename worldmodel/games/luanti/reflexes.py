"""What interrupts the scripted player's habits: water, darkness, and walls."""

from __future__ import annotations

from worldmodel.games.luanti.habits_build import DIG_TICKS, Building
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
        """Something is in the way, or fills the view."""
        self._turn_by(80, 180)
        self._pitch_target = self._random.gauss(8, 5)
        yield from self._aim()
        yield from self._go(FORWARD, self._random.randint(14, 30))

    def _break_out(self) -> Habit:
        """From between walls: over them on blocks of its own, or through them."""
        if self._random.random() < 0.5:
            self._select(self._random.choice(BLOCK_SLOTS))
            yield from self._rise(2)
        else:
            self._select(self._random.choice(TOOL_SLOTS))
            self._turn_to(90 * round(self.yaw / 90))
            dug = self._dug
            for pitch in (5.0, 40.0):  # at the height of the eyes, and of the feet
                self._pitch_target = pitch
                yield from self._aim()
                for _ in range(DIG_TICKS):
                    if self._dug != dug:
                        break
                    yield ATTACK
                dug = self._dug
        self._pitch_target = 10.0
        yield from self._aim()
        yield from self._hold(FORWARD | {"jump"}, 20)

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
