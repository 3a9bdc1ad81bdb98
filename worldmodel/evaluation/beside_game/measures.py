"""The model beside the real game: the same start, the same actions, the same questions to the pictures of both.

Every question is put to four sources: the real frames (how well can the pictures be read at all?), their reconstruction
by the model's image tokenizer (the ceiling of any model that has it), the model's own frames, and the model's first
frame repeated. It knows no game and no engine: the trials are recorded (real_trials.py), the model is a protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from worldmodel.data.hud import read_slot
from worldmodel.evaluation.beside_game.block_rule import change_shown, stands
from worldmodel.evaluation.beside_game.real_trials import (
    WALK_STRIDE,
    RealTrial,
    change_mask,
    settled,
    walk_from,
    walk_shown,
    walked,
)
from worldmodel.evaluation.beside_game.trials import AWAY_STEPS, MIRROR_STEPS, MOVE_STEPS, PAUSE, TURNS
from worldmodel.evaluation.beside_game.view_motion import view_turn
from worldmodel.evaluation.metrics.motion import world_weights
from worldmodel.evaluation.metrics.picture import psnr
from worldmodel.types import Action

SOURCES = ("real", "tokenizer", "model", "frozen")

ALIKE_DB = 50.0  # pictures that differ by rounding alone: more says nothing, and would hide the others in a mean
# Of a mirror trial's frames: the turning point, and those before and after it that show the same place.
TURNED = 1 + MIRROR_STEPS
WAY_THERE = [TURNED - step for step in range(1, MIRROR_STEPS + 1)]
WAY_BACK = [TURNED + len(PAUSE) + step for step in range(1, MIRROR_STEPS + 1)]

Frames = NDArray[np.uint8]
Measures = dict[str, Any]


class Model(Protocol):
    """What is compared with the game."""

    frame_shape: tuple[int, int]

    def reconstruct(self, frames: Frames) -> Frames:
        """Frames (n, H, W, 3) as the image tokenizer can show them at best."""
        ...

    def play(self, frames: Frames, actions: Sequence[Action], script: Sequence[Action], seed: int) -> Frames:
        """frames: real (n, H, W, 3), actions: n - 1 between them. The frames (len(script), H, W, 3) that follow."""
        ...


def rest_of(trial: RealTrial) -> int:
    """Index, in a source's frames, at which a change has come to rest."""
    return 1 + settled(trial.start, trial.held) - trial.start


def measured_at(trial: RealTrial, length: int) -> list[int]:
    """Which of a source's `length` frames are measured."""
    if trial.kind in ("dig", "place"):
        return [0, 1, rest_of(trial), length - 1]
    if trial.kind == "hold":
        return [0, 1, *range(length - 1 - MOVE_STEPS, length, WALK_STRIDE)]
    return [0, *range(1, length, _stride(trial))]


def _stride(trial: RealTrial) -> int:
    return WALK_STRIDE if trial.kind in ("move", "pace") else 1


def play_sources(trial: RealTrial, model: Model, seed: int) -> dict[str, Frames]:
    """Source -> frames (2 + script, H, W, 3): the trial's first one, the start frame, and what follows it. Of the
    tokenizer's, those that are not measured are black: they would cost more than all the rest."""
    real = np.concatenate([trial.frames[:1], trial.frames[trial.start :]])
    shown, needed = np.zeros_like(real), measured_at(trial, len(real))
    shown[needed] = model.reconstruct(real[needed])
    context, script = trial.frames[: trial.start + 1], trial.actions[trial.start :]
    made = model.play(context, trial.actions[: trial.start], script, seed)
    assert made.shape == real[2:].shape, f"the model made {made.shape}, not {real[2:].shape}"
    return {
        "real": real,
        "tokenizer": shown,
        "model": np.concatenate([shown[:2], made]),
        "frozen": np.concatenate([shown[:1], np.repeat(shown[1:2], len(real) - 1, 0)]),
    }


def measure(trial: RealTrial, sources: dict[str, Frames]) -> dict[str, Measures]:
    """What each source's frames say, and under "truth" what the game's server said."""
    ask = {"turn": _turns, "move": _moves, "pace": _moves, "hold": _moves, "hotbar": _slots, "mirror": _returns}
    ask |= {"dig": _changes, "place": _changes}
    return ask[trial.kind](trial, sources)


def _turns(trial: RealTrial, sources: dict[str, Frames]) -> dict[str, Measures]:
    script = trial.actions[trial.start :]
    axis = next(axis for axis, degrees in enumerate(TURNS[trial.variant.split()[0]]) if degrees)
    turns = [(action.pitch, action.yaw) for action in script]
    pitches = trial.poses[trial.start].pitch + np.cumsum([0.0, *(pitch for pitch, _ in turns)])
    found: dict[str, Measures] = {"truth": {"degrees": sum(turn[axis] for turn in turns)}}
    for name, frames in sources.items():
        steps = [
            view_turn(before, after, float(pitch))[axis]
            for before, after, pitch in zip(frames[1:-1], frames[2:], pitches[:-1], strict=True)
        ]
        found[name] = {"degrees": float(sum(steps)), "steps": steps}
    return found


def _moves(trial: RealTrial, sources: dict[str, Frames]) -> dict[str, Measures]:
    """Nodes (forward, right), at the pace that fits all strides best."""
    first = walk_from(trial.kind, trial.start, len(trial.poses))
    pose = trial.poses[first]
    forward, right = walked(pose, trial.poses[-1])
    found: dict[str, Measures] = {"truth": {"forward": forward, "right": right}}
    for name, frames in sources.items():
        forward, right = walk_shown(list(frames[1 + first - trial.start :]), pose)
        found[name] = {"forward": forward, "right": right}
    return found


def _returns(trial: RealTrial, sources: dict[str, Frames]) -> dict[str, Measures]:
    """dB, at most ALIKE_DB, between what the way there and the way back show ("mirror"), and between the start and
    the turning point ("moved")."""
    walk = walked(trial.poses[trial.start], trial.poses[-1])
    found: dict[str, Measures] = {"truth": {"strayed": float(np.hypot(*walk))}}
    for name, frames in sources.items():
        pairs = {"mirror": (frames[WAY_THERE], frames[WAY_BACK]), "moved": (frames[1:2], frames[TURNED][None])}
        found[name] = {f"{key}_db": float(np.minimum(psnr(*pair), ALIKE_DB).mean()) for key, pair in pairs.items()}
    return found


def _slots(trial: RealTrial, sources: dict[str, Frames]) -> dict[str, Measures]:
    wanted = int(trial.variant.split()[1]) - 1
    found: dict[str, Measures] = {"truth": {"slot": wanted, "before": trial.poses[trial.start].slot}}
    for name, frames in sources.items():
        found[name] = {"slot": int(read_slot(frames[-1:])[0])}
    return found


def _changes(trial: RealTrial, sources: dict[str, Frames]) -> dict[str, Measures]:
    """How much of the change stands there: after a look away and back before it was made ("control": it should be near
    0), when it has come to rest ("after"), and after a look away and back ("back"). Of the last two also how much is
    drawn as the real game drew it."""
    assert trial.node is not None, "these trials change a node"
    height, width = trial.frames.shape[1:3]
    mask, world = change_mask(trial.node, trial.poses[trial.start], height, width), world_weights(height, width) > 0
    rest = rest_of(trial)
    found: dict[str, Measures] = {"truth": {"node": trial.node.node, "pixels": int(mask.sum())}}
    for name, frames in sources.items():
        # What a tokenizer blurs is no fault of the model: its frames are held against reconstructions.
        reference = sources["real" if name == "real" else "tokenizer"]
        without, shown = reference[0], reference[rest]
        moments = {"control": frames[1], "after": frames[rest], "back": frames[-1]}
        found[name] = {f"stands_{at}": stands(frame, without, shown, mask, world) for at, frame in moments.items()}
        for at in ("after", "back"):
            found[name][f"drawn_{at}"] = change_shown(moments[at], without, shown, mask)
    return found


def strip(trial: RealTrial, sources: dict[str, Frames]) -> Frames:
    """The real game above, the model below, at the moments that matter: (2 H, n W, 3)."""
    length, rest = len(sources["real"]), rest_of(trial)
    if trial.kind in ("dig", "place"):
        away = rest + AWAY_STEPS
        moments = [1, 1 + trial.held, rest, (rest + away) // 2, away, length - 1]
    elif trial.kind == "hold":
        moments = [*range(1, length, 2 * MOVE_STEPS), length - 1]
    else:
        moments = list(range(1, length, _stride(trial)))
    return np.concatenate([np.concatenate(list(sources[name][moments]), 1) for name in ("real", "model")])
