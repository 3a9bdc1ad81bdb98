"""A VQGAN's encoder and decoder: a pyramid of convolutions, from the whole picture to 1/16 of its resolution.

What MineWorld's image tokenizer is made of (the aMUSEd VQGAN, fine-tuned; arXiv 2401.01808, arXiv 2012.09841). Dear: an
aMUSEd-size decoder is 628 GFLOP a picture of 224 x 384. Architecture only: no quantiser, no I/O.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from worldmodel.config import PYRAMID_GROUPS, ImageTokenizerConfig

EPSILON = 1e-6  # of the group normalisation
MIDDLE_BLOCKS = 2


class PyramidBlock(nn.Module):
    """Twice GroupNorm, SiLU and a 3x3 convolution, added to the input. (B, C, H, W) -> (B, C', H, W)."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(PYRAMID_GROUPS, channels, EPSILON)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.norm2 = nn.GroupNorm(PYRAMID_GROUPS, out, EPSILON)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.shortcut = nn.Conv2d(channels, out, 1) if channels != out else None

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return inner + (x if self.shortcut is None else self.shortcut(x))


class PyramidLevel(nn.Module):
    """The blocks of one resolution, and the convolution that halves or doubles it (None: the last one)."""

    def __init__(self, channels: int, out: int, blocks: int, resize: nn.Conv2d | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([PyramidBlock(channels if not at else out, out) for at in range(blocks)])
        self.resize = resize

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class PyramidEncoder(nn.Module):
    """(B, 3, H, W) in [-1, 1] -> latents (B, code_dim, H/16, W/16)."""

    def __init__(self, config: ImageTokenizerConfig) -> None:
        super().__init__()
        channels, deep = config.pyramid, config.pyramid[-1]
        self.stem = nn.Conv2d(3, channels[0], 3, padding=1)
        self.levels = nn.ModuleList()
        for before, out in zip((channels[0], *channels), channels, strict=False):
            last = len(self.levels) == len(channels) - 1
            resize = None if last else nn.Conv2d(out, out, 3, stride=2)
            self.levels.append(PyramidLevel(before, out, config.pyramid_blocks[0], resize))
        self.middle = nn.ModuleList([PyramidBlock(deep, deep) for _ in range(MIDDLE_BLOCKS)])
        self.norm = nn.GroupNorm(PYRAMID_GROUPS, deep, EPSILON)
        self.to_latent = nn.Conv2d(deep, config.code_dim, 3, padding=1)
        self.before_codes = nn.Conv2d(config.code_dim, config.code_dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for level in self.levels:
            assert isinstance(level, PyramidLevel)
            x = level(x)
            if level.resize is not None:
                x = level.resize(F.pad(x, (0, 1, 0, 1)))  # below and to the right alone
        for block in self.middle:
            x = block(x)
        return self.before_codes(self.to_latent(F.silu(self.norm(x))))


class PyramidDecoder(nn.Module):
    """Quantised latents (B, code_dim, H/16, W/16) -> (B, 3, H, W), about [-1, 1], not clamped."""

    def __init__(self, config: ImageTokenizerConfig) -> None:
        super().__init__()
        channels, deep = config.pyramid[::-1], config.pyramid[-1]
        self.after_codes = nn.Conv2d(config.code_dim, config.code_dim, 1)
        self.from_latent = nn.Conv2d(config.code_dim, deep, 3, padding=1)
        self.middle = nn.ModuleList([PyramidBlock(deep, deep) for _ in range(MIDDLE_BLOCKS)])
        self.levels = nn.ModuleList()
        for before, out in zip((deep, *channels), channels, strict=False):
            last = len(self.levels) == len(channels) - 1
            resize = None if last else nn.Conv2d(out, out, 3, padding=1)
            self.levels.append(PyramidLevel(before, out, config.pyramid_blocks[1], resize))
        self.norm = nn.GroupNorm(PYRAMID_GROUPS, channels[-1], EPSILON)
        self.to_pixels = nn.Conv2d(channels[-1], 3, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.from_latent(self.after_codes(latents))
        for block in self.middle:
            x = block(x)
        for level in self.levels:
            assert isinstance(level, PyramidLevel)
            x = level(x)
            if level.resize is not None:
                x = level.resize(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self.to_pixels(F.silu(self.norm(x)))
