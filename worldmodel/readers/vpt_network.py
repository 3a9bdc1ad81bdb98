"""The network of VPT's inverse dynamics model; vpt_idm.py loads and reads with it.

Architecture: openai/Video-Pre-Training, `InverseActionPolicy` with the options of `4x_idm.model` (arXiv 2206.11795,
appendix D): a temporal convolution, an IMPALA network a frame, two transformer blocks that see all frames, two heads.
Submodules have the names of the published file.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# The order of the published head (lib/actions.py). swapHands, pickItem and ESC were never predicted.
VPT_BUTTONS = (
    *("attack", "back", "forward", "jump", "left", "right", "sneak", "sprint", "use", "drop", "inventory"),
    *(f"hotbar.{slot}" for slot in range(1, 10)),
)
VPT_CAMERA_BINS = 11
IMAGE_SIDE = 128  # pixels; clips of any size are resized, as VPT does
TEMPERATURE = 4.0  # the published heads divide their logits by it
FRAMES_AT_ONCE = 16  # through the convolutions: bounds the memory, not the result


@dataclass(frozen=True, slots=True)
class VPTIDMConfig:
    """The sizes of the published 4x model (the weights', not those of the paper's text: its stacks are 64, 128, 128).

    image_channels: of the temporal convolution; stacks: of the IMPALA stacks;
    dense: of the vector a frame between the two; hidden: of the transformer."""

    image_channels: int = 128
    stacks: tuple[int, ...] = (256, 512, 512)
    dense: int = 256
    hidden: int = 4096
    heads: int = 32
    blocks: int = 2
    pointwise_ratio: int = 4
    side: int = IMAGE_SIDE


PUBLISHED = VPTIDMConfig()


class NormedLayer(nn.Module):
    """Norm, layer, ReLU: VPT's FanInInitReLULayer. Where there is a norm, the layer has no bias."""

    def __init__(self, layer: nn.Module, norm: nn.Module | None = None, activate: bool = True) -> None:
        super().__init__()
        self.norm = norm
        self.layer = layer
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x if self.norm is None else self.norm(x))
        return F.relu(x) if self.activate else x


def _convolution(inside: int, outside: int) -> NormedLayer:
    return NormedLayer(nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.GroupNorm(1, inside))


def _linear(inside: int, outside: int) -> NormedLayer:
    return NormedLayer(nn.Linear(inside, outside, bias=False), nn.LayerNorm(inside))


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = _convolution(channels, channels)
        self.conv1 = _convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv1(self.conv0(x))


class DownStack(nn.Module):
    """(B, C, H, W) -> (B, C', H / 2, W / 2): convolution, max-pooling, norm, two residual blocks."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.firstconv = _convolution(inside, outside)
        self.n = nn.GroupNorm(1, outside)
        self.blocks = nn.ModuleList([ResidualBlock(outside), ResidualBlock(outside)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.n(F.max_pool2d(self.firstconv(x), 3, stride=2, padding=1))
        for block in self.blocks:
            x = block(x)
        return x


class ImpalaCNN(nn.Module):
    """(B, C, side, side) -> (B, dense)."""

    def __init__(self, config: VPTIDMConfig) -> None:
        super().__init__()
        ins, side = (config.image_channels, *config.stacks[:-1]), config.side
        self.stacks = nn.ModuleList([DownStack(i, o) for i, o in zip(ins, config.stacks, strict=True)])
        for _ in config.stacks:
            side = (side + 1) // 2
        self.dense = _linear(config.stacks[-1] * side * side, config.dense)

    def forward(self, x: Tensor) -> Tensor:
        for stack in self.stacks:
            x = stack(x)
        return self.dense(x.flatten(1))


class ImageProcess(nn.Module):
    def __init__(self, config: VPTIDMConfig) -> None:
        super().__init__()
        self.cnn = ImpalaCNN(config)
        self.linear = _linear(config.dense, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.cnn(x))


class SelfAttention(nn.Module):
    """Residual attention over all frames, no mask. Scores are divided by the head's size, not its root (muP)."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_layer = nn.Linear(hidden, hidden)
        self.k_layer = nn.Linear(hidden, hidden, bias=False)
        self.v_layer = nn.Linear(hidden, hidden, bias=False)
        self.proj_layer = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        q, k, v = (
            layer(x).view(B, T, self.heads, -1).transpose(1, 2) for layer in (self.q_layer, self.k_layer, self.v_layer)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, scale=self.heads / D)
        return x + self.proj_layer(mixed.transpose(1, 2).reshape(B, T, D))


class Attention(nn.Module):
    """Only a level of names in the published file."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.orc_block = SelfAttention(hidden, heads)

    def forward(self, x: Tensor) -> Tensor:
        return self.orc_block(x)


class TransformerBlock(nn.Module):
    """The attention's residual path starts behind the norm, as published."""

    def __init__(self, config: VPTIDMConfig) -> None:
        super().__init__()
        wide = config.hidden * config.pointwise_ratio
        self.pre_r_ln = nn.LayerNorm(config.hidden)
        self.r = Attention(config.hidden, config.heads)
        self.mlp0 = _linear(config.hidden, wide)
        self.mlp1 = NormedLayer(nn.Linear(wide, config.hidden), activate=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.r(self.pre_r_ln(x))
        return x + self.mlp1(self.mlp0(x))


class Blocks(nn.Module):
    def __init__(self, config: VPTIDMConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([TransformerBlock(config) for _ in range(config.blocks)])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class InverseActionNet(nn.Module):
    """Frames (T, 3, side, side) in [0, 1] -> features (T, hidden)."""

    def __init__(self, config: VPTIDMConfig) -> None:
        super().__init__()
        # Frames are padded with zeros in time by `forward`, so that a part of them gives the same result.
        self.conv3d_layer = NormedLayer(nn.Conv3d(3, config.image_channels, (5, 1, 1)))
        self.img_process = ImageProcess(config)
        self.recurrent_layer = Blocks(config)
        self.final_ln = nn.LayerNorm(config.hidden)

    def forward(self, frames: Tensor) -> Tensor:
        padded = F.pad(frames, (0, 0, 0, 0, 0, 0, 2, 2)).transpose(0, 1)  # (3, T + 4, H, W)
        parts = []
        for start in range(0, len(frames), FRAMES_AT_ONCE):
            piece = padded[:, start : start + FRAMES_AT_ONCE + 4]
            parts.append(self.img_process(self.conv3d_layer(piece[None])[0].transpose(0, 1)))
        return self.final_ln(F.relu(self.recurrent_layer(torch.cat(parts)[None])[0]))


class Head(nn.Module):
    """Features (T, D) -> probabilities (T, count, classes)."""

    def __init__(self, hidden: int, count: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.linear_layer = nn.Linear(hidden, count * classes)

    def forward(self, x: Tensor) -> Tensor:
        return (self.linear_layer(x).unflatten(-1, (-1, self.classes)) / TEMPERATURE).softmax(-1)


class VPTInverseDynamicsModel(nn.Module):
    """uint8 frames (T, 3, side, side) -> probabilities (T, 20) of VPT_BUTTONS, (T, 2, 11) of [pitch, yaw], features."""

    def __init__(self, config: VPTIDMConfig) -> None:
        super().__init__()
        self.config = config
        self.net = InverseActionNet(config)
        self.pi_head = nn.ModuleDict(
            {
                "buttons": Head(config.hidden, len(VPT_BUTTONS), 2),
                "camera": Head(config.hidden, 2, VPT_CAMERA_BINS),
            }
        )

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.net(frames.float() / 255)
        return self.pi_head["buttons"](features)[..., 1], self.pi_head["camera"](features), features
