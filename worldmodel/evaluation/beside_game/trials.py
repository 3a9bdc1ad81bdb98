"""What is tried in the real game and in the model: short scripts of 10 Hz actions. Data and pure functions only.

A trial is a lead (actions that become the model's context) and a script (actions that both answer). Camera speeds are
the centres of action-token bins, so that the model is told exactly what the real game did.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from worldmodel.games.luanti.controls import HOTBAR_SLOTS
from worldmodel.games.luanti.presets import BLOCK_SLOTS, KIT, TOOL_SLOTS
from worldmodel.tokenizers.action import CAMERA_CENTRE, bin_to_camera
from worldmodel.types import DEGREES_PER_PIXEL, NO_ACTION, Action

KINDS = ("turn", "move", "pace", "hold", "dig", "place", "hotbar", "mirror")


def _speed(bins: int) -> float:
    """Degrees a step at the centre of the camera bin `bins` from the middle, in whole pixels of the mouse."""
    return round(bin_to_camera(CAMERA_CENTRE + bins) / DEGREES_PER_PIXEL) * DEGREES_PER_PIXEL


SPEEDS = tuple(_speed(bins) for bins in (1, 2, 3))  # 2.25, 5.1, 8.85 degrees a step
TURNS = {"right": (0, 1), "left": (0, -1), "down": (1, 0), "up": (-1, 0)}  # pitch, yaw
TURN_STEPS = 4
MOVES: dict[str, frozenset[str]] = {
    "forward": frozenset({"forward"}),
    "back": frozenset({"back"}),
    "left": frozenset({"left"}),
    "right": frozenset({"right"}),
    "stand": frozenset(),
}
PACES: dict[str, frozenset[str]] = {
    "walk": frozenset({"forward"}),
    "sprint": frozenset({"forward", "sprint"}),
    "sneak": frozenset({"forward", "sneak"}),
}
MOVE_STEPS = 8
STANDING = 1.0  # nodes in MOVE_STEPS: a walk is about 3.2
HOLD_STEPS = 60
MIRROR_STEPS = 5  # there, and as many back
MIRRORED = ("turn", "walk", "walk and turn")
AWAY_SPEED, AWAY_STEPS = SPEEDS[2], 5  # 44.25 degrees
NUDGE_STEPS = 2
PAUSE = (NO_ACTION,) * 2
REST = (NO_ACTION,) * 4  # effects need up to two steps to show, in the game too
USE, ATTACK = Action(frozenset({"use"})), Action(frozenset({"attack"}))
MOST_ATTACK_STEPS = 15
SHOVEL = TOOL_SLOTS[1]


@dataclass(frozen=True, slots=True)
class Trial:
    """kind: of KINDS; index: number within the kind; variant: what of the kind ("right 5.10", "default:wood");
    slot: in hand when the lead begins; pitch: degrees then; until: kind of event at which the first script action,
    held up to `most` steps, ends."""

    kind: str
    index: int
    variant: str
    slot: int
    pitch: float
    lead: tuple[Action, ...]
    script: tuple[Action, ...]
    until: str | None = None
    most: int = 1

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.index:03d}"


def name_of_walk(forward: float, right: float) -> str:
    """Which of MOVES a walk of so many nodes is."""
    if max(abs(forward), abs(right)) < STANDING:
        return "stand"
    if abs(forward) > abs(right):
        return "forward" if forward > 0 else "back"
    return "right" if right > 0 else "left"


def glance(sign: int, steps: int = len(PAUSE)) -> tuple[Action, ...]:
    """Away, so many steps of looking there, and back: sign 1 looks right first."""
    away = (Action(yaw=sign * AWAY_SPEED),) * AWAY_STEPS
    back = (Action(yaw=-sign * AWAY_SPEED),) * AWAY_STEPS
    return (*away, *(NO_ACTION,) * steps, *back)


def nudge(sign: int) -> tuple[Action, ...]:
    """A small turn and back: a lead in which nothing moved would be a hint to stand still."""
    return (Action(yaw=sign * SPEEDS[0]),) * NUDGE_STEPS + (Action(yaw=-sign * SPEEDS[0]),) * NUDGE_STEPS


def mirrored(way: str, sign: int) -> tuple[Action, Action]:
    """An action, and the one that takes it back. way: of MIRRORED."""
    yaw = sign * SPEEDS[1] if "turn" in way else 0.0
    there, back = ({"forward"}, {"back"}) if "walk" in way else (set[str](), set[str]())
    return Action(frozenset(there), yaw=yaw), Action(frozenset(back), yaw=-yaw)


def make_trial(kind: str, index: int, seed: int, away: int = len(PAUSE)) -> Trial:
    """Trial `index` of a kind: the same for the same seed, whatever else is tried. away: steps of looking elsewhere,
    once something was dug or placed."""
    rng = random.Random(f"{seed}/{kind}/{index}")
    sign = rng.choice((-1, 1))
    lead = (*nudge(sign), *REST)
    if kind == "turn":
        way = list(TURNS)[index % len(TURNS)]
        speed = SPEEDS[index // len(TURNS) % len(SPEEDS)]
        pitch, yaw = TURNS[way]
        script = (Action(pitch=pitch * speed, yaw=yaw * speed),) * TURN_STEPS
        return Trial(kind, index, f"{way} {speed:.2f}", rng.randrange(9), rng.uniform(5, 15), lead, script)
    if kind in ("move", "pace"):
        ways = MOVES if kind == "move" else PACES
        way = list(ways)[index % len(ways)]
        script = (Action(ways[way]),) * MOVE_STEPS + PAUSE
        return Trial(kind, index, way, rng.randrange(9), rng.uniform(20, 30), lead, script)
    if kind == "hold":
        script = (Action(MOVES["forward"]),) * HOLD_STEPS
        return Trial(kind, index, "forward", rng.randrange(9), rng.uniform(20, 30), lead, script)
    if kind == "mirror":
        way = MIRRORED[index % len(MIRRORED)]
        there, back = mirrored(way, sign)
        script = (there,) * MIRROR_STEPS + PAUSE + (back,) * MIRROR_STEPS
        return Trial(kind, index, way, rng.randrange(9), rng.uniform(5, 25), lead, script)
    if kind == "hotbar":
        slot = index % HOTBAR_SLOTS
        before = (slot + rng.randrange(1, HOTBAR_SLOTS)) % HOTBAR_SLOTS
        script = (Action(frozenset({f"hotbar.{slot + 1}"})), *PAUSE)
        return Trial(kind, index, f"slot {slot + 1}", before, rng.uniform(0, 20), lead, script)
    lead = (*glance(sign), *REST)
    if kind == "dig":
        script = (ATTACK, *REST, *glance(sign, away), *PAUSE)
        return Trial(kind, index, "ground", SHOVEL, rng.uniform(35, 55), lead, script, "dig", MOST_ATTACK_STEPS)
    assert kind == "place", f"{kind} is one of {KINDS}"
    slot = BLOCK_SLOTS[index % len(BLOCK_SLOTS)]
    script = (USE, *REST, *glance(sign, away), *PAUSE)
    return Trial(kind, index, KIT[slot].split()[0], slot, rng.uniform(30, 48), lead, script)
