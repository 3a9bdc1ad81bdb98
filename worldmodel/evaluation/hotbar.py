"""Do the hotbar's keys select their slots? Read off the generated picture's highlight."""

from __future__ import annotations

from collections.abc import Sequence

from worldmodel.data.hud import HOTBAR_LINES, SLOT_SHOWN_STEPS, read_slot
from worldmodel.types import NO_ACTION, Action, World


def slots_followed(world: World, starts: Sequence[int], hud: str = "luanti") -> list[bool]:
    """For each start scene and each slot that is not selected in it: is it, shortly after its key was pressed?"""
    hits = []
    for start in starts:
        slots = HOTBAR_LINES[hud].slots
        selected = int(read_slot(world.reset(start).frame[None], hud)[0])
        for slot in range(slots):
            if slot == selected:
                continue
            world.reset(start)
            step = world.step(Action(frozenset({f"hotbar.{slot + 1}"})))
            for _ in range(SLOT_SHOWN_STEPS):
                step = world.step(NO_ACTION)
            hits.append(int(read_slot(step.frame[None], hud)[0]) == slot)
    return hits
