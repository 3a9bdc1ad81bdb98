"""Action tokenizer: an action becomes MineWorld's 11 tokens, and back.

Order, vocabulary and the mu-law camera quantiser follow the MineWorld paper (arXiv 2504.08388); the mu-law
discretisation is VPT's (arXiv 2206.11795). Token ids count from 0 here; a model adds its image codebook
size (8192 for MineWorld: 8192 "use" ... 8259 "<act_eos>"). A model of a fine camera knows, behind those ids, the bins
that lie between MineWorld's: its 21 are up to a tenth of the picture wide, so that a model which is told no more
cannot know where what it draws has to stand. It knows no images and no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from worldmodel.types import BUTTONS, Action

CAMERA_MAX_DEGREES = 90.0
CAMERA_BIN_SIZE = 9.0
CAMERA_MU = 11.4887
CAMERA_BINS = int(2 * CAMERA_MAX_DEGREES / CAMERA_BIN_SIZE) + 1  # 21
CAMERA_CENTRE = CAMERA_BINS // 2
FINER = 8  # bins of the fine camera in one; each bin's centre is also that of a fine one

PITCH_BASE = len(BUTTONS)
YAW_BASE = PITCH_BASE + CAMERA_BINS
ACT_BOS = YAW_BASE + CAMERA_BINS
NULL_ACT = ACT_BOS + 1
ACT_EOS = NULL_ACT + 1
UNUSED_IDS = 2  # MineWorld's table ends with two ids that are never used (8260 and 8261)
ACTION_VOCABULARY = ACT_EOS + 1 + UNUSED_IDS  # 70
FINE_VOCABULARY = ACTION_VOCABULARY + 2 * (FINER - 1) * (CAMERA_BINS - 1)  # 350

# One slot a row: the buttons that share it. Two of them held at once (a conflicting pair) give <null_act>.
BUTTON_SLOTS: tuple[tuple[str, ...], ...] = (
    tuple(f"hotbar.{slot}" for slot in range(1, 10)),
    ("forward", "back"),
    ("left", "right"),
    ("sprint", "sneak"),
    ("use", "attack"),
    ("jump",),
    ("drop", "pickItem"),
)
TOKENS_PER_ACTION = 1 + 2 + len(BUTTON_SLOTS) + 1  # bos, pitch, yaw, slots, eos = 11
_ID = {name: index for index, name in enumerate(BUTTONS)}


def camera_to_bin(degrees: float, finer: int = 1) -> int:
    """Degrees (clipped to +-90) -> bin 0..20; 10 is no motion. Mu-law, rounded half to even like numpy. finer: bins in
    one."""
    clipped = max(-CAMERA_MAX_DEGREES, min(CAMERA_MAX_DEGREES, degrees))
    scaled = math.log1p(CAMERA_MU * abs(clipped) / CAMERA_MAX_DEGREES) / math.log1p(CAMERA_MU)
    value = math.copysign(scaled, clipped) * CAMERA_MAX_DEGREES
    return int(np.round((value + CAMERA_MAX_DEGREES) / (CAMERA_BIN_SIZE / finer)))


def bin_to_camera(index: int, finer: int = 1) -> float:
    """Bin 0..20 -> the degrees at its centre (the inverse of the mu-law). finer: bins in one."""
    last = finer * (CAMERA_BINS - 1)
    if not 0 <= index <= last:
        raise ValueError(f"a camera bin lies in 0..{last}, got {index}")
    value = (index * CAMERA_BIN_SIZE / finer - CAMERA_MAX_DEGREES) / CAMERA_MAX_DEGREES
    return math.copysign(((1 + CAMERA_MU) ** abs(value) - 1) / CAMERA_MU, value) * CAMERA_MAX_DEGREES


@cache
def told_degrees(legacy: bool, finer: int) -> tuple[float, ...]:
    """(bins,): a move that is told as each bin, as near to its centre as can be. legacy: in whole degrees."""
    centres = [bin_to_camera(index, finer) for index in range(finer * (CAMERA_BINS - 1) + 1)]
    if not legacy:
        return tuple(centres)
    whole = np.arange(-CAMERA_MAX_DEGREES, CAMERA_MAX_DEGREES + 1)
    bins = np.array([camera_to_bin(degrees) for degrees in whole])
    return tuple(float(min(whole[bins == index], key=lambda n: abs(n - c))) for index, c in enumerate(centres))


def _camera_ids() -> NDArray[np.int64]:
    """(2, fine bins): the ids of [pitch, yaw]; MineWorld's for its own bins, one after another for those between."""
    ids = np.empty((2, FINER * (CAMERA_BINS - 1) + 1), np.int64)
    between = np.arange(ids.shape[1]) % FINER > 0
    ids[:, ~between] = np.array([[PITCH_BASE], [YAW_BASE]]) + np.arange(CAMERA_BINS)
    ids[:, between] = np.arange(ACTION_VOCABULARY, FINE_VOCABULARY).reshape(2, -1)
    return ids


CAMERA_IDS = _camera_ids()
_NO_BIN = -1
_FINE_BINS = np.full((2, FINE_VOCABULARY), _NO_BIN)  # the inverse
_FINE_BINS[[[0], [1]], CAMERA_IDS] = np.arange(CAMERA_IDS.shape[1])
_FINE_DEGREES = np.array([bin_to_camera(index, FINER) for index in range(CAMERA_IDS.shape[1])])


def _fine_bins(tokens: NDArray[np.integer]) -> NDArray[np.int64]:
    ids = tokens[..., 1:3] - tokens[..., :1] + ACT_BOS
    return np.stack([_FINE_BINS[axis, ids[..., axis]] for axis in (0, 1)], -1)


def camera_bins(tokens: NDArray[np.integer]) -> NDArray[np.int64]:
    """Action tokens (..., 11), of any base -> their camera bins (..., 2) of [pitch, yaw]; of fine ones, the nearest."""
    return np.round(_fine_bins(tokens) / FINER).astype(np.int64)


def camera_degrees(tokens: NDArray[np.integer]) -> NDArray[np.float32]:
    """Action tokens (..., 11), of any base -> the degrees (..., 2) of [pitch, yaw] that they tell."""
    return _FINE_DEGREES[_fine_bins(tokens)].astype(np.float32)


def without_fine_camera(tokens: NDArray[np.integer]) -> NDArray[np.int32]:
    """Action tokens (..., 11), of any base, in MineWorld's vocabulary."""
    coarse = tokens.astype(np.int32)
    coarse[..., 1:3] = tokens[..., :1] - ACT_BOS + np.array([PITCH_BASE, YAW_BASE]) + camera_bins(tokens)
    return coarse


@dataclass(frozen=True, slots=True)
class ActionTokenizer:
    """Actions to tokens and back.

    base: id of the first action token, i.e. the image codebook size. legacy_camera: truncate degrees
    towards zero before quantising, as MineWorld's released code does (weights trained on it expect that).
    fine_camera: tell the camera's moves FINER times as finely as MineWorld's bins do.
    """

    base: int
    legacy_camera: bool = False
    fine_camera: bool = False

    def __post_init__(self) -> None:
        if self.legacy_camera and self.fine_camera:
            raise ValueError("a camera in whole degrees is not a fine one: legacy_camera or fine_camera")

    @property
    def size(self) -> int:
        """Action tokens."""
        return FINE_VOCABULARY if self.fine_camera else ACTION_VOCABULARY

    @property
    def vocabulary(self) -> int:
        """Image codes and action tokens together (8262 for a codebook of 8192)."""
        return self.base + self.size

    @property
    def finer(self) -> int:
        """Camera bins in one of MineWorld's."""
        return FINER if self.fine_camera else 1

    @property
    def camera_ids(self) -> NDArray[np.int64]:
        """(2, bins): the ids, from 0, of the camera bins of [pitch, yaw]."""
        return CAMERA_IDS[:, :: FINER // self.finer]

    def encode(self, action: Action) -> NDArray[np.int32]:
        """Action -> int32 (11,). Buttons without a slot (swapHands, inventory, ESC) are not representable."""
        ids = [ACT_BOS, *(int(row[index]) for row, index in zip(self.camera_ids, self._bins(action), strict=True))]
        for slot in BUTTON_SLOTS:
            held = [name for name in slot if name in action.buttons]
            ids.append(_ID[held[0]] if len(held) == 1 else NULL_ACT)
        ids.append(ACT_EOS)
        return np.asarray(ids, np.int32) + np.int32(self.base)

    def _bins(self, action: Action) -> tuple[int, int]:
        """Of pitch and yaw."""
        degrees = action.pitch, action.yaw
        pitch, yaw = (math.trunc(one) for one in degrees) if self.legacy_camera else degrees
        return camera_to_bin(pitch, self.finer), camera_to_bin(yaw, self.finer)

    def told(self, action: Action) -> Action:
        """The action with the camera's move that its tokens tell; they are the same for it."""
        degrees = told_degrees(self.legacy_camera, self.finer)
        return Action(action.buttons, *(degrees[index] for index in self._bins(action)))

    def decode(self, tokens: NDArray[np.integer]) -> Action:
        """int (11,) -> Action (camera at its bin's centre). ValueError where a token is in a wrong slot."""
        ids = [int(token) - self.base for token in tokens]
        if len(ids) != TOKENS_PER_ACTION:
            raise ValueError(f"an action is {TOKENS_PER_ACTION} tokens, got {len(ids)}")
        if ids[0] != ACT_BOS or ids[-1] != ACT_EOS:
            raise ValueError(f"an action starts with <act_bos> and ends with <act_eos>, got ids {ids}")
        buttons = set()
        for slot, token in zip(BUTTON_SLOTS, ids[3:-1], strict=True):
            if token == NULL_ACT:
                continue
            if not 0 <= token < len(BUTTONS) or BUTTONS[token] not in slot:
                raise ValueError(f"action token {token} does not belong in the slot of {'/'.join(slot)}")
            buttons.add(BUTTONS[token])
        camera = []
        for axis, token in enumerate(ids[1:3]):
            index = _FINE_BINS[axis, token] if 0 <= token < self.size else _NO_BIN
            if index == _NO_BIN:
                raise ValueError(f"action token {token} is no camera bin of its axis")
            camera.append(float(_FINE_DEGREES[index]))
        return Action(frozenset(buttons), *camera)
