"""Action tokenizer: an action becomes MineWorld's 11 tokens, and back.

Order, vocabulary and the mu-law camera quantiser follow the MineWorld paper (arXiv 2504.08388); the mu-law
discretisation is VPT's (arXiv 2206.11795). Token ids count from 0 here; a model adds its image codebook
size (8192 for MineWorld: 8192 "use" ... 8259 "<act_eos>"). It knows no images and no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worldmodel.types import BUTTONS, Action

CAMERA_MAX_DEGREES = 90.0
CAMERA_BIN_SIZE = 9.0
CAMERA_MU = 11.4887
CAMERA_BINS = int(2 * CAMERA_MAX_DEGREES / CAMERA_BIN_SIZE) + 1  # 21
CAMERA_CENTRE = CAMERA_BINS // 2

PITCH_BASE = len(BUTTONS)
YAW_BASE = PITCH_BASE + CAMERA_BINS
ACT_BOS = YAW_BASE + CAMERA_BINS
NULL_ACT = ACT_BOS + 1
ACT_EOS = NULL_ACT + 1
UNUSED_IDS = 2  # MineWorld's table ends with two ids that are never used (8260 and 8261)
ACTION_VOCABULARY = ACT_EOS + 1 + UNUSED_IDS  # 70

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


def camera_to_bin(degrees: float) -> int:
    """Degrees (clipped to +-90) -> bin 0..20; 10 is no motion. Mu-law, rounded half to even like numpy."""
    clipped = max(-CAMERA_MAX_DEGREES, min(CAMERA_MAX_DEGREES, degrees))
    scaled = math.log1p(CAMERA_MU * abs(clipped) / CAMERA_MAX_DEGREES) / math.log1p(CAMERA_MU)
    value = math.copysign(scaled, clipped) * CAMERA_MAX_DEGREES
    return int(np.round((value + CAMERA_MAX_DEGREES) / CAMERA_BIN_SIZE))


def bin_to_camera(index: int) -> float:
    """Bin 0..20 -> the degrees at its centre (the inverse of the mu-law)."""
    if not 0 <= index < CAMERA_BINS:
        raise ValueError(f"a camera bin lies in 0..{CAMERA_BINS - 1}, got {index}")
    value = (index * CAMERA_BIN_SIZE - CAMERA_MAX_DEGREES) / CAMERA_MAX_DEGREES
    return math.copysign(((1 + CAMERA_MU) ** abs(value) - 1) / CAMERA_MU, value) * CAMERA_MAX_DEGREES


def camera_bins(tokens: NDArray[np.integer]) -> NDArray[np.int64]:
    """Action tokens (..., 11), of any base -> their camera bins (..., 2) of [pitch, yaw]."""
    return (tokens[..., 1:3] - tokens[..., :1] + ACT_BOS - np.array([PITCH_BASE, YAW_BASE])).astype(np.int64)


@dataclass(frozen=True, slots=True)
class ActionTokenizer:
    """Actions to tokens and back.

    base: id of the first action token, i.e. the image codebook size. legacy_camera: truncate degrees
    towards zero before quantising, as MineWorld's released code does (weights trained on it expect that).
    """

    base: int
    legacy_camera: bool = False

    @property
    def vocabulary(self) -> int:
        """Image codes and action tokens together (8262 for a codebook of 8192)."""
        return self.base + ACTION_VOCABULARY

    def encode(self, action: Action) -> NDArray[np.int32]:
        """Action -> int32 (11,). Buttons without a slot (swapHands, inventory, ESC) are not representable."""
        pitch, yaw = action.pitch, action.yaw
        if self.legacy_camera:
            pitch, yaw = math.trunc(pitch), math.trunc(yaw)
        ids = [ACT_BOS, PITCH_BASE + camera_to_bin(pitch), YAW_BASE + camera_to_bin(yaw)]
        for slot in BUTTON_SLOTS:
            held = [name for name in slot if name in action.buttons]
            ids.append(_ID[held[0]] if len(held) == 1 else NULL_ACT)
        ids.append(ACT_EOS)
        return np.asarray(ids, np.int32) + np.int32(self.base)

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
        return Action(frozenset(buttons), bin_to_camera(ids[1] - PITCH_BASE), bin_to_camera(ids[2] - YAW_BASE))
