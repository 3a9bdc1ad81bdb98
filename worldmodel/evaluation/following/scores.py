"""Action following: are the actions that an inverse dynamics model reads the ones that were told?

MineWorld's protocol (arXiv 2504.08388, section 4.2): precision, recall and F1 per group of buttons that exclude each
other, with "none" as a class, macro- and micro-averaged, then the mean over groups; camera as distance of bins. Also:
support, confusion matrices, degrees, and scores per button; a group that was never used is left out of the mean, not
counted as half right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worldmodel.tokenizers.action import BUTTON_SLOTS, CAMERA_BINS, CAMERA_CENTRE, bin_to_camera
from worldmodel.types import BUTTONS

GROUPS: dict[str, tuple[str, ...]] = {
    "forward/back": ("forward", "back"),
    "left/right": ("left", "right"),
    "sprint/sneak": ("sprint", "sneak"),
    "use": ("use",),
    "attack": ("attack",),
    "jump": ("jump",),
    "drop": ("drop",),
    "hotbar": tuple(f"hotbar.{slot}" for slot in range(1, 10)),
}
_INDEX = {name: index for index, name in enumerate(BUTTONS)}
BIN_DEGREES = np.array([bin_to_camera(index) for index in range(CAMERA_BINS)])
AXES = ("pitch", "yaw")


@dataclass(frozen=True, slots=True)
class Counts:
    """What was told and read in some steps, as sums: those of several clips add up.

    groups: group -> confusion matrix int64 (classes, classes), rows are told, the first class is none; camera: int64
    (2, 21, 21) of pitch and yaw, rows are told.
    """

    groups: dict[str, NDArray[np.int64]]
    camera: NDArray[np.int64]

    def __add__(self, other: Counts) -> Counts:
        groups = {name: self.groups[name] + other.groups[name] for name in self.groups}
        return Counts(groups, self.camera + other.camera)


@dataclass(frozen=True, slots=True)
class Score:
    """precision, recall, f1: 0 to 1; support: steps of the class, or of the group's other classes than none."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class GroupScore:
    """macro: mean over the classes that occur; micro_f1: over all steps (with one class a step it is the accuracy);
    classes: class -> its score; confusion: rows are told."""

    macro: Score
    micro_f1: float
    classes: dict[str, Score]
    confusion: list[list[int]]


@dataclass(frozen=True, slots=True)
class CameraScore:
    """Mean absolute errors, of all steps and of those in which the camera was turned (`moved`), and how many those are;
    exact, near: share of bins that are right, and at most one off."""

    error_bins: float
    error_degrees: float
    moved_error_degrees: float
    moved_sign: float
    exact: float
    near: float
    moved: int


@dataclass(frozen=True, slots=True)
class Following:
    """f1, precision, recall: macro, mean over the groups that were used; micro_f1: the same of the micro averages;
    camera: by axis; steps: how many were scored."""

    f1: float
    precision: float
    recall: float
    micro_f1: float
    groups: dict[str, GroupScore]
    camera: dict[str, CameraScore]
    steps: int

    @property
    def camera_degrees(self) -> float:
        """Mean absolute error over both axes."""
        return float(np.mean([score.error_degrees for score in self.camera.values()]))


def as_told(held: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N, 23) buttons as the action tokens tell them: of a slot's buttons, two at once are none."""
    told = held.copy()
    for slot in BUTTON_SLOTS:
        columns = [_INDEX[name] for name in slot]
        told[np.ix_(held[:, columns].sum(1) > 1, columns)] = False
    return told


def count(
    held: NDArray[np.bool_], read: NDArray[np.bool_], bins: NDArray[np.integer], read_bins: NDArray[np.integer]
) -> Counts:
    """held, read: (N, 23) in BUTTONS' order, at most one of a slot's buttons; bins, read_bins: (N, 2) camera bins."""
    from sklearn.metrics import confusion_matrix

    told = as_told(held)
    groups = {}
    for name, buttons in GROUPS.items():
        columns = [_INDEX[button] for button in buttons]
        classes = [np.where(part[:, columns].any(1), part[:, columns].argmax(1) + 1, 0) for part in (told, read)]
        groups[name] = confusion_matrix(*classes, labels=range(len(buttons) + 1))
    camera = [confusion_matrix(bins[:, axis], read_bins[:, axis], labels=range(CAMERA_BINS)) for axis in (0, 1)]
    return Counts(groups, np.stack(camera))


def add_up(parts: Sequence[Counts]) -> Counts:
    """The sum of one or more."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def score(counts: Counts) -> Following:
    """Scores of the counted steps."""
    groups = {name: _group(confusion, GROUPS[name]) for name, confusion in counts.groups.items()}
    used = [group for group in groups.values() if group.macro.support] or list(groups.values())
    return Following(
        f1=float(np.mean([group.macro.f1 for group in used])),
        precision=float(np.mean([group.macro.precision for group in used])),
        recall=float(np.mean([group.macro.recall for group in used])),
        micro_f1=float(np.mean([group.micro_f1 for group in used])),
        groups=groups,
        camera={axis: _camera(confusion) for axis, confusion in zip(AXES, counts.camera, strict=True)},
        steps=int(counts.camera[0].sum()),
    )


def _group(confusion: NDArray[np.int64], buttons: tuple[str, ...]) -> GroupScore:
    right, told, read = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    precision, recall = right / np.maximum(read, 1), right / np.maximum(told, 1)
    f1 = 2 * right / np.maximum(told + read, 1)
    occur = told > 0
    support = int(told[1:].sum())
    macro = [float(values[occur].mean()) if occur.any() else 0.0 for values in (precision, recall, f1)]
    rows = zip(("none", *buttons), precision, recall, f1, told, strict=True)
    return GroupScore(
        macro=Score(macro[0], macro[1], macro[2], support),
        micro_f1=float(right.sum() / max(1, told.sum())),
        classes={name: Score(float(p), float(r), float(f), int(n)) for name, p, r, f, n in rows},
        confusion=confusion.tolist(),
    )


def _camera(confusion: NDArray[np.int64]) -> CameraScore:
    told, read = np.indices(confusion.shape)
    steps = max(1, int(confusion.sum()))
    off_bins, off_degrees = abs(told - read), abs(BIN_DEGREES[told] - BIN_DEGREES[read])
    turned = confusion * (told != CAMERA_CENTRE)
    moved = int(turned.sum())
    same_sign = np.sign(told - CAMERA_CENTRE) == np.sign(read - CAMERA_CENTRE)
    return CameraScore(
        error_bins=float((confusion * off_bins).sum() / steps),
        error_degrees=float((confusion * off_degrees).sum() / steps),
        moved_error_degrees=float((turned * off_degrees).sum() / max(1, moved)),
        moved_sign=float((turned * same_sign).sum() / max(1, moved)),
        exact=float(confusion.trace() / steps),
        near=float((confusion * (off_bins <= 1)).sum() / steps),
        moved=moved,
    )


def interval(parts: Sequence[Counts], resamples: int = 1000, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95% bootstrap intervals over clips (Efron's percentile method): of f1, micro_f1, camera_degrees and each group's
    macro F1. parts: one a clip."""
    rng = np.random.default_rng(seed)
    stacked = {name: np.stack([part.groups[name] for part in parts]) for name in GROUPS}
    cameras, rows = np.stack([part.camera for part in parts]), []
    for _ in range(resamples if len(parts) > 1 else 1):
        drawn = rng.multinomial(len(parts), np.full(len(parts), 1 / len(parts)))
        groups = {name: np.tensordot(drawn, counts, 1) for name, counts in stacked.items()}
        result = score(Counts(groups, np.tensordot(drawn, cameras, 1)))
        values = {"f1": result.f1, "micro_f1": result.micro_f1, "camera_degrees": result.camera_degrees}
        rows.append({**values, **{name: group.macro.f1 for name, group in result.groups.items()}})
    return {name: tuple(np.percentile([row[name] for row in rows], (2.5, 97.5)).round(4).tolist()) for name in rows[0]}
