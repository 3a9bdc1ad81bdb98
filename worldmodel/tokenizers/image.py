"""Image tokenizer: a vector-quantised convolutional autoencoder with 16x downsampling.

Frames become a grid of code indices and back. The encoder works at 1/8 and 1/16 of the resolution; the
decoder is a trunk at the token grid's resolution with PixelShuffle, so that it is cheap on a CPU; where the
configuration has a pyramid, both are that instead (pyramid.py). It knows
frames and codes; nothing of actions, the transformer or files. Architecture only: no training, no I/O.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldmodel.config import NORM_GROUPS, ImageTokenizerConfig
from worldmodel.tokenizers.pyramid import PyramidDecoder, PyramidEncoder
from worldmodel.tokenizers.quantizers import (
    BinaryQuantizer,
    FiniteScalarQuantizer,
    NearestQuantizer,
    VectorQuantizer,
)


class ResidualBlock(nn.Module):
    """GroupNorm, 3x3 convolution, SiLU, 3x3 convolution, added to the input. (B, C, H, W) -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(NORM_GROUPS, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)  # each block starts as the identity

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(self.norm(x))))


class ImageEncoder(nn.Module):
    """(B, 3, H, W) in [-1, 1] -> latents (B, code_dim, H/16, W/16)."""

    def __init__(self, config: ImageTokenizerConfig) -> None:
        super().__init__()
        wide, deep = config.encoder_channels
        self.stem = nn.Conv2d(3 * 8 * 8, wide, 3, padding=1)
        self.upper = nn.Sequential(*[ResidualBlock(wide) for _ in range(config.encoder_blocks[0])])
        self.down = nn.Conv2d(wide, deep, 2, stride=2)
        self.lower = nn.Sequential(*[ResidualBlock(deep) for _ in range(config.encoder_blocks[1])])
        self.norm = nn.GroupNorm(NORM_GROUPS, deep)
        self.to_latent = nn.Conv2d(deep, config.code_dim, 1)
        # Latents of about unit variance: FSQ then uses all its levels from the first step on.
        nn.init.normal_(self.to_latent.weight, std=(0.35 * deep) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.upper(self.stem(F.pixel_unshuffle(x, 8)))
        x = self.lower(self.down(x))
        return self.to_latent(F.silu(self.norm(x)))


class ImageDecoder(nn.Module):
    """Quantised latents (B, code_dim, H/16, W/16) -> (B, 3, H, W), about [-1, 1], not clamped.

    A learned picture-position embedding lets the fixed HUD (hotbar, crosshair) cost no bits.
    """

    def __init__(self, config: ImageTokenizerConfig) -> None:
        super().__init__()
        deep, wide = config.decoder_channels
        self.from_latent = nn.Conv2d(config.code_dim, deep, 3, padding=1)
        self.position = nn.Parameter(torch.zeros(1, deep, config.grid_height, config.grid_width))
        self.lower = nn.Sequential(*[ResidualBlock(deep) for _ in range(config.decoder_blocks[0])])
        self.up = nn.Conv2d(deep, 4 * wide, 1)
        self.upper = nn.Sequential(*[ResidualBlock(wide) for _ in range(config.decoder_blocks[1])])
        self.norm = nn.GroupNorm(NORM_GROUPS, wide)
        self.to_pixels = nn.Conv2d(wide, 3 * 8 * 8, 3, padding=1)
        self.bias = nn.Parameter(torch.zeros(1, 3, config.height, config.width))

    def forward(self, latents: Tensor) -> Tensor:
        return self.paint(self.trunk(latents))

    def trunk(self, latents: Tensor) -> Tensor:
        """The half at the token grid's resolution: -> (B, deep, H/16, W/16)."""
        return self.lower(self.from_latent(latents) + self.position)

    def paint(self, x: Tensor) -> Tensor:
        """The other half: (B, deep, H/16, W/16) -> (B, 3, H, W)."""
        x = self.upper(F.pixel_shuffle(self.up(x), 2))
        x = self.to_pixels(F.silu(self.norm(x)))
        return F.pixel_shuffle(x, 8) + self.bias


class ImageTokenizer(nn.Module):
    """Encoder, quantiser and decoder. Pixels are float, [-1, 1], (B, 3, H, W); codes int64 (B, tokens)."""

    def __init__(self, config: ImageTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = PyramidEncoder(config) if config.pyramid else ImageEncoder(config)
        self.decoder = PyramidDecoder(config) if config.pyramid else ImageDecoder(config)
        if config.quantizer == "fsq":
            self.quantizer = FiniteScalarQuantizer(config.channel_levels)
        elif config.quantizer == "binary":
            self.quantizer = BinaryQuantizer(config.bits)
        else:
            kind = NearestQuantizer if config.quantizer == "nearest" else VectorQuantizer
            self.quantizer = kind(config.codebook_size, config.code_dim)

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> codes (B, tokens) int64, row by row. ValueError on a wrong size."""
        if tuple(pixels.shape[1:]) != (3, self.config.height, self.config.width):
            raise ValueError(
                f"the tokenizer takes pictures of shape (3, {self.config.height}, {self.config.width}), "
                f"got {tuple(pixels.shape[1:])}"
            )
        latents = self.encoder(pixels).permute(0, 2, 3, 1)
        return self.quantizer(latents)[1].flatten(1)

    def decode(self, codes: Tensor) -> Tensor:
        """codes (B, tokens) -> pixels (B, 3, H, W), about [-1, 1]."""
        grid = codes.view(-1, self.config.grid_height, self.config.grid_width)
        return self.decoder(self.quantizer.decode(grid).permute(0, 3, 1, 2))

    def forward(
        self, pixels: Tensor, perturb: float = 0.0, perturbed_share: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Training pass: (reconstruction (B, 3, H, W), codes (B, tokens), quantiser loss).

        perturb: probability that a token is replaced by a near code after the quantiser, on
        `perturbed_share` of the pictures, so that the decoder survives sampling errors (RobustTok).
        """
        latents = self.encoder(pixels).permute(0, 2, 3, 1)
        quantised, indices, loss = self.quantizer(latents)
        if perturb > 0 and perturbed_share > 0:
            chosen = torch.rand(len(pixels), 1, 1, device=pixels.device) < perturbed_share
            wrong = (torch.rand(indices.shape, device=pixels.device) < perturb) & chosen
            near = self.quantizer.decode(self.quantizer.neighbours(indices))
            # Straight-through: the encoder still gets the gradient of the place that was perturbed.
            quantised = torch.where(wrong.unsqueeze(-1), quantised + (near - quantised).detach(), quantised)
        return self.decoder(quantised.permute(0, 3, 1, 2)), indices.flatten(1), loss


def to_pixels(frames: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W) in [-1, 1]."""
    return frames.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_frames(pixels: Tensor) -> Tensor:
    """float (B, 3, H, W) in [-1, 1] -> uint8 (B, H, W, 3), clamped and rounded."""
    return ((pixels.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
