"""What predicts tokens: a tiny prior over one frame, and the world model, both with a head for sub-codes.

A head predicts a place's code as digits: one digit ("softmax"), the sub-codes one after another, each given those
before it ("chained"), or all bits at once ("bits"). It costs a place one pass, whatever the number of digits. The world
model is VisualActionTransformer with sums of digit embeddings for inputs; with one digit it is the same model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from kernels.sampling import Sampler, sample
from worldmodel.config import DOWNSAMPLING, ImageTokenizerConfig, TransformerConfig, WorldModelConfig
from worldmodel.engine.decoder import Array, FrameDecoder
from worldmodel.engine.eager import EagerBackend
from worldmodel.lab.autoencoder import transformer_layer
from worldmodel.lab.blocks import Blocks, LabAttention, LabLayout, lab_layout, old_rows
from worldmodel.lab.codes import join, split
from worldmodel.model.layout import BlockLayout
from worldmodel.model.transformer import VisualActionTransformer, rotary_table
from worldmodel.types import Tokens

HEADS = ("softmax", "chained", "bits")
MOST_SOFTMAX = 1 << 14  # codes of one softmax: more do not fit a small model
NOISE_LEVELS = 8  # that a world model can be told
PRIOR_WIDTH, PRIOR_HEADS, PRIOR_LAYERS = 128, 4, 3
DIGIT_SEED = 1_000_003  # between the random numbers of a place's digits
REDO_SEED = 7_000_003  # of tokens that are drawn again


def head_radices(head: str, radices: Sequence[int]) -> tuple[int, ...]:
    """Sizes of the digits that a head predicts, of codes with sub-codes of `radices`. ValueError where it cannot."""
    codes = math.prod(radices)
    if head == "chained":
        return tuple(radices)
    if head == "bits":
        if codes & (codes - 1):
            raise ValueError(f"bit heads need a power of two codes, got {codes}")
        return (2,) * (codes.bit_length() - 1)
    if head != "softmax":
        raise ValueError(f"a head is one of {HEADS}, got {head!r}")
    if codes > MOST_SOFTMAX:
        raise ValueError(f'one softmax over {codes} codes is too large (at most {MOST_SOFTMAX}): "chained" or "bits"')
    return (codes,)


class DigitHead(nn.Module):
    """Hidden vectors (..., hidden) -> distributions over codes. chained: each digit is predicted given those before."""

    def __init__(self, hidden: int, radices: Sequence[int], chained: bool) -> None:
        super().__init__()
        self.radices, self.chained = tuple(radices), chained and len(radices) > 1
        self.out = nn.ModuleList([nn.Linear(hidden, size, bias=False) for size in radices])
        later = len(radices) - 1 if self.chained else 0
        self.given = nn.ModuleList([nn.Embedding(size, hidden) for size in radices[:later]])
        self.mix = nn.ModuleList([nn.Linear(hidden, hidden) for _ in range(later)])
        for module in (*self.out, *self.given):
            nn.init.normal_(module.weight, std=0.02)  # type: ignore[arg-type]

    def _read(self, hidden: Tensor, number: int, before: list[Tensor]) -> Tensor:
        """Logits of digit `number`, given the digits before it."""
        if number and self.chained:
            known = sum((table(digit) for table, digit in zip(self.given, before, strict=False)), hidden)
            hidden = hidden + F.silu(self.mix[number - 1](known))
        return self.out[number](hidden)

    def loss(self, hidden: Tensor, codes: Tensor) -> Tensor:
        """Nats of each code: hidden (..., hidden), codes (...) -> (...)."""
        digits = list(split(codes, self.radices).unbind(-1))
        total = torch.zeros(codes.shape, device=codes.device)
        for number, digit in enumerate(digits):
            logits = self._read(hidden, number, digits).float()
            total = total + F.cross_entropy(logits.flatten(0, -2), digit.flatten(), reduction="none").view(digit.shape)
        return total

    def draw(self, hidden: Tensor, pick: Callable[[Tensor, int], Tensor]) -> Tensor:
        """Codes (...), digit by digit. pick: logits (..., size) and the digit's number -> (...)."""
        digits: list[Tensor] = []
        for number in range(len(self.radices)):
            digits.append(pick(self._read(hidden, number, digits), number))
        return join(torch.stack(digits, -1), self.radices)


class Prior(nn.Module):
    """A tiny autoregressive transformer over one frame's code vectors, in the order in which they are stored."""

    def __init__(self, tokens: int, code_dim: int, radices: Sequence[int], chained: bool) -> None:
        super().__init__()
        self.enter = nn.Linear(code_dim, PRIOR_WIDTH)
        self.start = nn.Parameter(torch.zeros(PRIOR_WIDTH))
        self.place = nn.Parameter(0.02 * torch.randn(tokens, PRIOR_WIDTH))
        self.layers = nn.ModuleList([transformer_layer(PRIOR_WIDTH, PRIOR_HEADS) for _ in range(PRIOR_LAYERS)])
        self.norm = nn.LayerNorm(PRIOR_WIDTH)
        self.head = DigitHead(PRIOR_WIDTH, radices, chained)

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, tokens, code_dim) -> hidden (B, tokens, width): each place has seen those before it."""
        x = torch.cat([self.start.expand(len(vectors), 1, -1), self.enter(vectors[:, :-1])], 1) + self.place
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device)
        for layer in self.layers:
            x = layer(x, src_mask=mask, is_causal=True)
        return self.norm(x)

    def loss(self, vectors: Tensor, codes: Tensor) -> Tensor:
        """Nats of each code (B, tokens)."""
        return self.head.loss(self(vectors), codes)

    @torch.no_grad()
    def draw(self, vectors: Tensor) -> Tensor:
        """A code for each place, drawn given the true ones before it: (B, tokens, code_dim) -> (B, tokens)."""

        def pick(logits: Tensor, _: int) -> Tensor:
            share = logits.float().softmax(-1)
            return torch.multinomial(share.flatten(0, -2), 1).view(share.shape[:-1])

        return self.head.draw(self(vectors), pick)


def world_config(table: tuple[int, int], radices: Sequence[int], transformer: TransformerConfig) -> WorldModelConfig:
    """A configuration whose grid is the tokens' table, and whose image codes are the digits, all in one row."""
    rows, columns = table
    image = ImageTokenizerConfig(DOWNSAMPLING * rows, DOWNSAMPLING * columns, "vq", vq_codes=sum(radices))
    return WorldModelConfig(image, transformer)


class LabTransformer(VisualActionTransformer):
    """VisualActionTransformer over digits, with the blocks of a LabLayout. `logits` gives the hidden vectors, which
    `head` turns into codes. extra: places before the picture's (state tokens)."""

    layout: LabLayout

    def __init__(
        self,
        config: WorldModelConfig,
        radices: Sequence[int],
        chained: bool,
        noise_told: bool = False,
        blocks: Blocks | None = None,
        extra: int = 0,
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
        self._clips: tuple[int, LabAttention, Tensor, Tensor] | None = None  # of so many frames, made once

    def embed_codes(self, tokens: Tensor) -> Tensor:
        digits = split(tokens, self.radices) + torch.tensor(self.bases, device=tokens.device)
        return self.embed_tokens(digits).sum(-2)

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


class ModuleInputs:
    """A LabTransformer's inputs for FrameDecoder, from the module's own embeddings."""

    chain = None

    def __init__(self, model: LabTransformer) -> None:
        self.model = model

    @torch.inference_mode()
    def image(
        self, layout: BlockLayout, part: slice, tokens: Tokens, previous: Tokens | None, action: Tokens | None
    ) -> Array:
        given = [None if a is None else torch.from_numpy(np.asarray(a, np.int64)) for a in (tokens, previous, action)]
        assert given[0] is not None, "a frame has tokens"
        return self._clean(self.model.embed_image(given[0], given[1], given[2])[part])

    @torch.inference_mode()
    def outro(self, layout: BlockLayout, tokens: Tokens, action: Tokens) -> Array:
        given = (torch.from_numpy(np.asarray(a, np.int64)) for a in (tokens, action))
        return self._clean(self.model.embed_outro(*given))

    def _clean(self, x: Tensor) -> Array:
        """Frames in play are told to be without noise."""
        return (x if self.model.level is None else x + self.model.level[0]).float().numpy()


class LabDecoder(FrameDecoder):
    """The one decode path with a LabTransformer's blocks, and its head behind it. No guidance."""

    def __init__(self, model: LabTransformer) -> None:
        super().__init__(model.config, ModuleInputs(model), EagerBackend(model, guided=False))
        layout, window = model.layout, self.window
        self.layout, self.model = layout, model
        self._slot_of = np.arange(self.backend.ring) // layout.length
        ages = [age if age in (0, *model.config.transformer.offsets) else None for age in range(window)]
        none = np.zeros(layout.length, np.bool_)
        self._seen = np.stack([none if age is None else layout.seen(model.blocks, age) for age in ages])
        self._old = np.ones(self.backend.ring, np.bool_)  # what old frames show, where that depends on their tokens
        ending, first = slice(layout.image, layout.length), layout.group_slots[0]
        a, b = layout.outro, first.stop
        self._first_own = np.zeros((a + b, a + b), np.bool_)
        self._first_own[:a, :a] = layout.mask[ending, ending]
        self._first_own[a:, :a] = layout.seen(model.blocks, 1)[ending]
        self._first_own[a:, a:] = layout.mask[first, first]

    def _begin(self) -> None:
        if self.model.blocks.by_tokens and self.block >= 0:
            tokens, *before = (torch.from_numpy(frame.astype(np.int64)) for frame in self.frames[:-3:-1])
            old = self.model.old_rows(tokens, before[0] if before else None)
            self._old[self._slots(slice(0, self.layout.length))] = old.numpy()
        super()._begin()

    def _visible(self) -> NDArray[np.bool_]:
        age = (self.block - self._slot_of) % self.window
        seen = self._seen[age, np.arange(len(age)) % self.layout.length]
        return self.written & seen & (self._old | (age <= self.model.blocks.whole))

    def decode(
        self, action: Tokens, sampler: Sampler, seed: int, frame: int, forced: Tokens | None = None
    ) -> tuple[Tokens, Array | None]:
        """As FrameDecoder.decode; scores are the hidden vectors of the slots that predict."""
        layout, previous, redo = self.layout, self.frames[-1], self.model.blocks.redo
        ending = slice(layout.image, layout.length)
        outro = self.tables.outro(layout, previous, action), self._angles(ending), self._visible(), self._slots(ending)
        self._begin()
        tokens = np.zeros(layout.order.tokens, np.int32)
        fixed = np.zeros(len(tokens), np.bool_)
        hidden = self._passes(outro, tokens, fixed, previous, action, sampler, seed, frame, forced)
        if redo and forced is None:
            doubts, places = self.model.doubts(torch.from_numpy(hidden))
            fixed[:] = True
            fixed[places[torch.argsort(doubts, descending=True)[:redo].numpy()]] = False
            self._passes(None, tokens, fixed, previous, action, sampler, seed + REDO_SEED, frame, None)
        self.frames = [*self.frames[-(self.window - 1) :], tokens]
        return tokens, hidden[layout.queries] if forced is not None else None

    @torch.inference_mode()
    def _passes(
        self,
        outro: tuple[Array, tuple[Array, Array], NDArray[np.bool_], slice] | None,
        tokens: Tokens,
        fixed: NDArray[np.bool_],
        previous: Tokens,
        action: Tokens,
        sampler: Sampler,
        seed: int,
        frame: int,
        forced: Tokens | None,
    ) -> Array:
        """The passes of the current block, the first with the outro of the block before where that is not written yet.
        Draws the tokens that are not fixed, in place. -> hidden (image, hidden)."""
        layout, found = self.layout, []
        block = self._slots(slice(0, layout.length))
        visible = self._visible()
        visible[block] = False
        for index, part in enumerate(layout.group_slots):
            x, (cos, sin), slots = self.tables.image(layout, part, tokens, previous, action), self._angles(part), []
            past, own, silent = np.broadcast_to(visible, (len(x), len(visible))), layout.mask[part, part], 0
            if index == 0 and outro is not None:
                ending, angles, before, entries = outro
                silent, own, slots = len(ending), self._first_own, [entries]
                past = np.concatenate([np.broadcast_to(before, (silent, len(before))), past])
                x, cos, sin = (np.concatenate(pair) for pair in ((ending, x), (angles[0], cos), (angles[1], sin)))
            own_slots = self._slots(part)
            hidden = self.backend.run(x, cos, sin, past, own, [*slots, own_slots], slice(silent, len(x)))
            for entries in slots:
                self.written[entries] = True
                visible[entries] = self._seen[1][layout.image :]
            visible[own_slots] = self.written[own_slots] = True
            asked = layout.queries[(layout.queries >= part.start) & (layout.queries < part.stop)]
            places = layout.places[asked]
            free = ~fixed[places]
            if forced is not None:
                tokens[places] = forced[places]
            elif free.any():
                score = hidden[asked - part.start][free]
                tokens[places[free]] = self.draw(score, sampler, seed, frame, places[free])
            found.append(hidden)
        return np.concatenate(found)

    @torch.inference_mode()
    def draw(self, score: Array, sampler: Sampler, seed: int, frame: int, places: NDArray[np.int64]) -> Tokens:
        def pick(logits: Tensor, number: int) -> Tensor:
            drawn = sample(logits.float().numpy(), sampler, seed + number * DIGIT_SEED, frame, places)
            return torch.from_numpy(drawn).long()

        return self.model.head.draw(torch.from_numpy(score), pick).numpy().astype(np.int32)
