"""The shipped world follows the mouse. A module of its own, so that two workers share what takes longest."""

import numpy as np
import pytest

from worldmodel.evaluation.metrics.motion import DOWN, RIGHT, picture_shift, turns_followed
from worldmodel.worlds.neural import PRETRAINED, NeuralWorld


@pytest.mark.slow
def test_turning_the_mouse_turns_the_view():
    """The picture moves against the mouse, in at least 9 of 10 start scenes, in each of the four ways."""
    nano = NeuralWorld(PRETRAINED / "nano")
    for name, hits in turns_followed(nano, range(nano.starts)).items():
        assert sum(hits) >= 0.9 * len(hits), f"{name}: {hits}"


def test_the_measure_itself_can_tell():
    rng = np.random.default_rng(0)
    wide = np.kron(rng.integers(0, 255, (16, 30, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    assert picture_shift(wide[:112, :192], wide[:112, 8:200], RIGHT) == -8
    assert picture_shift(wide[6:118, :192], wide[:112, :192], DOWN) == 6
    assert picture_shift(wide[:112, :192], wide[:112, :192], DOWN) == 0
