"""Sampling: the fast NumPy path against its plain PyTorch twin; counter-based random numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.sampling import GREEDY, Sampler, philox, sample, uniforms
from kernels.sampling_reference import sample_reference


def test_philox_known_answer():
    """Philox4x32-10, zero counter and key: first word 0x6627e8d5 (known-answer test of Random123)."""
    assert philox(0, 0, np.array([0]))[0] == 0x6627E8D5


def test_each_of_seed_frame_and_position_matters():
    base = uniforms(1, 2, np.arange(100))
    assert (uniforms(1, 2, np.arange(100)) == base).all()
    assert (uniforms(1, 2, np.arange(99, -1, -1))[::-1] == base).all()  # in any order
    for other in (
        uniforms(2, 2, np.arange(100)),
        uniforms(1, 3, np.arange(100)),
        uniforms(1 + 2**32, 2, np.arange(100)),
    ):
        assert (other != base).mean() > 0.95


def test_uniforms_are_uniform():
    values = uniforms(7, 1, np.arange(200_000))
    assert 0 <= values.min() < values.max() < 1
    counts = np.histogram(values, 20, (0, 1))[0]
    assert abs(counts - 10_000).max() < 500


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**63),
    st.floats(0, 3),
    st.integers(0, 20),
    st.floats(0.05, 1),
    st.integers(0, 2**31),
)
def test_equals_the_plain_definition(seed, temperature, top_k, top_p, frame):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (6, 37)).astype(np.float32)
    sampler = Sampler(temperature, top_k, top_p)
    positions = rng.integers(0, 300, 6)
    fast = sample(logits, sampler, seed, frame, positions)
    slow = sample_reference(torch.from_numpy(logits), sampler, seed, frame, torch.from_numpy(positions))
    # The two sum probabilities in another order: a target on a boundary may fall to either side.
    assert (fast == slow.numpy()).sum() >= 5


def test_frequencies_follow_the_distribution():
    logits = np.log(np.array([[0.5, 0.3, 0.15, 0.05]], np.float32)).repeat(40_000, 0)
    drawn = sample(logits, Sampler(1.0, 0, 1.0), 3, 0, np.arange(40_000))
    assert np.bincount(drawn, minlength=4) / 40_000 == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.01)
    kept = sample(logits, Sampler(1.0, 0, 0.79), 3, 0, np.arange(40_000))
    assert np.bincount(kept, minlength=4) / 40_000 == pytest.approx([0.625, 0.375, 0, 0], abs=0.01)
    two = sample(logits[:100], Sampler(1.0, 1, 1.0), 3, 0, np.arange(100))
    assert (two == 0).all()


def test_greedy_takes_the_most_likely():
    logits = np.random.default_rng(0).normal(size=(5, 9)).astype(np.float32)
    assert (sample(logits, GREEDY, 0, 0, np.arange(5)) == logits.argmax(-1)).all()


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": -1},
        {"top_p": 0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"temperature": 99},
        {"guidance": -1},
    ],
)
def test_bad_settings_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        Sampler(**values)
