"""Inverse dynamics model: reads from frames alone which action led from each to the next.

Non-causal, as VPT's is (arXiv 2206.11795, section 3.1): it sees frames on both sides of a transition. A small
convolutional network over the frames around a transition and their differences. (Encoding every frame alone and
stacking the codes was tried first: after 60,000 transitions it still saw no motion.) It knows no world model, and keeps
nothing between calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from worldmodel.checkpoint import (
    CheckpointError,
    config_from_dict,
    config_to_dict,
    load_weights,
    read_config,
    write_checkpoint,
)
from worldmodel.tokenizers.action import BUTTON_SLOTS, CAMERA_BINS
from worldmodel.types import BUTTONS, WorldModelError

PRETRAINED_IDM = Path(__file__).resolve().parent.parent / "pretrained" / "idm"
BUTTON_THRESHOLD = 0.5  # a button whose probability is at least this counts as read
SHRINK = 2  # pixels a side that are averaged first
CHANGE_GAIN = 3.0  # neighbouring frames differ little: brings their differences to the size of the frames


@dataclass(frozen=True, slots=True)
class IDMConfig:
    """height, width: pixels of the frames; before, after: frames seen before and after the transition's own two;
    channels: of the three resolutions; features: size of the vector behind the heads."""

    height: int = 112
    width: int = 192
    before: int = 2
    after: int = 2
    channels: tuple[int, int, int] = (48, 96, 192)
    features: int = 384

    def __post_init__(self) -> None:
        if self.height % SHRINK or self.width % SHRINK:
            raise ValueError(f"height and width must be multiples of {SHRINK}, got {self.height}x{self.width}")
        if self.before < 0 or self.after < 0:
            raise ValueError(f"before and after count frames, got {self.before} and {self.after}")

    @property
    def window(self) -> int:
        """Frames that one transition is read from."""
        return self.before + 2 + self.after


@dataclass(frozen=True, slots=True)
class ReadActions:
    """What was read from T frames; entry i is the action that led from frame i to frame i + 1.

    buttons: float32 (T - 1, 23) probabilities in BUTTONS' order; camera: float32 (T - 1, 2, 21) probabilities of the
    bins of [pitch, yaw]; features: float32 (T - 1, D) of the layer before the heads.
    """

    buttons: NDArray[np.float32]
    camera: NDArray[np.float32]
    features: NDArray[np.float32]

    @property
    def held(self) -> NDArray[np.bool_]:
        """(T - 1, 23): of buttons that exclude each other (a slot of the action tokens), at most the likeliest."""
        held = self.buttons >= BUTTON_THRESHOLD
        for slot in BUTTON_SLOTS:
            columns = [BUTTONS.index(name) for name in slot]
            held[:, columns] &= self.buttons[:, columns] == self.buttons[:, columns].max(1, keepdims=True)
        return held

    @property
    def bins(self) -> NDArray[np.int64]:
        """The likeliest camera bins (T - 1, 2)."""
        return self.camera.argmax(-1)


class Block(nn.Module):
    """Two convolutions around a residual path."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(self.norm(x)))))


class InverseDynamicsModel(nn.Module):
    """Frames (B, T, 3, H, W) in [-1, 1] -> button logits (B, T - 1, 23), camera logits (B, T - 1, 2, 21), features."""

    def __init__(self, config: IDMConfig) -> None:
        super().__init__()
        self.config = config
        a, b, c = config.channels
        # The transition's two frames, and the differences of all neighbours in the window: motion at the first layer.
        self.stem = nn.Conv2d(3 * (2 + config.window - 1), a, 5, stride=2, padding=2)
        self.down = nn.Conv2d(a, b, 3, stride=2, padding=1)
        self.block = Block(b)
        self.merge = nn.Conv2d(b, c, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(Block(c), Block(c))
        self.squeeze = nn.Conv2d(c, c // 4, 1)
        halved = [-(-size // (8 * SHRINK)) for size in (config.height, config.width)]
        self.features = nn.Linear(c // 4 * halved[0] * halved[1], config.features)
        self.buttons = nn.Linear(config.features, len(BUTTONS))
        self.camera = nn.Linear(config.features, 2 * CAMERA_BINS)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        B, T = frames.shape[:2]
        x = F.avg_pool2d(frames.flatten(0, 1), SHRINK).unflatten(0, (B, T))
        # The frames around each transition; beyond the ends, the first and the last again.
        c = self.config
        around = torch.arange(T - 1, device=x.device)[:, None] + torch.arange(-c.before, 2 + c.after, device=x.device)
        x = x[:, around.clamp(0, T - 1)].flatten(0, 1)  # (B * (T - 1), window, 3, h, w)
        changes = (x[:, 1:] - x[:, :-1]) * CHANGE_GAIN
        x = torch.cat([x[:, c.before : c.before + 2], changes], 1).flatten(1, 2)
        x = F.silu(self.stem(x.contiguous(memory_format=torch.channels_last)))
        x = self.blocks(self.merge(F.silu(self.block(self.down(x)))))
        # A plain flattening keeps the places: the hotbar is in one of them.
        x = F.silu(self.features(F.silu(self.squeeze(x)).flatten(1)))
        camera = self.camera(x).view(B, T - 1, 2, CAMERA_BINS)
        return self.buttons(x).view(B, T - 1, -1), camera, x.view(B, T - 1, -1)


def to_input(frames: Tensor) -> Tensor:
    """uint8 (..., T, H, W, 3) -> float (..., T, 3, H, W) in [-1, 1]."""
    return frames.movedim(-1, -3).float() / 127.5 - 1


@torch.inference_mode()
def read_actions(model: InverseDynamicsModel, frames: NDArray[np.uint8], batch: int = 64) -> ReadActions:
    """The actions between T frames, uint8 (T, H, W, 3). WorldModelError for fewer than two, or another size.

    Read in pieces of `batch` transitions that overlap as far as a transition sees: the same as all at once.
    """
    c = model.config
    if frames.ndim != 4 or frames.shape[1:] != (c.height, c.width, 3):
        raise WorldModelError(f"the IDM reads frames of {c.width}x{c.height}, got an array of shape {frames.shape}")
    if len(frames) < 2:
        raise WorldModelError(f"an action is read between two frames, got {len(frames)}")
    device = model.buttons.weight.device
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, len(frames) - 1, batch):
        stop = min(start + batch, len(frames) - 1)  # transitions start..stop - 1
        first, last = max(0, start - c.before), min(len(frames), stop + 1 + c.after)
        piece = torch.from_numpy(np.array(frames[first:last]))[None].to(device)
        buttons, camera, features = model(to_input(piece))
        own = slice(start - first, stop - first)
        parts.append((buttons[0, own].sigmoid(), camera[0, own].softmax(-1), features[0, own]))
    whole = [torch.cat(part).float().cpu().numpy() for part in zip(*parts, strict=True)]
    return ReadActions(*whole)


def save_idm(folder: Path, model: nn.Module, config: IDMConfig, dtype: torch.dtype | None = None) -> None:
    """Writes the folder (see worldmodel/checkpoint.py)."""
    write_checkpoint(folder, {"idm": config_to_dict(config)}, {"idm": model}, dtype)


def load_idm(folder: Path = PRETRAINED_IDM, device: str | torch.device = "cpu") -> InverseDynamicsModel:
    """An inverse dynamics model in float32 and eval mode. CheckpointError if the folder holds none."""
    config = read_config(folder)
    if "idm" not in config:
        raise CheckpointError(f"{folder} holds no inverse dynamics model: scripts/train_idm.py makes one")
    model = InverseDynamicsModel(config_from_dict(IDMConfig, config["idm"], str(folder)))
    load_weights(folder, "idm", model)
    return model.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
