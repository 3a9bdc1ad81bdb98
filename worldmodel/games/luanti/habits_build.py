"""The scripted player's habits of changing the world: it digs and places, builds small things, and looks at what has
become of it: at once, after a look elsewhere, after a walk."""

from __future__ import annotations

import math

from worldmodel.games.luanti.habits_walk import Walking
from worldmodel.games.luanti.hands import ATTACK, DARK, FORWARD, NOTHING, USE, Habit
from worldmodel.games.luanti.presets import BLOCK_SLOTS, TOOL_SLOTS

SHOVEL = TOOL_SLOTS[1]
DIG_TICKS = 36  # a pick needs 14 for grass, and the news 2 more
SNEAK_NODE_TICKS, NODE_TICKS = 16, 6  # sideways by about one node
# Blocks side by side, as heights of columns: a row, a wall of four, steps, a post. None hides the land behind it.
SMALL_THINGS = ((1, 1, 1), (1, 1, 1, 1), (2, 2), (2, 2), (1, 2), (1, 2, 2), (2,))


class Building(Walking):
    """Each method makes a generator that yields the buttons (MineRL's names) held in one tick."""

    # Deeds: out of a standstill, with a steady hand

    def _place_one(self) -> Habit:
        """A few blocks one at a time, each looked at."""
        self._select_any(BLOCK_SLOTS)
        for _ in range(self._random.randint(2, 4)):
            if self._walled_in():
                return
            self._pitch_target = self._random.uniform(26, 50)
            self._turn_by(10, 70)
            yield from self._aim()
            yield from self._stand(8, 16)
            yield from self._hold(USE, self._random.choice((2, 4, 4)))
            yield from self._stand(4, 10)
            yield from self._look_elsewhere()
            yield from self._hold(frozenset({"back"}), self._random.choice((0, 0, 6, 8)))
            if self._random.random() < 0.3:
                self._select_any(BLOCK_SLOTS)

    def _dig_one(self) -> Habit:
        """A few blocks one at a time, each hole looked at."""
        if self._random.random() < 0.5:
            self._select(SHOVEL)
        else:
            self._select_any(TOOL_SLOTS)
        for _ in range(self._random.randint(1, 3)):
            self._pitch_target = self._random.uniform(28, 55)
            self._turn_by(10, 70)
            yield from self._aim()
            yield from self._stand(8, 16)
            yield from self._dig_block()
            yield from self._stand(4, 10)
            yield from self._look_elsewhere()
        yield from self._leave()

    def _work(self) -> Habit:
        """Block after block, dug or placed: who plays for a purpose does little else."""
        for _ in range(self._random.randint(5, 12)):
            self._pitch_target = self._random.uniform(24, 56)
            self._turn_by(4, 45)
            digs = self._random.random() < 0.6
            slots = TOOL_SLOTS if digs else BLOCK_SLOTS
            if self._slot not in slots or self._random.random() < 0.2:
                self._select_any(slots)
            yield from self._aim()
            yield from self._stand(*self._random.choice(((0, 4), (0, 4), (8, 12))))
            yield from self._dig_block() if digs else self._put()
            yield from self._stand(0, 6)
            draw = self._random.random()
            if draw < 0.15:
                yield from self._look_elsewhere()
            elif draw < 0.45:
                yield from self._go(frozenset({self._random.choice(("left", "right", "back", "back"))}), NODE_TICKS)
        yield from self._leave()

    def _close_up(self) -> Habit:
        """Builds something, and then stands before it, nose to the wall: faces that fill the view, from all sides, and
        what lies beside them. Who never sees that for longer than a moment believes it to be the dark."""
        self._select_any(BLOCK_SLOTS)
        self._pitch_target = self._random.uniform(28, 46)
        self._turn_by(0, 60)
        yield from self._aim()
        before = self._placed
        yield from self._random.choice((self._small_thing, self._small_thing, self._put, self._heap))()
        thing = self._landmark
        if self._placed == before or thing is None:
            return
        for _ in range(self._random.randint(1, 4)):
            self._look_at(thing.x, thing.y + self._random.uniform(0, 0.5), thing.z)
            yield from self._patiently(self._nose_to_it())
            yield from self._hold(frozenset({self._random.choice(("back", "back", "left", "right"))}), 10)
            yield from self._pause(2, 8)
        yield from self._leave()

    def _nose_to_it(self) -> Habit:
        """To what is looked at, on against it, along it."""
        yield from self._aim(self._random.choice((NOTHING, FORWARD)))
        yield from self._hold(FORWARD, 2 * self._random.randint(6, 18))
        for _ in range(self._random.randint(0, 3)):
            self._turn_by(5, 60)
            self._pitch_target = self._random.uniform(-10, 50)
            yield from self._aim(self._random.choice((NOTHING, FORWARD)))
            yield from self._hold(self._random.choice((NOTHING, FORWARD)), 2 * self._random.randint(2, 8))
        if self._random.random() < 0.5:
            yield from self._click(USE)

    def _patiently(self, habit: Habit) -> Habit:
        """Standing before a wall is the work: nothing is jumped over, and no turning back."""
        for buttons in habit:
            self._still = 0
            yield buttons

    def _dig_block(self) -> Habit:
        """The one that is looked at, if it is in reach."""
        dug = self._dug
        for _ in range(DIG_TICKS):
            if self._dug != dug:
                return
            yield ATTACK

    def _look_elsewhere(self) -> Habit:
        """Perhaps, for as long as may be, and back."""
        draw = self._random.random()
        if draw < 0.3:
            yield from self._look_away()
        elif draw < 0.45:
            yield from self._glance()

    def _leave(self) -> Habit:
        """Away from a hole or a wall."""
        self._turn_by(90, 180)
        self._pitch_target = self._random.gauss(8, 5)
        yield from self._aim()
        yield from self._go(FORWARD, self._random.randint(10, 24))

    # Digging

    def _dig(self) -> Habit:
        self._select_any(TOOL_SLOTS)
        self._pitch_target, self._tremor = self._random.uniform(25, 50), 0.6
        self._turn_by(0, 25)
        yield from self._aim()
        yield from self._stand(7, 10)
        dug, since, bursts = self._dug, 0, self._random.random() < 0.25
        for tick in range(self._random.randint(25, 70)):
            since += 1
            if self._dug != dug:  # the next block: beside it or below
                dug, since = self._dug, 0
                self._turn_by(4, 20)
                self._pitch_target = max(20.0, min(54.0, self._pitch_target + self._random.uniform(-12, 12)))
            elif since > 26:  # nothing in reach
                since, self._pitch_target = 0, min(56.0, self._pitch_target + 14)
            yield NOTHING if bursts and tick % 22 > 17 else ATTACK
        if self._random.random() < 0.4:
            yield from self._look_away()
        yield from self._leave()

    def _tunnel(self) -> Habit:
        """A few blocks into a hillside; then out again."""
        self._select_any(TOOL_SLOTS[:2])
        self._pitch_target, self._tremor = self._random.uniform(5, 35), 0.5
        start = (self._state.x, self._state.z)
        yield from self._aim()
        yield from self._patiently(self._bore())
        yield from self._leave()
        yield from self._go_to(*start, most=30)

    def _bore(self) -> Habit:
        for tick in range(self._random.randint(24, 44)):
            if self._state.light < DARK + 3:
                return
            yield ATTACK | FORWARD if tick % 24 > 13 else ATTACK

    # Building

    def _build(self) -> Habit:
        self._select_any(BLOCK_SLOTS)
        self._tremor = 0.5
        self._pitch_target = self._random.uniform(28, 40)
        self._turn_by(0, 40)
        yield from self._aim()
        placed = self._placed
        styles = (self._small_thing, self._small_thing, self._row, self._heap, self._held, self._held, self._pillar)
        for style in self._random.sample(styles, self._random.randint(1, 3)):
            yield from style()
            self._pitch_target = self._random.uniform(28, 40)
            yield from self._aim()
        if self._placed == placed or self._landmark is None:
            return
        yield from self._go(frozenset({"back"}), self._random.randint(6, 14))
        yield from self._admire(self._landmark.x, self._landmark.y, self._landmark.z)
        again = self._random.choices(
            (self._look_away, self._there_and_back, self._round, self._revisit, self._leave), (4, 1, 2, 2, 3)
        )
        yield from again[0]()

    def _put(self) -> Habit:
        """One block; aims elsewhere if it did not stick."""
        before = self._placed
        if self._walled_in():
            return
        yield from self._click(USE)
        if self._placed == before:
            self._pitch_target = max(22.0, min(56.0, self._pitch_target + self._random.uniform(-14, 14)))
            yield from self._go(frozenset({"back"}), self._random.randint(0, 6))

    def _small_thing(self) -> Habit:
        """One of SMALL_THINGS, from where it stands: each block goes onto the middle of a known face."""
        before = self._placed
        yield from self._put()
        first = self._landmark
        if self._placed == before or first is None:
            return
        yaw = math.radians(self.yaw)
        right, ahead = math.cos(yaw), -math.sin(yaw)  # x and z of the way to the right
        side_x, side_z = (math.copysign(1, right), 0) if abs(right) > abs(ahead) else (0, math.copysign(1, ahead))
        for column, height in enumerate(self._random.choice(SMALL_THINGS)):
            for level in range(height):
                if column == level == 0:
                    continue
                self._look_at(first.x + column * side_x, first.y + level - 0.5, first.z + column * side_z)
                yield from self._aim()
                before = self._placed
                yield from self._click(USE)
                if self._placed == before:
                    return

    def _row(self) -> Habit:
        step = frozenset({self._random.choice(("left", "right", "back"))})
        ticks = NODE_TICKS
        if self._random.random() < 0.5:
            step, ticks = step | {"sneak"}, SNEAK_NODE_TICKS
        for _ in range(self._random.randint(3, 7)):
            yield from self._put()
            yield from self._go(step, ticks)

    def _heap(self) -> Habit:
        for _ in range(self._random.randint(3, 6)):
            yield from self._put()
            if self._random.random() < 0.3:
                self._select_any(BLOCK_SLOTS)
            self._turn_by(10, 40)
            self._pitch_target = self._random.uniform(26, 50)
            yield from self._aim()

    def _held(self) -> Habit:
        """The button stays down and the game places block after block; a player who stood still would be walled in."""
        way = USE | {self._random.choice(("left", "right"))}
        self._pitch_target = self._random.uniform(28, 38)
        yield from self._aim()
        for _ in range(self._random.randint(40, 80)):
            if self._walled_in():
                return
            yield way

    def _pillar(self) -> Habit:
        """Up on a pillar under the own feet, a look round, and down again."""
        yield from self._rise(self._random.randint(1, 4))
        for _ in range(2):
            self._pitch_target = self._random.uniform(0, 35)
            self._turn_by(40, 150)
            yield from self._aim()
            yield from self._pause(4, 12)
        yield from self._hold(FORWARD, 14)

    def _rise(self, blocks: int) -> Habit:
        """By so many blocks under the own feet."""
        self._pitch_target = 84.0
        yield from self._aim()
        for _ in range(blocks):
            height = self._state.y
            yield from self._hold(frozenset({"jump"}), 6)
            yield from self._hold(frozenset({"jump", "use"}), 4)
            yield from self._pause(6, 9)
            if self._state.y < height + 0.6:  # no higher: another block would be one in the face
                break
