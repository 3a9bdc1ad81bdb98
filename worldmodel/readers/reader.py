"""What reads actions from pictures: this project's inverse dynamics model, or VPT's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worldmodel.checkpoint import weights_hash
from worldmodel.readers.idm import PRETRAINED_IDM, ReadActions, load_idm, read_actions, told_buttons
from worldmodel.readers.vpt_idm import TIMESTEPS, load_vpt_idm, read_vpt_actions
from worldmodel.readers.vpt_network import VPT_BUTTONS
from worldmodel.types import BUTTONS, WorldModelError


@dataclass(frozen=True, slots=True)
class ActionReader:
    """read: uint8 (T, H, W, 3) -> the T - 1 actions between the frames; sha256: of its weights; size: (height, width)
    that it needs, or None if it takes any; around: frames before and after a step's own two that its reading depends on
    at most; tells: the buttons that it can tell."""

    name: str
    sha256: str
    read: Callable[[NDArray[np.uint8]], ReadActions]
    size: tuple[int, int] | None
    around: int
    tells: frozenset[str] = frozenset(BUTTONS)

    def check(self, size: tuple[int, int], maker: str) -> None:
        """WorldModelError if it cannot read frames of this (height, width)."""
        if self.size not in (None, size):
            raise WorldModelError(
                f"{self.name} reads frames of {self.size[1]}x{self.size[0]}, {maker} makes {size[1]}x{size[0]}: "
                "train one with worldmodel train idm"
            )


def load_reader(path: Path, device: str = "cpu") -> ActionReader:
    """path: the folder of an inverse dynamics model (worldmodel train idm), or the .weights file of VPT's.

    CheckpointError if it is neither.
    """
    if path.is_file():
        vpt = load_vpt_idm(path, device)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return ActionReader(
            name=f"VPT's IDM, {path.name}",
            sha256=digest,
            read=lambda frames: read_vpt_actions(vpt, frames),
            size=None,
            around=TIMESTEPS - 2,
            tells=frozenset(VPT_BUTTONS),
        )
    model = load_idm(path, device)
    return ActionReader(
        name=path.resolve().name,
        sha256=weights_hash(path),
        read=lambda frames: read_actions(model, frames),
        size=(model.config.height, model.config.width),
        around=model.config.around,
    )


def shipped_reader() -> ActionReader:
    """The shipped inverse dynamics model, with the buttons that it can tell. CheckpointError if it is missing."""
    return replace(load_reader(PRETRAINED_IDM), tells=told_buttons(PRETRAINED_IDM))
