"""A scripted player with human habits, for recording training data: seeded, and testable without the game.

It draws one habit after another (habits.py) and adds camera motion and hotbar changes (hands.py) and reflexes. Rare
actions get their share.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from worldmodel.games.luanti.controls import (
    HOTBAR_SLOTS,
    KEY_OF_BUTTON,
    MOUSE_OF_BUTTON,
    Controls,
    GameState,
    next_slot,
)
from worldmodel.games.luanti.habits import Habits
from worldmodel.games.luanti.hands import DARK, Habit, PlayerOptions

FIDGETING = frozenset({"walk", "sprint", "back", "strafe", "hop", "sneak", "look", "idle"})  # changes slots in passing
WALKING = frozenset({"forward", "back", "left", "right"})

USUAL = PlayerOptions()


class Player(Habits):
    """`act` gives the controls of the next tick for what is known of the game. Equal seeds play equal games."""

    def __init__(self, seed: int, options: PlayerOptions = USUAL) -> None:
        super().__init__(seed, options)
        self.mode = "idle"
        self._habit: Habit = iter(())
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
