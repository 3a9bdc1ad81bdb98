"""VPT's own inverse dynamics model, read from its published weights file, for Minecraft clips.

Architecture: openai/Video-Pre-Training, `InverseActionPolicy` with the options of `4x_idm.model` (arXiv 2206.11795,
appendix D): a temporal convolution, an IMPALA network a frame, two transformer blocks that see all frames, two heads.
Submodules have the names of the published file. That file's `.model` companion is a pickle and is never read.
The model was made for 20 Hz clips of Minecraft, 128 frames at a time; at another rate its readings mean little.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from worldmodel.checkpoint import CheckpointError, read_published
from worldmodel.readers.idm import ReadActions
from worldmodel.tokenizers.action import CAMERA_BINS, camera_to_bin
from worldmodel.types import BUTTONS, WorldModelError

# The order of the published head (lib/actions.py). swapHands, pickItem and ESC were never predicted.
VPT_BUTTONS = (
    *("attack", "back", "forward", "jump", "left", "right", "sneak", "sprint", "use", "drop", "inventory"),
    *(f"hotbar.{slot}" for slot in range(1, 10)),
)
VPT_CAMERA_BINS = 11
VPT_CAMERA_MAX_DEGREES = 10.0
VPT_CAMERA_MU = 10.0
IMAGE_SIDE = 128  # pixels; clips of any size are resized, as VPT does
TIMESTEPS = 128  # frames that it was trained on at a time
TEMPERATURE = 4.0  # the published heads divide their logits by it
FRAMES_AT_ONCE = 16  # through the convolutions: bounds the memory, not the result

# Tensors of the published file that the published forward pass does not use: it overwrites `lastlayer`'s result
# (whether training did so is unknown), and with no memory the relative attention has no distances: b_nd has no columns.
UNUSED = ("net.lastlayer.", ".orc_block.r_layer.", ".orc_block.b_nd")


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


def vpt_bin_degrees() -> NDArray[np.float64]:
    """The degrees at the centres of VPT's camera bins: mu-law, (11,), -10 to 10."""
    value = np.linspace(-1, 1, VPT_CAMERA_BINS)
    return np.sign(value) * ((1 + VPT_CAMERA_MU) ** abs(value) - 1) / VPT_CAMERA_MU * VPT_CAMERA_MAX_DEGREES


def _bin_table() -> NDArray[np.float32]:
    """0/1 (11, 21): the action tokens' bin that holds the centre of each of VPT's bins."""
    table = np.zeros((VPT_CAMERA_BINS, CAMERA_BINS), np.float32)
    table[range(VPT_CAMERA_BINS), [camera_to_bin(float(degrees)) for degrees in vpt_bin_degrees()]] = 1
    return table


def _resize(frames: NDArray[np.uint8], side: int) -> Tensor:
    """uint8 (T, H, W, 3) -> uint8 (T, 3, side, side), bilinear without antialiasing, as VPT's cv2.resize."""
    parts = []
    for start in range(0, len(frames), FRAMES_AT_ONCE):
        piece = torch.from_numpy(np.array(frames[start : start + FRAMES_AT_ONCE])).permute(0, 3, 1, 2).float()
        parts.append(F.interpolate(piece, (side, side), mode="bilinear").round().clamp(0, 255).byte())
    return torch.cat(parts)


@torch.inference_mode()
def read_vpt_actions(model: VPTInverseDynamicsModel, frames: NDArray[np.uint8]) -> ReadActions:
    """The actions between T frames, uint8 (T, H, W, 3), as `read_actions` gives them.

    Clips longer than TIMESTEPS are read in pieces of TIMESTEPS that overlap by half; each reading is taken where it
    lies deepest in its piece. VPT's 11 camera bins are added up in the 21 of the action tokens (its limit of 10 degrees
    stays). Buttons that VPT does not know have probability 0. Nothing is kept between calls. WorldModelError for fewer
    than two frames.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) < 2:
        raise WorldModelError(f"VPT's IDM reads two or more RGB frames (T, H, W, 3), got an array of {frames.shape}")
    device = model.net.final_ln.weight.device
    T, half = len(frames), TIMESTEPS // 2
    starts = [0] if T <= TIMESTEPS else [*range(0, T - TIMESTEPS, half), T - TIMESTEPS]
    small = _resize(frames, model.config.side)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    done = 0
    for start in starts:
        last = start == starts[-1]
        stop = T if last else start + half + half // 2  # frames done..stop - 1 are taken from this piece
        whole = model(small[start : start + TIMESTEPS].to(device))
        buttons, camera, features = (values[done - start : stop - start].float().cpu() for values in whole)
        parts.append((buttons, camera, features))
        done = stop
    known, camera, features = (torch.cat(part)[: T - 1].numpy() for part in zip(*parts, strict=True))
    buttons = np.zeros((T - 1, len(BUTTONS)), np.float32)
    buttons[:, [BUTTONS.index(name) for name in VPT_BUTTONS]] = known
    return ReadActions(buttons, camera @ _bin_table(), features, camera.argmax(-1))


def load_vpt_idm(
    weights: Path, device: str | torch.device = "cpu", config: VPTIDMConfig = VPTIDMConfig()
) -> VPTInverseDynamicsModel:
    """VPT's model from its published `.weights` file (not the `.model` one), in float32 and eval mode.

    Read with weights_only=True: nothing is unpickled but tensors. CheckpointError for a missing or another file.
    """
    if not weights.is_file():
        raise CheckpointError(f"{weights} is no file; give the .weights file of VPT's inverse dynamics model")
    state = read_published(weights, "; the .model file is not read")
    with torch.device("meta"):  # no memory is taken before the names and shapes are known to be right
        model = VPTInverseDynamicsModel(config)
    wanted = model.state_dict()
    have = {name: tensor for name, tensor in state.items() if not any(part in name for part in UNUSED)}
    if have.keys() != wanted.keys():
        odd = sorted(have.keys() ^ wanted.keys())[:4]
        raise CheckpointError(f"{weights}: its tensors are not those of VPT's inverse dynamics model (first: {odd})")
    for name, tensor in wanted.items():
        if have[name].shape != tensor.shape:
            raise CheckpointError(f"{weights}: {name} has shape {tuple(have[name].shape)}, not {tuple(tensor.shape)}")
    model.load_state_dict({name: tensor.float() for name, tensor in have.items()}, assign=True)
    return model.eval().requires_grad_(False).to(device)
