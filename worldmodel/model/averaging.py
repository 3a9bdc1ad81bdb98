"""Weights as sums of other weights.

Few windows a step leave much of chance in what is learned. The mean of several runs from one beginning, or of a run and
its beginning, takes it out and keeps what they have in common (model soups, Wortsman et al. 2022, arXiv 2203.05482;
WiSE-FT, Wortsman et al. 2021, arXiv 2109.01903). What one training changed is added to other weights as the difference
of its end and its beginning (task arithmetic, Ilharco et al. 2022, arXiv 2212.04089).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from worldmodel.checkpoint import CheckpointError
from worldmodel.checks import ConfigError
from worldmodel.model.loading import WorldModel, check_codes, load_world_model


def shares_of(count: int, given: Sequence[float]) -> tuple[float, ...]:
    """How much of each of `count` weights is taken: `given`, or as much of each. ConfigError unless there is one for
    each, and they add up to 1 (else the sum is not as large as weights are)."""
    if count == 0:
        raise ConfigError("--checkpoints names none: give at least one world model")
    if not given:
        return (1 / count,) * count
    if len(given) != count:
        raise ConfigError(f"--shares takes one number for each of the {count} checkpoints, got {len(given)}")
    if not math.isclose(sum(given), 1, abs_tol=1e-6):
        raise ConfigError(f"--shares must add up to 1, got {' '.join(map(str, given))}: {sum(given):g}")
    return tuple(given)


def averaged(folders: Sequence[Path], shares: Sequence[float]) -> WorldModel:
    """The first folder's world model with the transformers' sum, each times its share, added up in float64.
    CheckpointError if one has another configuration, or other codes."""
    models = map(load_world_model, folders)  # one beside the first at a time
    first = next(models)
    total: dict[str, Tensor] = {}
    for folder, share, other in zip(folders, shares, chain([first], models), strict=True):
        if other.config != first.config:
            raise CheckpointError(
                f"{folder}: its configuration is not that of {folders[0]}, so that their weights have no mean"
            )
        check_codes(folder, other.tokenizer, first.tokenizer)
        for name, weights in other.transformer.state_dict().items():
            part = share * weights.to(torch.float64)
            total[name] = total[name] + part if name in total else part
    first.transformer.load_state_dict(total)
    return first
