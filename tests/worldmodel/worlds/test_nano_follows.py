"""The shipped world follows the keys and the buttons."""

import numpy as np
import pytest

from worldmodel.evaluation.following.presses import presses_shown
from worldmodel.types import NO_ACTION, Action
from worldmodel.worlds.neural import PRETRAINED, NeuralWorld


@pytest.fixture(scope="module")
def nano():
    return NeuralWorld(PRETRAINED / "nano")


@pytest.mark.slow
def test_walking_begins_out_of_a_standstill(nano):
    """Six steps at rest, then six of walking: in most start scenes the picture moves far more than it did at rest."""
    begun = []
    for start in range(nano.starts):
        nano.reset(start)
        frames = [nano.step(NO_ACTION).frame for _ in range(6)]
        frames += [nano.step(Action(frozenset({"forward"}))).frame for _ in range(6)]
        rest, walk = (np.abs(b.astype(int) - a).mean() for a, b in ((frames[1], frames[5]), (frames[5], frames[11])))
        begun.append(walk > 2 * rest + 1)
    assert sum(begun) >= 0.7 * len(begun), begun


@pytest.mark.slow
@pytest.mark.parametrize(("button", "least"), [("use", 7), ("attack", 3)])
def test_a_press_changes_the_world_near_the_crosshair(nano, button, least):
    """In start scenes with something in reach the right button places a block; holes are dug less reliably."""
    shown = presses_shown(nano, range(nano.starts), button)
    assert sum(shown) >= least, shown
