"""What a preset says: the parts of a tokenizer and a world model, and what they learn."""

from __future__ import annotations

from dataclasses import dataclass, field

from kernels.sampling import Sampler
from worldmodel.config import TransformerConfig
from worldmodel.lab.autoencoder import TokenizerParts
from worldmodel.lab.blocks import Blocks
from worldmodel.lab.budget import Objectives
from worldmodel.lab.packing import Packing

TUNED = ("", "all", "actions")


@dataclass(frozen=True, slots=True)
class Variant:
    """tokenizer, objectives: how the image tokenizer is built and trained; head: how a place's code is predicted
    (sequence.py), by the prior and by the world model; noise_told, sampler, transformer: of the world model; blocks,
    packing: how it decodes and remembers a frame's tokens, and what those are; fed_codes: it also reads the codes'
    vectors; world_head: its head, where that is another; tuned: what learns in as many steps again, one of TUNED. What
    differs in the world model alone shares the baseline's tokenizer."""

    about: str
    tokenizer: TokenizerParts = field(default_factory=TokenizerParts)
    objectives: Objectives = field(default_factory=Objectives)
    head: str = "softmax"
    noise_told: bool = False
    sampler: Sampler = field(default_factory=Sampler)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    blocks: Blocks = field(default_factory=Blocks)
    packing: Packing = field(default_factory=Packing)
    fed_codes: bool = False
    world_head: str = ""
    tuned: str = ""
    reading: bool = False

    def __post_init__(self) -> None:
        if self.tuned not in TUNED:
            raise ValueError(f"tuned is one of {TUNED}, got {self.tuned!r}")
