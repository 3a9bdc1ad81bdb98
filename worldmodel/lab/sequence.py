"""What predicts tokens: a tiny prior over one frame, and the world model, both with a head for sub-codes.

A head predicts a place's code as digits: one digit ("softmax"), the sub-codes one after another, each given those
before it ("chained"), digits of base 8 in the same way ("digits"), or all bits at once ("bits"). It costs a place one
pass, whatever the number of digits. The world model is VisualActionTransformer with sums of digit embeddings for
inputs; with one digit and plain blocks it is the same model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from worldmodel.config import DOWNSAMPLING, ImageTokenizerConfig, TransformerConfig, WorldModelConfig
from worldmodel.lab.blocks import Blocks, LabAttention, LabLayout, lab_layout, old_rows
from worldmodel.lab.codes import split
from worldmodel.lab.heads import DigitHead
from worldmodel.model.transformer import VisualActionTransformer, rotary_table

NOISE_LEVELS = 8  # that a world model can be told


def world_config(table: tuple[int, int], radices: Sequence[int], transformer: TransformerConfig) -> WorldModelConfig:
    """A configuration whose grid is the tokens' table, and whose image codes are the digits, all in one row."""
    rows, columns = table
    image = ImageTokenizerConfig(DOWNSAMPLING * rows, DOWNSAMPLING * columns, "vq", vq_codes=sum(radices))
    return WorldModelConfig(image, transformer)


class LabTransformer(VisualActionTransformer):
    """VisualActionTransformer over digits, with the blocks of a LabLayout. `logits` gives the hidden vectors, which
    `head` turns into codes. extra: places before the picture's (state tokens); codebook: the codes' vectors (codes,
    size), which it is fed beside their embeddings."""

    layout: LabLayout
    codebook: Tensor | None

    def __init__(
        self,
        config: WorldModelConfig,
        radices: Sequence[int],
        chained: bool,
        noise_told: bool = False,
        blocks: Blocks | None = None,
        extra: int = 0,
        codebook: Tensor | None = None,
    ) -> None:
        super().__init__(config)
        self.radices, self.blocks = tuple(radices), blocks or Blocks()
        self.bases = tuple(int(base) for base in np.cumsum([0, *radices[:-1]]))
        hidden, image = config.transformer.hidden, config.image_tokenizer
        self.layout = lab_layout(self.blocks, image.grid_height, image.grid_width, extra)
        if self.place is not None:
            self.place = nn.Parameter(torch.zeros(self.layout.length, hidden))
        del self.lm_head
        self.head = DigitHead(hidden, radices, chained)
        self.level = nn.Parameter(torch.zeros(NOISE_LEVELS, hidden)) if noise_told else None
        self.summary = nn.Parameter(0.02 * torch.randn(hidden)) if self.layout.summary else None
        self.judge = nn.Linear(hidden, 1) if self.blocks.redo else None
        self.register_buffer("codebook", codebook, persistent=False)
        if codebook is not None:
            size = codebook.shape[1]
            self.of_code = nn.Sequential(nn.Linear(size, hidden), nn.SiLU(), nn.Linear(hidden, hidden, bias=False))
        self._clips: tuple[int, LabAttention, Tensor, Tensor] | None = None  # of so many frames, made once

    def embed_codes(self, tokens: Tensor) -> Tensor:
        digits = split(tokens, self.radices) + torch.tensor(self.bases, device=tokens.device)
        x = self.embed_tokens(digits).sum(-2)
        return x if self.codebook is None else x + self.of_code(self.codebook[tokens])

    def embed_outro(self, tokens: Tensor, action: Tensor) -> Tensor:
        tail = torch.from_numpy(self.layout.tail).to(tokens.device)
        parts = [self.embed_codes(tokens[..., tail]), self.embed_actions(action)]
        if self.summary is not None:
            parts.append(self.summary.expand(*tokens.shape[:-1], self.layout.summary, -1))
        x = torch.cat(parts, -2)
        return x + self.place[self.layout.image :] if self.place is not None else x

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden

    def old_rows(self, tokens: Tensor, previous: Tensor | None) -> Tensor:
        """See blocks.old_rows; places are told apart by their embeddings."""
        with torch.no_grad():
            vectors = self.embed_codes(tokens).float() if self.blocks.old == "diverse" else None
        return old_rows(self.layout, self.blocks, tokens, previous, vectors)

    def hidden(
        self, given: Tensor, actions: Tensor, levels: Tensor | None = None, nearest: int | None = None
    ) -> Tensor:
        """What comes of whole clips' image slots: given (B, T, places) -> (B, T, image, hidden). nearest: the offsets
        that are seen, all if None."""
        x = self.embed_blocks(given, actions)
        if self.level is not None:
            x = x + self.level[torch.zeros(given.shape[:2], dtype=torch.long) if levels is None else levels][:, :, None]
        B, T, L, _ = x.shape
        if self._clips is None or self._clips[0] != T:
            tables = rotary_table(self.config, self.layout, np.arange(T))
            cos, sin = (torch.from_numpy(table).flatten(0, 1) for table in tables)
            self._clips = T, LabAttention(self, self.layout, self.blocks, T, x.device), cos, sin
        _, attention, cos, sin = self._clips
        rows = None
        if self.blocks.by_tokens:
            first = self.old_rows(given[:, :1], None)
            rows = torch.cat([first, self.old_rows(given[:, 1:], given[:, :-1])], 1)
        attention.limit(rows, nearest)
        out = self.run(x.flatten(1, 2), cos, sin, [attention] * len(self.layers))
        return out.view(B, T, L, -1)[:, :, : self.layout.image]

    def nats_of(self, hidden: Tensor, true: Tensor) -> Tensor:
        """Nats of each token of frames 1..: hidden (B, T, image, hidden), true (B, T, places) -> (B, T - 1, places),
        in decode order."""
        queries = self.layout.queries
        places = torch.from_numpy(self.layout.places[queries])
        return self.head.loss(hidden[:, 1:, torch.from_numpy(queries)], true[:, 1:, places])

    def loss(self, given: Tensor, actions: Tensor, true: Tensor) -> Tensor:
        """The same, of clips."""
        return self.nats_of(self.hidden(given, actions), true)

    def doubts(self, hidden: Tensor) -> tuple[Tensor, NDArray[np.int64]]:
        """The judge's logits that the tokens that content rows are fed are wrong: hidden (..., image, hidden) ->
        (..., rows), and the rows' places."""
        assert self.judge is not None
        rows = np.flatnonzero(self.layout.sources == self.layout.places)
        return self.judge(hidden[..., torch.from_numpy(rows), :])[..., 0], self.layout.places[rows]


"""Of a pass: inputs (B, n, hidden); the ring's entries that they see (B or 1, n, ring); which of themselves (n, n);
their entries; cos and sin."""
