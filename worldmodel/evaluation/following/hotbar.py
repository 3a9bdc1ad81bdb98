"""Do the hotbar's keys select their slots, and does it stay as it is without them? Read off the generated pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from worldmodel.data.hud import HOTBAR_LINES, SLOT_SHOWN_STEPS, items_told, read_slot
from worldmodel.types import NO_ACTION, Action, World

KEPT_FRAMES = 100
WALK = Action(frozenset({"forward"}))  # what is done meanwhile: no hotbar key, and nothing is dug, placed or dropped


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


def hotbar_kept(rollouts: Iterable[NDArray[np.uint8]], hud: str = "luanti") -> dict[str, int]:
    """How many rollouts without a hotbar key keep the selected slot, and the item in it, in every frame.

    rollouts: uint8 (1 + T, H, W, 3) each, all of the same T, the opening picture first. An item is kept if the icon in
    the slot that was selected stays nearest to what it was.
    """
    kept = {"rollouts": 0, "frames": 0, "slot": 0, "item": 0}
    for frames in rollouts:
        kept["rollouts"] += 1
        kept["frames"] = len(frames) - 1
        kept["slot"] += bool((read_slot(frames, hud) == read_slot(frames[:1], hud)).all())
        kept["item"] += bool(items_told(frames, np.broadcast_to(frames[:1], frames.shape), hud).all())
    return kept
