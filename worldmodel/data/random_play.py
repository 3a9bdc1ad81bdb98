"""A random player, for speed and drift: seeded, endless, and not clever. It knows no game."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from worldmodel.types import Action

# What a random player does next, and how often.
_MOVES: tuple[tuple[frozenset[str], float], ...] = (
    (frozenset({"forward"}), 0.40),
    (frozenset({"forward", "sprint"}), 0.15),
    (frozenset({"forward", "jump"}), 0.10),
    (frozenset(), 0.10),
    (frozenset({"forward", "left"}), 0.05),
    (frozenset({"forward", "right"}), 0.05),
    (frozenset({"left"}), 0.04),
    (frozenset({"right"}), 0.04),
    (frozenset({"back"}), 0.04),
    (frozenset({"attack"}), 0.03),
)
_HOLD_STEPS = (3, 20)
# The camera's speed is a slow random walk; the pitch is drawn back to the horizon.
_SMOOTHNESS, _YAW_DEGREES, _PITCH_DEGREES, _LEVELLING = 0.85, 4.0, 1.2, 0.08


def random_actions(seed: int) -> Iterator[Action]:
    """An endless human-like player: buttons held for some steps, a smooth camera. The same seed, the same actions."""
    generator = np.random.default_rng(seed)
    chances = np.array([chance for _, chance in _MOVES])
    buttons: frozenset[str] = frozenset()
    left, yaw_speed, pitch_speed, pitch = 0, 0.0, 0.0, 0.0
    kick = (1 - _SMOOTHNESS**2) ** 0.5
    while True:
        if left == 0:
            buttons = _MOVES[int(generator.choice(len(_MOVES), p=chances / chances.sum()))][0]
            left = int(generator.integers(*_HOLD_STEPS))
        left -= 1
        yaw_kick, pitch_kick = generator.normal(size=2)
        yaw_speed = _SMOOTHNESS * yaw_speed + kick * _YAW_DEGREES * float(yaw_kick)
        pitch_speed = _SMOOTHNESS * pitch_speed + kick * _PITCH_DEGREES * float(pitch_kick) - _LEVELLING * pitch
        pitch += pitch_speed
        yield Action(buttons, pitch_speed, yaw_speed)
