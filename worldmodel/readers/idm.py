"""Inverse dynamics model: reads from frames alone which action led from each to the next.

Non-causal, as VPT's is (arXiv 2206.11795, section 3.1): it sees frames on both sides of a transition. Motion is given
to it, not left to be found: correlation layers (FlowNet, arXiv 1504.06852, section 3) compare each frame with the next
at every displacement that a camera action can cause, for horizontal and for vertical edges apart, and are summed over
learned regions. (Tried first, and blind to turns after 60,000 to 120,000 transitions: convolutions over stacked frames
and their differences; one correlation of features of unit length at every place. In a meadow almost no place shows a
turn, the horizon outweighs what does, and the hotbar, the hand and the crosshair stand still.) It knows no world model,
and keeps nothing between calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from worldmodel.checkpoint import (
    CheckpointError,
    config_from_dict,
    config_to_dict,
    load_module,
    read_config,
    write_checkpoint,
)
from worldmodel.checks import ConfigError, Within, check_fields
from worldmodel.parsing import is_number, read_json
from worldmodel.tokenizers.action import BUTTON_SLOTS, CAMERA_BINS
from worldmodel.types import BUTTONS, HOTBAR, WorldModelError

PRETRAINED_IDM = Path(__file__).resolve().parent.parent / "pretrained" / "idm"
SCORES_FILE = "scores.json"  # of its readings of held-out recorded frames, beside its weights
TELLS_F1 = 0.5  # what is read at least this well, it can tell
BUTTON_THRESHOLD = 0.5  # a button whose probability is at least this counts as read
SHRINK = 2  # pixels a side that are averaged first
CELL = 4  # a cell of the features beside the correlation, in shrunk pixels
COARSE = 2  # shrunk pixels along the motion of a coarse displacement; a fine one is one of them
ACROSS = 4  # and across it, for both
REACH = (14, 2)  # coarse displacements compared along and across: 56 and 16 pixels
FINE_REACH = (5, 1)  # fine ones: 10 and 8 pixels
REGIONS = (3, 4)  # down and across: where the regions are before they are learned
NORM_GROUPS = 8
CHANGE_GAIN = 3.0  # neighbouring frames differ little: brings their differences to the size of the frames


@dataclass(frozen=True, slots=True)
class IDMConfig:
    """The model that reads actions from frames."""

    height: Annotated[int, Within(SHRINK * CELL, 1024)] = 112
    """Height of the frames in pixels."""
    width: Annotated[int, Within(SHRINK * CELL, 1024)] = 192
    """Width of the frames in pixels."""
    around: Annotated[int, Within(0, 64)] = 2
    """Transitions seen before and after the one that is read."""
    channels: Annotated[tuple[int, int, int], Within(1, 4096)] = (12, 96, 160)
    """Channels of the edges that are correlated, and of two resolutions beside them (multiples of 8)."""
    pair: Annotated[int, Within(1, 16384)] = 256
    """Size of a transition's vector."""
    features: Annotated[int, Within(1, 16384)] = 384
    """Size of the vector behind the heads."""

    def __post_init__(self) -> None:
        check_fields(self)
        side = SHRINK * CELL
        if self.height % side or self.width % side:
            raise ConfigError(f"height and width must be multiples of {side}, got {self.height}x{self.width}")
        if any(number % NORM_GROUPS for number in self.channels[1:]):
            raise ConfigError(f"the last two channels must be multiples of {NORM_GROUPS}, got {self.channels}")


@dataclass(frozen=True, slots=True)
class ReadActions:
    """What was read from T frames; entry i is the action that led from frame i to frame i + 1.

    buttons: float32 (T - 1, 23) probabilities in BUTTONS' order; camera: float32 (T - 1, 2, 21) probabilities of the
    bins of [pitch, yaw]; features: float32 (T - 1, D) of the layer before the heads; vpt_camera: int (T - 1, 2), VPT's
    own camera bins, of its model alone.
    """

    buttons: NDArray[np.float32]
    camera: NDArray[np.float32]
    features: NDArray[np.float32]
    vpt_camera: NDArray[np.int64] | None = None

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
        self.norm = nn.GroupNorm(NORM_GROUPS, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(self.norm(x)))))


def correlate(first: Tensor, second: Tensor, reach: tuple[int, int]) -> Tensor:
    """Products of features at displaced places, summed over the channels.

    first, second: (N, C, h, w) -> (N, h, w, (2 * reach[0] + 1) * (2 * reach[1] + 1)); reach: cells up/down, left/right.
    Beyond the edge the features are 0. Each row is compared with whole rows by a matrix product, of which the
    reachable diagonals are kept: several times as fast as place by place.
    """
    (rows, columns), (N, C, h, w) = reach, first.shape
    second = F.pad(second, (columns, columns, rows, rows))
    W, tall = second.shape[3], 2 * rows + 1
    near = second.unfold(2, tall, 1).permute(0, 2, 1, 4, 3).reshape(N * h, C, tall * W)
    similar = torch.bmm(first.permute(0, 2, 3, 1).reshape(N * h, w, C), near).view(N, h, w, tall, W)
    across = torch.arange(2 * columns + 1, device=first.device) + torch.arange(w, device=first.device)[:, None]
    return similar.gather(4, across[:, None].expand(N, h, w, tall, 2 * columns + 1)).flatten(3)


class Motion(nn.Module):
    """How strongly two frames agree at each displacement along x, in each of some learned regions.

    Edges that cross x only (differences along x): what is constant along x tells nothing of a motion along it.
    """

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.edges = nn.Conv2d(3, channels, (5, 3), stride=(ACROSS // 2, 1), padding=(2, 1), bias=False)
        rows, columns = REGIONS
        places = height // ACROSS, width // COARSE, width
        regions = torch.zeros(rows, columns, places[0], places[2])
        cpu = torch.device("cpu")  # also where the module is on the meta device
        for y, ys in enumerate(torch.arange(places[0], device=cpu).chunk(rows)):
            for x, xs in enumerate(torch.arange(width, device=cpu).chunk(columns)):
                regions[y, x, int(ys[0]) : int(ys[-1]) + 1, int(xs[0]) : int(xs[-1]) + 1] = 1.0
        fine = regions.flatten(0, 1)
        self.coarse_regions = nn.Parameter(F.avg_pool2d(fine, (1, COARSE)))
        self.fine_regions = nn.Parameter(fine)
        coarse, fine = ((2 * along + 1) * (2 * across + 1) for along, across in (REACH, FINE_REACH))
        self.size = rows * columns * (coarse + fine)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, 3, h, w), shrunk -> (B * (T - 1), size)."""
        x = frames.flatten(0, 1)
        x = self.edges(x[..., 1:] - x[..., :-1]).float()
        # Faint edges count nearly as much as strong ones.
        x = torch.tanh(x * x.square().mean((1, 2, 3), keepdim=True).add(1e-6).rsqrt())
        x = F.avg_pool2d(F.pad(x, (0, 1)), (2, 1)).unflatten(0, frames.shape[:2])
        before, after = x[:, :-1].flatten(0, 1), x[:, 1:].flatten(0, 1)
        found = []
        for pool, (along, across), regions in (
            (COARSE, REACH, self.coarse_regions),
            (1, FINE_REACH, self.fine_regions),
        ):
            volume = correlate(F.avg_pool2d(before, (1, pool)), F.avg_pool2d(after, (1, pool)), (across, along))
            there = regions.flatten(1) @ volume.flatten(1, 2)  # (N, regions, displacements)
            found.append(F.layer_norm(there.float(), there.shape[-1:]).flatten(1))
        return torch.cat(found, 1)


class InverseDynamicsModel(nn.Module):
    """Frames (B, T, 3, H, W) in [-1, 1] -> button logits (B, T - 1, 23), camera logits (B, T - 1, 2, 21), features."""

    def __init__(self, config: IDMConfig) -> None:
        super().__init__()
        self.config = config
        a, b, c = config.channels
        height, width = config.height // SHRINK, config.width // SHRINK
        self.across = Motion(a, height, width)
        self.down = Motion(a, width, height)
        self.moved = nn.Linear(self.across.size + self.down.size, config.pair)
        # What else changed: the next frame's pixels, and its differences to the one before.
        self.looks = nn.Conv2d(6, b, 2 * CELL - 1, stride=CELL, padding=CELL - 1)
        self.block = Block(b)
        self.merge = nn.Conv2d(b, c, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(Block(c), Block(c))
        self.squeeze = nn.Conv2d(c, c // 4, 1)
        cells = [-(-size // (2 * CELL)) for size in (height, width)]
        self.changed = nn.Linear(c // 4 * cells[0] * cells[1], config.pair)
        self.around = nn.Conv1d(2 * config.pair, config.features, 2 * config.around + 1)
        self.buttons = nn.Linear(config.features, len(BUTTONS))
        self.camera = nn.Linear(config.features, 2 * CAMERA_BINS)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.read(F.avg_pool2d(frames.flatten(0, 1), SHRINK).unflatten(0, frames.shape[:2]))

    def read(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same from shrunk frames (B, T, 3, H / SHRINK, W / SHRINK)."""
        B, T = x.shape[:2]
        moved = self.moved(torch.cat([self.across(x), self.down(x.transpose(-1, -2))], 1))
        x = self.seen(x)
        # A plain flattening keeps the places: the hotbar is in one of them.
        changed = self.changed(F.silu(self.squeeze(x)).flatten(1))
        x = F.silu(torch.cat([moved, changed], 1)).view(B, T - 1, -1)
        # The transitions around each; beyond the ends, the first and the last again.
        x = F.pad(x.transpose(1, 2), (self.config.around, self.config.around), mode="replicate")
        x = F.silu(self.around(x)).transpose(1, 2)
        return self.buttons(x), self.camera(x).unflatten(-1, (2, CAMERA_BINS)), x

    def seen(self, x: Tensor) -> Tensor:
        """What the frames and their differences show, place by place: shrunk frames (B, T, 3, h, w) ->
        (B * (T - 1), channels, h/8, w/8)."""
        before, after = x[:, :-1].flatten(0, 1), x[:, 1:].flatten(0, 1)
        x = torch.cat([after, (after - before) * CHANGE_GAIN], 1).contiguous(memory_format=torch.channels_last)
        return self.blocks(self.merge(F.silu(self.block(self.looks(x)))))


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
        first, last = max(0, start - c.around), min(len(frames), stop + 1 + c.around)
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
        raise CheckpointError(f"{folder} holds no inverse dynamics model: worldmodel train idm makes one")
    read = config_from_dict(IDMConfig, config["idm"], str(folder))
    model = load_module(folder, "idm", lambda: InverseDynamicsModel(read))
    return model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def told_buttons(folder: Path = PRETRAINED_IDM) -> frozenset[str]:
    """The buttons that the model of a folder can tell, by its scores on recorded frames: F1 of TELLS_F1 or more. Of the
    hotbar's, each of which is rarely pressed, the mean counts. CheckpointError if the folder holds no such scores."""
    path = folder / SCORES_FILE
    scores: dict[str, float] = {}
    try:
        for group in read_json(path, CheckpointError)["real"]["groups"].values():
            scores |= {name: found["f1"] for name, found in group["classes"].items() if name in BUTTONS}
    except (KeyError, TypeError, AttributeError):
        scores = {}
    if not scores or not all(map(is_number, scores.values())):
        raise CheckpointError(f"{path} holds no scores of an inverse dynamics model: scripts/train_idm.py makes them")
    hotbar = sum(scores.get(name, 0.0) for name in HOTBAR) / len(HOTBAR)
    return frozenset(name for name, f1 in (scores | dict.fromkeys(HOTBAR, hotbar)).items() if f1 >= TELLS_F1)
