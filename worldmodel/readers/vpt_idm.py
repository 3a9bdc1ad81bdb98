"""VPT's own inverse dynamics model, read from its published weights file, for Minecraft clips.

That file's `.model` companion is a pickle and is never read. The model was made for 20 Hz clips of Minecraft, 128
frames at a time; at another rate its readings mean little.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from worldmodel.checkpoint import CheckpointError
from worldmodel.readers.idm import ReadActions
from worldmodel.readers.vpt_network import (
    FRAMES_AT_ONCE,
    PUBLISHED,
    VPT_BUTTONS,
    VPT_CAMERA_BINS,
    VPTIDMConfig,
    VPTInverseDynamicsModel,
)
from worldmodel.tokenizers.action import CAMERA_BINS, camera_to_bin
from worldmodel.torch_files import read_published
from worldmodel.types import BUTTONS, WorldModelError

VPT_CAMERA_MAX_DEGREES = 10.0
VPT_CAMERA_MU = 10.0
TIMESTEPS = 128  # frames that it was trained on at a time

# Tensors of the published file that the published forward pass does not use: it overwrites `lastlayer`'s result
# (whether training did so is unknown), and with no memory the relative attention has no distances: b_nd has no columns.
UNUSED = ("net.lastlayer.", ".orc_block.r_layer.", ".orc_block.b_nd")


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
    weights: Path, device: str | torch.device = "cpu", config: VPTIDMConfig = PUBLISHED
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
