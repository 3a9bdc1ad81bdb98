"""Configuration: the one home of every number of a model. Plain frozen dataclasses, stored as config.json.

Derived counts (grid, tokens a frame, vocabulary) are properties, never repeated elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

from worldmodel.checks import ConfigError, OneOf, Within, check_fields
from worldmodel.decode_order import DecodeOrder, parse_order
from worldmodel.tokenizers.action import ActionTokenizer

DOWNSAMPLING = 16  # pixels a side that one image token covers
NORM_GROUPS = 8  # of the image tokenizer's group normalisation
PYRAMID_GROUPS = 32  # of a pyramid's
PYRAMID_LEVELS = DOWNSAMPLING.bit_length()  # resolutions, from the whole picture to a token's
# Bounds of what is built: some times what any known model has, and far from what fills a memory before it is noticed.
MAX_SIDE = 4096  # pixels
MAX_TOKENS = 4096  # a frame
MAX_BITS = 24
MAX_CODES = 1 << 16
MAX_OFFSET = 1023  # frames
CHANNELS, BLOCKS = Within(NORM_GROUPS, 8192), Within(0, 64)


@dataclass(frozen=True, slots=True)
class ImageTokenizerConfig:
    """Image tokenizer."""

    height: Annotated[int, Within(DOWNSAMPLING, MAX_SIDE)] = 112
    """Height of the frames in pixels."""
    width: Annotated[int, Within(DOWNSAMPLING, MAX_SIDE)] = 192
    """Width of the frames in pixels."""
    quantizer: Annotated[str, OneOf(("fsq", "binary", "vq", "nearest"))] = "fsq"
    """Finite scalar quantisation, fsq (takes --levels), signs, binary (takes --bits), or vector quantisation (takes
    --vq-codes and --vq-dim): vq compares directions, nearest distances, as MineWorld does."""
    levels: tuple[Annotated[int, Within(2, 256)], ...] = (8, 8, 8, 8)
    """Levels of each channel of a code; their product is the number of codes."""
    vq_codes: Annotated[int, Within(2, MAX_CODES)] = 4096
    """Number of codes."""
    vq_dim: Annotated[int, Within(1, 4096)] = 8
    """Size of a code's vector."""
    encoder_channels: Annotated[tuple[int, int], CHANNELS] = (128, 256)
    """Channels at 1/8 and at 1/16 of the resolution."""
    encoder_blocks: Annotated[tuple[int, int], BLOCKS] = (2, 2)
    """Residual blocks at each."""
    decoder_channels: Annotated[tuple[int, int], CHANNELS] = (256, 128)
    """Channels at 1/16 and at 1/8 of the resolution."""
    decoder_blocks: Annotated[tuple[int, int], BLOCKS] = (4, 2)
    """Residual blocks at each."""
    detail_levels: tuple[Annotated[int, Within(2, 256)], ...] = ()
    """Levels of a second, finer code beside that of levels, of few values (fsq only; none: no such code)."""
    bits: Annotated[int, Within(1, MAX_BITS)] = 16
    """Signs of a code (binary only), each of which is read by itself, and predicted given those before it."""
    pyramid: tuple[Annotated[int, Within(PYRAMID_GROUPS, 8192)], ...] = ()
    """Channels at 1/1, 1/2, 1/4, 1/8 and 1/16 of the resolution: a VQGAN's pyramid, as MineWorld has it, in place of
    the encoder and the decoder above (none: no pyramid)."""
    pyramid_blocks: Annotated[tuple[int, int], Within(1, 64)] = (2, 3)
    """Residual blocks at each resolution of the pyramid's encoder and decoder."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.height % DOWNSAMPLING or self.width % DOWNSAMPLING:
            raise ConfigError(f"height and width must be multiples of {DOWNSAMPLING}, got {self.height}x{self.width}")
        if self.tokens_per_frame > MAX_TOKENS:
            raise ConfigError(
                f"height and width make {self.tokens_per_frame} tokens a frame, more than {MAX_TOKENS}: "
                f"got {self.height}x{self.width}"
            )
        if self.quantizer == "fsq" and not 2 <= self.codebook_size <= MAX_CODES:
            given = f"{self.levels} and detail_levels {self.detail_levels}" if self.detail_levels else str(self.levels)
            raise ConfigError(f"levels must make 2 to {MAX_CODES} codes, got {given}: {self.codebook_size}")
        if self.quantizer != "fsq" and self.detail_levels:
            given = f"{self.detail_levels} with {self.quantizer}"
            raise ConfigError(f"detail_levels are for the quantizer fsq, got {given}")
        if self.pyramid and len(self.pyramid) != PYRAMID_LEVELS:
            raise ConfigError(f"pyramid must have {PYRAMID_LEVELS} resolutions' channels or none, got {self.pyramid}")
        if any(channels % PYRAMID_GROUPS for channels in self.pyramid):
            raise ConfigError(f"pyramid must be multiples of {PYRAMID_GROUPS}, got {self.pyramid}")
        for name in ("encoder_channels", "decoder_channels"):
            if any(number % NORM_GROUPS for number in getattr(self, name)):
                raise ConfigError(f"{name} must be multiples of {NORM_GROUPS}, got {getattr(self, name)}")

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
    def parts(self) -> tuple[int, ...]:
        """Values of the parts in which a token is read and predicted: it is their mixed-radix number, the first the
        lowest digit. What a part's value says of those behind it is added to their logits."""
        if self.quantizer == "fsq":
            finer = (math.prod(self.detail_levels),) if self.detail_levels else ()
            return (math.prod(self.levels), *finer)
        return (2,) * self.bits if self.quantizer == "binary" else (self.vq_codes,)

    @property
    def codebook_size(self) -> int:
        return math.prod(self.parts)

    @property
    def channel_levels(self) -> tuple[int, ...]:
        """Levels of each channel of a code that is their mixed-radix number; none for learned codes."""
        return {"fsq": (*self.levels, *self.detail_levels), "binary": self.parts}.get(self.quantizer, ())

    @property
    def code_dim(self) -> int:
        return len(self.channel_levels) or self.vq_dim


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    """Visual-action transformer, Llama layout (RMSNorm, SwiGLU, rotary positions, grouped-query attention). The last
    three options are off for MineWorld's sizes."""

    hidden: Annotated[int, Within(1, 16384)] = 256
    """Size of a token's vector."""
    mlp: Annotated[int, Within(1, 65536)] = 768
    """Size of the vectors inside a layer's feed-forward part."""
    layers: Annotated[int, Within(1, 256)] = 8
    """Number of layers."""
    heads: Annotated[int, Within(1, 256)] = 4
    """Query heads."""
    kv_heads: Annotated[int, Within(1, 256)] = 2
    """Key and value heads; the query heads are a multiple of them."""
    head_dim: Annotated[int, Within(2, 1024)] = 64
    """Size of a head's vectors; even."""
    norm_eps: Annotated[float, Within(1e-12, 1)] = 1e-5
    """Added to the mean square in RMSNorm."""
    offsets: tuple[Annotated[int, Within(1, MAX_OFFSET)], ...] = (1, 2, 3, 4, 5)
    """How many frames back the earlier frames lie that a frame attends to, in training and in play: 1 first, ascending;
    1 to n are the last n frames."""
    rotary: Annotated[str, OneOf(("frame-row-column", "sequence"))] = "frame-row-column"
    """How positions turn: "frame-row-column" splits a head's rotary pairs over three axes; "sequence" is one axis, as
    MineWorld has it."""
    rotary_theta: tuple[Annotated[float, Within(1, 1e9)], ...] = (100.0, 100.0, 100.0)
    """Slowness of the turning, for each axis."""
    previous_frame: bool = True
    """A place is also fed the token that the frame before had there."""
    action_input: bool = True
    """The sum of the action's embeddings is also added to the inputs of the frame it leads to."""
    place_embedding: bool = True
    """A learned embedding for each place of a block."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.heads % self.kv_heads:
            raise ConfigError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        if self.offsets[:1] != (1,) or any(a >= b for a, b in pairwise(self.offsets)):
            raise ConfigError(f"offsets must be 1 and then ascending, got {self.offsets}")
        if self.head_dim % 2:
            raise ConfigError(f"head_dim must be even, for rotary pairs, got {self.head_dim}")
        axes = 3 if self.rotary == "frame-row-column" else 1
        if len(self.rotary_theta) != axes:
            raise ConfigError(f"rotary {self.rotary!r} needs {axes} thetas, got rotary_theta {self.rotary_theta}")

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
    """A whole world model. order: decode order it was trained for; legacy_camera, fine_camera: see
    ActionTokenizer; tick_rate: steps a second; game: name of the recorded game.

    Of weights in a released order (see decode_order): action_lead: how many lines later than the one before it a
    frame's action is read in recorded clips (0: line k - 1 leads to frame k; 1: line k does); stand_in: what a row's
    first token is fed in the diagonal order, the token of the frame before or the pass's last input; keep: frames that
    its context begins with again when it is full.
    """

    image_tokenizer: ImageTokenizerConfig = ImageTokenizerConfig()
    transformer: TransformerConfig = TransformerConfig()
    order: str = "diagonal-1"
    legacy_camera: bool = False
    tick_rate: Annotated[float, Within(0.1, 1000)] = 10.0
    game: str = "luanti"
    action_lead: Annotated[int, Within(0, 1)] = 0
    stand_in: Annotated[str, OneOf(("frame-before", "last-input"))] = "frame-before"
    keep: Annotated[int, Within(1, MAX_OFFSET)] = 8
    fine_camera: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if self.legacy_camera and self.fine_camera:
            raise ConfigError("legacy_camera, of whole degrees, and fine_camera exclude each other")
        try:
            released = self.decode_order().released
        except ValueError as error:
            raise ConfigError(f"order: {error}") from None
        if released:
            self._check_released()

    def _check_released(self) -> None:
        t = self.transformer
        if t.rotary != "sequence" or t.previous_frame or t.action_input or t.place_embedding:
            raise ConfigError(f'order {self.order!r} is for plain token inputs and rotary "sequence"')
        if t.attended != t.window or len(self.image_tokenizer.parts) > 1:
            raise ConfigError(f"order {self.order!r} is for a context of the last frames, and for tokens of one code")
        if 2 * self.keep > t.window:  # else the two caches that take turns would have to be three
            raise ConfigError(f"keep must be at most half of the context's {t.window} frames, got {self.keep}")

    def decode_order(self) -> DecodeOrder:
        return parse_order(self.order, self.image_tokenizer.grid_height, self.image_tokenizer.grid_width)

    def action_tokenizer(self) -> ActionTokenizer:
        return ActionTokenizer(self.image_tokenizer.codebook_size, self.legacy_camera, self.fine_camera)


# Of the released image tokenizer: a pyramid, from the whole picture to 1/16 of its resolution.
MINEWORLD_PYRAMID = (128, 256, 256, 512, 768)

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
    "nano": WorldModelConfig(
        ImageTokenizerConfig(decoder_blocks=(4, 3), detail_levels=(4, 4)),
        TransformerConfig(hidden=320, mlp=896, heads=6, offsets=(1, 2, 3, 5, 8, 13, 21, 34)),
        fine_camera=True,
    ),
    "mineworld-300m": _mineworld(1024, 4096, 16),
    "mineworld-700m": _mineworld(2048, 4096, 32),
    "mineworld-1200m": _mineworld(2048, 8192, 32),
}
