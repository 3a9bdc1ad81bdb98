"""Configuration: the one home of every number of a model. Plain frozen dataclasses, stored as config.json.

Derived counts (grid, tokens a frame, vocabulary) are properties, never repeated elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from worldmodel.decode_order import DecodeOrder, parse_order
from worldmodel.tokenizers.action import ActionTokenizer

DOWNSAMPLING = 16  # pixels a side that one image token covers
MAX_OFFSET = 1023  # frames


@dataclass(frozen=True, slots=True)
class ImageTokenizerConfig:
    """Image tokenizer. height, width: pixels; quantizer: "fsq" (uses levels) or "vq" (uses vq_codes, vq_dim)."""

    height: int = 112
    width: int = 192
    quantizer: str = "fsq"
    levels: tuple[int, ...] = (8, 8, 8, 8)
    vq_codes: int = 4096
    vq_dim: int = 8
    encoder_channels: tuple[int, int] = (128, 256)
    encoder_blocks: tuple[int, int] = (2, 2)
    decoder_channels: tuple[int, int] = (256, 128)
    decoder_blocks: tuple[int, int] = (4, 2)

    def __post_init__(self) -> None:
        if self.height % DOWNSAMPLING or self.width % DOWNSAMPLING:
            raise ValueError(f"height and width must be multiples of {DOWNSAMPLING}, got {self.height}x{self.width}")
        if self.quantizer not in ("fsq", "vq"):
            raise ValueError(f'quantizer must be "fsq" or "vq", got {self.quantizer!r}')

    @property
    def grid_height(self) -> int:
        return self.height // DOWNSAMPLING

    @property
    def grid_width(self) -> int:
        return self.width // DOWNSAMPLING

    @property
    def tokens_per_frame(self) -> int:
        return self.grid_height * self.grid_width

    @property
    def codebook_size(self) -> int:
        return math.prod(self.levels) if self.quantizer == "fsq" else self.vq_codes

    @property
    def code_dim(self) -> int:
        return len(self.levels) if self.quantizer == "fsq" else self.vq_dim


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    """Visual-action transformer, Llama layout (RMSNorm, SwiGLU, rotary positions, grouped-query attention).

    offsets: how many frames back the earlier frames lie that a frame attends to, in training and in play: 1 first,
    ascending; 1 to n are the last n frames.
    rotary: "frame-row-column" splits a head's rotary pairs over three axes; "sequence" is one axis, as
    MineWorld has it. previous_frame: a place is also fed the token that the frame before had there.
    action_input: the sum of the action's embeddings is also added to the inputs of the frame it leads to.
    place_embedding: a learned embedding for each place of a block. The last three are off for MineWorld's sizes.
    """

    hidden: int = 256
    mlp: int = 768
    layers: int = 8
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    norm_eps: float = 1e-5
    offsets: tuple[int, ...] = (1, 2, 3, 4, 5)
    rotary: str = "frame-row-column"
    rotary_theta: tuple[float, ...] = (100.0, 100.0, 100.0)
    previous_frame: bool = True
    action_input: bool = True
    place_embedding: bool = True

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        offsets = self.offsets
        if not offsets or offsets[0] != 1 or any(a >= b for a, b in pairwise(offsets)) or offsets[-1] > MAX_OFFSET:
            raise ValueError(f"offsets must be 1 and then ascending, to {MAX_OFFSET} at most, got {self.offsets}")
        axes = {"frame-row-column": 3, "sequence": 1}.get(self.rotary)
        if axes is None:
            raise ValueError(f'rotary must be "frame-row-column" or "sequence", got {self.rotary!r}')
        if len(self.rotary_theta) != axes:
            raise ValueError(f"rotary {self.rotary!r} needs {axes} thetas, got {self.rotary_theta}")

    @staticmethod
    def upgraded(values: dict[str, Any]) -> dict[str, Any]:
        """Stored values of an older version, as this one has them: a window of n frames, the current one included."""
        window = values.get("window")
        if not isinstance(window, int) or "offsets" in values:
            return values
        rest = {name: value for name, value in values.items() if name != "window"}
        return rest | {"offsets": tuple(range(1, min(window, MAX_OFFSET + 2)))}

    @property
    def window(self) -> int:
        """Frames from the oldest that is attended to up to the current one: as many are kept."""
        return self.offsets[-1] + 1

    @property
    def attended(self) -> int:
        """Frames that a frame attends to, itself included."""
        return len(self.offsets) + 1

    @property
    def first_offsets(self) -> tuple[int, ...]:
        """What a frame's first pass attends to: it also holds the last rows of the frame before."""
        return tuple(sorted({*self.offsets, *(offset + 1 for offset in self.offsets)}))


@dataclass(frozen=True, slots=True)
class WorldModelConfig:
    """A whole world model. order: decode order it was trained for; legacy_camera: see ActionTokenizer;
    tick_rate: steps a second; game: name of the recorded game."""

    image_tokenizer: ImageTokenizerConfig = ImageTokenizerConfig()
    transformer: TransformerConfig = TransformerConfig()
    order: str = "diagonal-1"
    legacy_camera: bool = False
    tick_rate: float = 10.0
    game: str = "luanti"

    def decode_order(self) -> DecodeOrder:
        return parse_order(self.order, self.image_tokenizer.grid_height, self.image_tokenizer.grid_width)

    def action_tokenizer(self) -> ActionTokenizer:
        return ActionTokenizer(self.image_tokenizer.codebook_size, self.legacy_camera)


_MINEWORLD_TOKENIZER = ImageTokenizerConfig(height=224, width=384, quantizer="vq", vq_codes=8192, vq_dim=64)


def _mineworld(hidden: int, mlp: int, heads: int) -> WorldModelConfig:
    """The paper's sizes (arXiv 2504.08388): 20 layers, 4 KV heads, 16 frames, plain token inputs."""
    transformer = TransformerConfig(
        hidden=hidden,
        mlp=mlp,
        layers=20,
        heads=heads,
        kv_heads=4,
        offsets=tuple(range(1, 16)),
        rotary="sequence",
        rotary_theta=(10000.0,),
        previous_frame=False,
        action_input=False,
        place_embedding=False,
    )
    return WorldModelConfig(_MINEWORLD_TOKENIZER, transformer, tick_rate=20.0, game="minecraft")


PRESETS: dict[str, WorldModelConfig] = {
    "nano": WorldModelConfig(),
    "mineworld-300m": _mineworld(1024, 4096, 16),
    "mineworld-700m": _mineworld(2048, 4096, 32),
    "mineworld-1200m": _mineworld(2048, 8192, 32),
}
