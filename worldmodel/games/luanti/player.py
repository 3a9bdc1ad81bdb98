"""A scripted player with human habits, for recording training data: seeded, and testable without the game.

It draws one habit after another (habits_*.py) and adds camera motion and hotbar changes (hands.py) and reflexes
(reflexes.py). Buttons change every other tick, because a world model's step is two ticks. Rare actions get their share.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from worldmodel.games.luanti.controls import (
    KEY_OF_BUTTON,
    MOUSE_OF_BUTTON,
    Controls,
    GameState,
    next_slot,
)
from worldmodel.games.luanti.hands import BLOCKED, DARK, Habit, PlayerOptions
from worldmodel.games.luanti.reflexes import Reflexes

WALKING = frozenset({"forward", "back", "left", "right"})
FIDGET = 0.17  # chance a step of another slot, in passing
SLOW = 0.08  # nodes a tick: what is slower is against something
SLOW_SNEAKING = 0.02
IN_THE_WAY, BEFORE_A_WALL = BLOCKED + 6, 16  # ticks
FLOOR = 45.0  # degrees: a view so far down shows the floor
WALLED = frozenset({"leave water", "climb out", "break out", "turn back", "close up"})  # deal with walls themselves
# These change no slots in passing.
BUSY = WALLED | {"gaze", "browse", "dig", "tunnel", "build", "place one", "dig one", "work"}
VAIN_TICKS, VAIN_NODES = 45, 2.0  # so long against something within so little room: shut in

USUAL = PlayerOptions()


class Player(Reflexes):
    """`act` gives the controls of the next tick for what is known of the game. Equal seeds play equal games."""

    def __init__(self, seed: int, options: PlayerOptions = USUAL) -> None:
        super().__init__(seed, options)
        self.mode = "gaze"
        self._ticks = 0
        self._buttons: frozenset[str] = frozenset()
        self._habit: Habit = iter(())
        # How often each is drawn. "deed": out of a standstill with a steady hand; their share is an option.
        self._modes: dict[str, tuple[float, Callable[[], Habit]]] = {
            "walk": (10, self._walk),
            "march": (7, self._march),
            "pace": (18, self._pace),
            "sprint": (10, self._sprint),
            "back": (26, self._back),
            "strafe": (22, self._strafe),
            "hop": (26, self._hop),
            "sneak": (8, self._sneak),
            "there and back": (8, self._there_and_back),
            "loop": (3, self._loop),
            "round": (6, self._round),
            "revisit": (3, self._revisit),
            "look": (6, self._look),
            "look away": (14, self._look_away),
            "turn round": (2, self._turn_round),
            "gaze": (5, self._gaze),
            "browse": (15, self._browse),
            "dig": (20, self._dig),
            "tunnel": (1, self._tunnel),
            "build": (24, self._build),
        }
        self._deeds: dict[str, tuple[float, Callable[[], Habit]]] = {
            "set off": (4, self._set_off),
            "place one": (7, self._place_one),
            "dig one": (6, self._dig_one),
            "work": (30, self._work),
            "close up": (30, self._close_up),
        }

    def act(self, state: GameState) -> Controls:
        """The next tick's controls. state: the newest known, with the events since the last call."""
        self._observe(state)
        self._reflexes()
        held = next(self._habit, None)
        while held is None:
            held = self._new_habit()
        wheel = 0
        if self._ticks % 2 == 0:
            wheel = self._press(set(held))
        self._ticks += 1
        dx, dy = self._camera()
        keys = frozenset(KEY_OF_BUTTON[button] for button in self._buttons if button in KEY_OF_BUTTON)
        mouse = frozenset(MOUSE_OF_BUTTON[button] for button in self._buttons if button in MOUSE_OF_BUTTON)
        controls = Controls(keys, mouse, dx, dy, wheel)
        self._slot = next_slot(self._slot, self._before, controls)
        self._before = controls
        return controls

    def _press(self, buttons: set[str]) -> int:
        """Decides what is held in the next two ticks; the click of the wheel."""
        if self.mode not in BUSY and self._random.random() < FIDGET:
            self._select_any()
        if self._jump_ticks > 0:
            self._jump_ticks -= 2
            buttons.add("jump")
        if self._still > 4 and "forward" in buttons:
            buttons.add("jump")
        if "sneak" in buttons:
            buttons -= {"jump", "sprint"}
        if self._random.random() < self._options.drop:
            buttons.add("drop")
        if self._state.buries:  # nobody walls his own head in, and a black picture teaches nothing
            buttons -= {"use"}
        wheel = self._hotbar(buttons)
        self._buttons = frozenset(buttons)
        return wheel

    # What the player sees and what interrupts it

    def _observe(self, state: GameState) -> None:
        self._state = state
        place = (state.x, state.z)
        slow = SLOW_SNEAKING if "sneak" in self._buttons else SLOW
        is_blocked = bool(self._buttons & WALKING) and math.dist(place, self._last_place) < slow
        self._still = self._still + 1 if is_blocked else 0
        self._last_place = place
        if math.dist(place, self._anchor) > VAIN_NODES:
            self._anchor, self._vain_ticks = place, 0
        self._vain_ticks += self._still > 4
        self._wet_ticks = self._wet_ticks + 1 if state.wet else 0
        self._dark_ticks = self._dark_ticks + 1 if state.light < DARK else 0
        self._walled_ticks = self._walled_ticks + 1 if state.walled and self.pitch < FLOOR else 0
        if not state.wet and (not self._dry_places or math.dist(self._dry_places[-1], place) > 2):
            self._dry_places = [*self._dry_places[-3:], place]
        for event in state.events:
            self._dug += event.kind == "dig"
            if event.kind == "place":
                self._placed += 1
                self._landmark = event

    def _reflexes(self) -> None:
        if self._wet_ticks > 8 and self.mode != "leave water":
            self._begin("leave water", self._leave_water())
        elif self._dark_ticks > 12 and self.mode != "climb out":
            self._begin("climb out", self._climb_out())
        elif self.mode in WALLED:
            return
        elif self._vain_ticks > VAIN_TICKS:
            self._vain_ticks = 0
            self._begin("break out", self._break_out())
        elif self._still > IN_THE_WAY or self._walled_ticks > BEFORE_A_WALL:
            self._still = self._walled_ticks = 0
            self._begin("turn back", self._turn_back())

    def _begin(self, mode: str, habit: Habit) -> None:
        self.mode, self._habit = mode, habit
        self._yaw_target, self._turn, self._tremor = None, 0.0, 1.0
        self._is_steady = mode in self._deeds or self._random.random() < self._options.steady

    def _new_habit(self) -> frozenset[str] | None:
        modes = self._deeds if self._random.random() < self._options.deliberate else self._modes
        mode = self._random.choices(list(modes), [weight for weight, _ in modes.values()])[0]
        self._begin(mode, modes[mode][1]())
        return next(self._habit, None)
