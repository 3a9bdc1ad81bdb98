"""Action-following scores: hand-worked cases, scikit-learn's formulas, and what cannot be scored."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from worldmodel.evaluation.following.opposites import parted
from worldmodel.evaluation.following.scores import GROUPS, add_up, as_told, count, interval, score
from worldmodel.evaluation.metrics.picture import EQUAL_PSNR, frechet_distance, psnr, sharpness, ssim
from worldmodel.tokenizers.action import CAMERA_CENTRE, bin_to_camera
from worldmodel.types import BUTTONS

STILL = np.full((4, 2), CAMERA_CENTRE)


def held(*steps):
    """A row a step; its buttons separated by spaces."""
    return np.array([[name in step.split() for name in BUTTONS] for step in steps])


def random_play(steps, seed):
    rng = np.random.default_rng(seed)
    buttons = as_told(rng.random((steps, len(BUTTONS))) < 0.2)
    return buttons, rng.integers(0, 21, (steps, 2))


def test_hand_worked_group():
    told, read = held("forward", "forward", "back", ""), held("forward", "", "forward", "")
    group = score(count(told, read, STILL, STILL)).groups["forward/back"]
    assert group.classes["forward"].precision == pytest.approx(1 / 2)
    assert group.classes["forward"].recall == pytest.approx(1 / 2)
    assert group.classes["back"].f1 == 0
    assert group.classes["none"].f1 == pytest.approx(2 / 3)  # read twice, once rightly
    assert group.macro.f1 == pytest.approx((1 / 2 + 0 + 2 / 3) / 3)
    assert group.micro_f1 == pytest.approx(2 / 4)
    assert group.macro.support == 3
    assert group.confusion == [[1, 0, 0], [1, 1, 0], [0, 1, 0]]


def test_same_as_the_library():
    (told, bins), (read, read_bins) = random_play(500, 0), random_play(500, 1)
    result = score(count(told, read, bins, read_bins))
    for name, buttons in GROUPS.items():
        columns = [BUTTONS.index(button) for button in buttons]
        classes = [np.where(p[:, columns].any(1), p[:, columns].argmax(1) + 1, 0) for p in (told, read)]
        macro = precision_recall_fscore_support(*classes, average="macro", zero_division=0)
        group = result.groups[name].macro
        assert (group.precision, group.recall, group.f1) == pytest.approx(macro[:3])


def test_perfect_and_useless_readers():
    buttons, bins = random_play(300, 2)
    perfect = score(count(buttons, buttons, bins, bins))
    assert perfect.f1 == perfect.micro_f1 == 1
    assert perfect.camera_degrees == 0
    nothing = score(count(buttons, np.zeros_like(buttons), bins, np.full_like(bins, CAMERA_CENTRE)))
    assert nothing.f1 < 0.6
    assert nothing.camera["yaw"].moved_sign == 0


def test_a_group_that_was_never_used_is_left_out_of_the_mean():
    told = held("forward", "back", "", "")
    result = score(count(told, told, STILL, STILL))
    assert result.f1 == 1
    assert result.groups["drop"].macro.support == 0
    wrong = score(count(told, held("forward", "back", "drop", ""), STILL, STILL))
    assert wrong.f1 == 1  # nothing is known of drop here
    assert wrong.groups["drop"].classes["none"].recall == pytest.approx(3 / 4)


def test_two_buttons_of_a_slot_are_none():
    told = as_told(held("forward back jump", "use attack", "left"))
    assert (told == held("jump", "", "left")).all()


def test_camera_degrees():
    told = np.array([[10, 15], [10, 10]])
    read = np.array([[10, 5], [11, 10]])
    result = score(count(held("", ""), held("", ""), told, read))
    assert result.camera["yaw"].error_bins == 5
    assert result.camera["yaw"].error_degrees == pytest.approx((bin_to_camera(15) - bin_to_camera(5)) / 2)
    assert result.camera["yaw"].moved_sign == 0
    assert result.camera["pitch"].near == 1
    assert result.camera["pitch"].moved == 0


def test_counts_add_up_and_intervals_hold_the_score():
    plays = [random_play(60, seed) for seed in range(8)]
    reads = [random_play(60, seed + 100) for seed in range(8)]
    parts = [count(a, b, x, y) for (a, x), (b, y) in zip(plays, reads, strict=True)]
    together = [np.concatenate([pair[part] for pair in pairs]) for part in (0, 1) for pairs in (plays, reads)]
    whole = score(count(together[0], together[1], together[2], together[3]))
    assert score(add_up(parts)).f1 == pytest.approx(whole.f1)
    low, high = interval(parts, 200)["f1"]
    assert low < whole.f1 < high
    assert high - low < 0.3
    assert interval(parts[:1])["f1"][0] == pytest.approx(score(parts[0]).f1, abs=1e-4)


def test_picture_scores():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
    b = a.copy()
    b[1] = 255 - a[1]
    assert psnr(a, b)[0] == EQUAL_PSNR
    assert psnr(np.zeros_like(a), np.full_like(a, 1))[0] == pytest.approx(48.13, abs=0.01)
    assert ssim(a, b)[0] == pytest.approx(1)
    assert ssim(a, b)[1] < 0.1
    blurred = np.repeat(np.repeat(a[:, ::2, ::2], 2, 1), 2, 2)
    assert (sharpness(blurred) < 0.7 * sharpness(a)).all()


def test_frechet_distance_of_shifted_sets():
    features = np.random.default_rng(0).normal(size=(400, 5))
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(features, features + 2) == pytest.approx(4 * 5)  # squared distance of the means


def test_keys_part_pictures_if_they_do_so_more_than_random_numbers():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (48, 80, 3)).astype(np.uint8)
    other, noise = np.roll(picture, 9, 1), [rng.integers(0, 9, picture.shape).astype(np.uint8) for _ in range(2)]
    seeds = [np.clip(part.astype(int), 0, 246).astype(np.uint8) for part in (picture, other)]
    assert parted(np.stack([np.stack([part + noise[seed] for part in seeds]) for seed in range(2)]))
    deaf = np.stack([np.stack([seeds[0] + noise[seed]] * 2) for seed in range(2)])
    assert not parted(deaf)
    assert not parted(np.stack([np.stack([seeds[seed]] * 2) for seed in range(2)]))  # vivid, and deaf
