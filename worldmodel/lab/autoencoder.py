"""The laboratory's image tokenizer: parts of worldmodel/tokenizers/image.py around any quantiser, layout and condition.

A frame's tokens are, in this order: `queries` that belong to no place (read off the encoder's features by learned
queries, TiTok, arXiv 2406.07550), the maps of `scales` from coarse to fine, and the `grid` of one token for each 16x16
pixels. The decoder gets all of them as channels at the grid's resolution. With the grid alone it is ImageTokenizer.
It knows frames, codes and what a player does in a step; no training and no files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldmodel.config import ImageTokenizerConfig
from worldmodel.lab.codes import Codes, SubCode
from worldmodel.tokenizers.image import ImageDecoder, ImageEncoder
from worldmodel.types import BUTTONS

QUERY_WIDTH, QUERY_HEADS, QUERY_LAYERS = 128, 4, 2
FEATURES = 32  # channels of the encoder that queries look at, and that the decoder gets of them
MOVE = len(BUTTONS) + 2  # a step's buttons, and its camera in units of MOVE_DEGREES
MOVE_DEGREES = 10.0
MOVE_CHANNELS = 16
CONDITION_DROP = 0.2  # of the frames: trained without the condition
FEWEST_KEPT = 0.1  # of the tokens, where the tail is dropped in training

Wrong = Callable[[Tensor, Tensor], Tensor]
"""codes (B, tokens) and their vectors (B, tokens, code_dim) -> codes of which some are wrong."""


@dataclass(frozen=True, slots=True)
class TokenizerParts:
    """What an image tokenizer is made of. codes, compose, orthogonal: see Codes; queries, scales, grid: the layout;
    tail_drop: trained with some of the last tokens missing (One-D-Piece, arXiv 2501.10064); causal: a query sees those
    before it alone; previous: the decoder also sees the last frame's codes and the action. ValueError for a layout
    without tokens."""

    height: int = 112
    width: int = 192
    codes: tuple[SubCode, ...] = (SubCode(levels=(8, 8, 8, 8)),)
    compose: str = "product"
    orthogonal: float = 0.0
    queries: int = 0
    scales: tuple[tuple[int, int], ...] = ()
    grid: bool = True
    tail_drop: bool = False
    causal: bool = False
    previous: bool = False
    encoder_channels: tuple[int, int] = (128, 256)
    encoder_blocks: tuple[int, int] = (2, 2)
    decoder_channels: tuple[int, int] = (256, 128)
    decoder_blocks: tuple[int, int] = (4, 2)

    def __post_init__(self) -> None:
        if not self.tokens:
            raise ValueError("a frame needs tokens: give queries, scales, or grid")

    def config(self, latent: int) -> ImageTokenizerConfig:
        """Sizes of an ImageEncoder or ImageDecoder with so many latent channels."""
        return ImageTokenizerConfig(
            self.height, self.width, "vq", (), 2, latent,
            self.encoder_channels, self.encoder_blocks, self.decoder_channels, self.decoder_blocks,
        )  # fmt: skip

    @property
    def maps(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of every map of tokens, from coarse to fine."""
        sizes = self.config(1)
        return (*self.scales, *([(sizes.grid_height, sizes.grid_width)] if self.grid else []))

    @property
    def tokens(self) -> int:
        return self.queries + sum(rows * columns for rows, columns in self.maps)

    @property
    def table(self) -> tuple[int, int]:
        """(rows, columns): how the tokens lie for a decode order, as wide as the grid where that is possible."""
        columns = self.config(1).grid_width
        return (self.tokens // columns, columns) if self.tokens % columns == 0 else (1, self.tokens)


class Crossing(nn.Module):
    """Learned queries over a set of vectors: (B, n, inputs) -> (B, m, outputs), by a small transformer over both.
    causal: a query sees the vectors and the queries up to itself, and the vectors see no query."""

    hidden: Tensor | None

    def __init__(self, n: int, inputs: int, m: int, outputs: int, causal: bool = False) -> None:
        super().__init__()
        at = torch.arange(m + n)
        later = (at > at[:, None]) & (at < m)  # of the queries, which come first
        hidden = torch.where((at < m)[:, None], later, at < m) if causal else None
        self.register_buffer("hidden", hidden, persistent=False)
        self.enter = nn.Linear(inputs, QUERY_WIDTH)
        self.place = nn.Parameter(0.02 * torch.randn(n, QUERY_WIDTH))
        self.query = nn.Parameter(0.5 * torch.randn(m, QUERY_WIDTH))
        self.layers = nn.ModuleList([transformer_layer(QUERY_WIDTH, QUERY_HEADS) for _ in range(QUERY_LAYERS)])
        self.norm = nn.LayerNorm(QUERY_WIDTH)
        self.leave = nn.Linear(QUERY_WIDTH, outputs)
        nn.init.normal_(self.leave.weight, std=QUERY_WIDTH**-0.5)  # latents of about unit variance, as ImageEncoder's

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.query.expand(len(x), -1, -1), self.enter(x) + self.place], 1)
        for layer in self.layers:
            x = layer(x, src_mask=self.hidden)
        return self.leave(self.norm(x[:, : len(self.query)]))


def transformer_layer(width: int, heads: int) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, F.gelu, batch_first=True, norm_first=True)


class Condition(NamedTuple):
    """codes: (B, tokens) of the last frame; move: float (B, MOVE), what was done on it; known: bool (B,)."""

    codes: Tensor
    move: Tensor
    known: Tensor


class Pass(NamedTuple):
    """made: (B, 3, H, W); codes: (B, tokens); vectors: (B, tokens, code_dim), with the encoder's gradient; loss: the
    quantiser's; trunk: the decoder's features (B, deep, H/16, W/16)."""

    made: Tensor
    codes: Tensor
    vectors: Tensor
    loss: Tensor
    trunk: Tensor


class LabTokenizer(nn.Module):
    """Encoder, quantiser and decoder of TokenizerParts. Pixels as ImageTokenizer has them."""

    def __init__(self, parts: TokenizerParts) -> None:
        super().__init__()
        self.parts = parts
        self.quantizer = Codes(parts.codes, parts.compose, parts.orthogonal)
        latent, code = self.quantizer.latent_dim, self.quantizer.code_dim
        self.grid = (parts.config(1).grid_height, parts.config(1).grid_width)
        places, features = self.grid[0] * self.grid[1], FEATURES if parts.queries else 0
        self.encoder = ImageEncoder(parts.config(latent * len(parts.maps) + features))
        self.collect = Crossing(places, features, parts.queries, latent, parts.causal) if parts.queries else None
        self.spread = Crossing(parts.queries, code, places, features) if parts.queries else None
        channels = code * len(parts.maps) + features
        self.move = nn.Linear(MOVE, MOVE_CHANNELS) if parts.previous else None
        self.decoder = ImageDecoder(parts.config(2 * channels + MOVE_CHANNELS if parts.previous else channels))
        self.absent = nn.Parameter(torch.zeros(code)) if parts.tail_drop else None

    def latents(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, tokens, latent_dim)."""
        x, size = self.encoder(pixels), self.quantizer.latent_dim
        maps = x[:, : size * len(self.parts.maps)].split(size, 1) if self.parts.maps else ()
        found = [
            F.adaptive_avg_pool2d(own, shape).flatten(2).transpose(1, 2)
            for own, shape in zip(maps, self.parts.maps, strict=True)
        ]
        if self.collect is not None:
            found.insert(0, self.collect(x[:, size * len(self.parts.maps) :].flatten(2).transpose(1, 2)))
        return torch.cat(found, 1)

    def channels(self, vectors: Tensor) -> Tensor:
        """(B, tokens, code_dim) -> what the decoder gets of them (B, channels, H/16, W/16)."""
        found, at = [], self.parts.queries
        if self.spread is not None:
            found.append(self.spread(vectors[:, :at]).transpose(1, 2).unflatten(2, self.grid))
        for rows, columns in self.parts.maps:
            own = vectors[:, at : at + rows * columns].transpose(1, 2).unflatten(2, (rows, columns))
            found.append(own if (rows, columns) == self.grid else F.interpolate(own, self.grid, mode="nearest"))
            at += rows * columns
        return torch.cat(found, 1)

    def inputs(self, vectors: Tensor, condition: Condition | None) -> Tensor:
        """The decoder's input; without a condition it is zero there."""
        x = self.channels(vectors)
        if self.move is None:
            return x
        if condition is None:
            return torch.cat([x, torch.zeros_like(x), x.new_zeros(len(x), MOVE_CHANNELS, *self.grid)], 1)
        known = condition.known.view(-1, 1, 1, 1).to(x.dtype)
        before = self.channels(self.quantizer.decode(condition.codes))
        move = self.move(condition.move)[:, :, None, None].expand(-1, -1, *self.grid)
        return torch.cat([x, before * known, move * known], 1)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> codes (B, tokens) int64."""
        return self.quantizer(self.latents(pixels))[1]

    def decode(self, codes: Tensor, condition: Condition | None = None, kept: int | None = None) -> Tensor:
        """codes (B, tokens) -> pixels (B, 3, H, W). kept: the tokens after so many are missing (tail_drop alone)."""
        vectors = self.quantizer.decode(codes)
        if kept is not None:
            assert self.absent is not None, "only a tokenizer that is trained with a dropped tail knows missing tokens"
            vectors = torch.cat([vectors[:, :kept], self.absent.expand(len(codes), codes.shape[1] - kept, -1)], 1)
        return self.decoder(self.inputs(vectors, condition))

    def forward(self, pixels: Tensor, condition: Condition | None = None, wrong: Wrong | None = None) -> Pass:
        """The training pass. wrong: what becomes of the codes after the quantiser; the decoder alone sees it."""
        vectors, codes, loss = self.quantizer(self.latents(pixels))
        shown = vectors
        if wrong is not None:
            # Straight-through: the encoder still gets the gradient of the place that is wrong.
            shown = vectors + (self.quantizer.decode(wrong(codes, vectors.detach())) - vectors).detach()
        if self.absent is not None and self.training:
            fewest = max(1, round(FEWEST_KEPT * self.parts.tokens))
            kept = torch.randint(fewest, self.parts.tokens + 1, (len(pixels), 1, 1), device=pixels.device)
            at = torch.arange(self.parts.tokens, device=pixels.device)[:, None]
            shown = torch.where(at < kept, shown, self.absent)
        trunk = self.decoder.trunk(self.inputs(shown, condition))
        return Pass(self.decoder.paint(trunk), codes, vectors, loss, trunk)
