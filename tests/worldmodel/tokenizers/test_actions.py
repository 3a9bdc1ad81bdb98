"""The action tokenizer against MineWorld's table, and by property over all buttons and angles."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldmodel.tokenizers.action import (
    BUTTON_SLOTS,
    CAMERA_BINS,
    FINER,
    ActionTokenizer,
    bin_to_camera,
    camera_bins,
    camera_degrees,
    camera_to_bin,
    without_fine_camera,
)
from worldmodel.types import BUTTONS, Action

MINEWORLD, FINE = ActionTokenizer(8192), ActionTokenizer(8192, fine_camera=True)
REPRESENTABLE = [name for slot in BUTTON_SLOTS for name in slot]
degrees = st.floats(-200, 200)


def test_vocabulary_is_mineworlds():
    assert MINEWORLD.vocabulary == 8262
    names = dict(zip(BUTTONS, range(8192, 8215), strict=True))
    assert (names["use"], names["attack"], names["ESC"], names["hotbar.9"]) == (8192, 8193, 8205, 8214)
    idle = MINEWORLD.encode(Action()).tolist()
    # bos, pitch bin 10 of 8215.., yaw bin 10 of 8236.., seven times null, eos
    assert idle == [8257, 8215 + 10, 8236 + 10, *[8258] * 7, 8259]


def test_slots_lie_in_mineworlds_order():
    held = Action(frozenset({"hotbar.3", "forward", "right", "sneak", "use", "jump", "drop"}), 0.0, 0.0)
    assert MINEWORLD.encode(held)[3:-1].tolist() == [
        8192 + BUTTONS.index(name) for name in ("hotbar.3", "forward", "right", "sneak", "use", "jump", "drop")
    ]


@pytest.mark.parametrize(
    ("pixels", "index"),
    # Worked by hand from the formula: x' = 90 log(1 + 11.4887 |x| / 90) / log(12.4887), bin = round((x' + 90) / 9).
    [(0, 10), (7, 10), (8, 11), (13, 11), (25, 12), (26, 12), (46, 13), (600, 20), (-8, 9), (-600, 0)],
)
def test_camera_bins(pixels, index):
    x = pixels * 0.15
    exact = 90 * math.copysign(math.log(1 + 11.4887 * abs(x) / 90) / math.log(12.4887), x) if x else 0.0
    assert camera_to_bin(x) == int(np.round((exact + 90) / 9)) == index


def test_legacy_camera_truncates_only_on_request():
    """8..13 px become "no motion" and 25, 26 and 46 px land one bin low, as in the released code."""
    legacy = ActionTokenizer(8192, legacy_camera=True)
    for pixels in (8, 13, 25, 26, 46):
        action = Action(yaw=pixels * 0.15)
        assert legacy.encode(action)[2] == MINEWORLD.encode(action)[2] - 1
    assert legacy.encode(Action(yaw=12 * 0.15))[2] == 8236 + 10


@given(degrees)
def test_camera_is_monotone_and_symmetric(angle):
    index = camera_to_bin(angle)
    assert 0 <= index < CAMERA_BINS
    assert camera_to_bin(-angle) == CAMERA_BINS - 1 - index
    assert camera_to_bin(angle + 1) >= index


def test_camera_round_trip_over_all_bins():
    assert [camera_to_bin(bin_to_camera(index)) for index in range(CAMERA_BINS)] == list(range(CAMERA_BINS))
    assert bin_to_camera(10) == 0
    assert bin_to_camera(20) == pytest.approx(90)


@given(st.frozensets(st.sampled_from(BUTTONS)), degrees, degrees)
def test_round_trip_keeps_what_can_be_kept(buttons, pitch, yaw):
    tokens = MINEWORLD.encode(Action(buttons, pitch, yaw))
    back = MINEWORLD.decode(tokens)
    for slot in BUTTON_SLOTS:
        held = [name for name in slot if name in buttons]
        kept = {name for name in slot if name in back.buttons}
        assert kept == (set(held) if len(held) == 1 else set())  # a conflicting pair is null
    assert not back.buttons & {"swapHands", "inventory", "ESC"}
    assert (MINEWORLD.encode(back) == tokens).all()
    assert tokens.min() >= 8192
    assert tokens.max() < 8260


@given(degrees, degrees)
def test_a_fine_camera_is_told_more_finely_in_the_same_words(pitch, yaw):
    """A bin's centre has MineWorld's token; what lies between has its own, which is read as the bin that it is nearest
    to."""
    tokens = FINE.encode(Action(frozenset({"jump"}), pitch, yaw))
    told = camera_degrees(tokens)
    for angle, found in zip((pitch, yaw), told, strict=True):
        clipped = max(-90.0, min(90.0, angle))
        assert abs(found - clipped) <= 0.0165 * (abs(clipped) + 90 / 11.4887)  # of MineWorld's bins, eight times that
    back = FINE.decode(tokens)
    assert np.allclose([back.pitch, back.yaw], told, atol=1e-4)
    np.testing.assert_array_equal(FINE.encode(back), tokens)
    nearest = Action(frozenset({"jump"}), *(bin_to_camera(int(index)) for index in camera_bins(tokens)))
    np.testing.assert_array_equal(FINE.encode(nearest), MINEWORLD.encode(nearest))
    np.testing.assert_array_equal(without_fine_camera(tokens), MINEWORLD.encode(nearest))


def test_every_fine_bin_has_a_token_of_its_own():
    assert FINE.camera_ids.shape == (2, FINER * (CAMERA_BINS - 1) + 1)
    assert len(np.unique(FINE.camera_ids)) == FINE.camera_ids.size
    np.testing.assert_array_equal(FINE.camera_ids[:, ::FINER], MINEWORLD.camera_ids)
    assert FINE.vocabulary == 8192 + 350
    with pytest.raises(ValueError, match="legacy_camera or fine_camera"):
        ActionTokenizer(8192, legacy_camera=True, fine_camera=True)


@pytest.mark.parametrize("known", [MINEWORLD, FINE], ids=["bins", "fine"])
@given(data=st.data())
def test_any_tokens_decode_or_are_refused(known, data):
    bos, null, eos = (8192 + index for index in (65, 66, 67))
    camera = st.integers(8192, 8192 + 360)
    given = [bos, data.draw(camera), data.draw(camera), *data.draw(st.lists(st.integers(8192, 8261), max_size=8))]
    given += [null] * (10 - len(given)) + [eos]
    try:
        action = known.decode(np.array(given))
    except ValueError:
        return
    assert known.encode(action).tolist() == given


def test_bad_actions_are_refused():
    with pytest.raises(ValueError, match="unknown buttons"):
        Action(frozenset({"fly"}))
    with pytest.raises(ValueError, match="finite"):
        Action(yaw=float("nan"))
