"""What predicts tokens: a tiny prior over one frame, and the world model, both with a head for sub-codes.

A head predicts a place's code as digits: one digit ("softmax"), the sub-codes one after another, each given those
before it ("chained"), digits of base 8 in the same way ("digits"), or all bits at once ("bits"). It costs a place one
pass, whatever the number of digits. The world model is VisualActionTransformer with sums of digit embeddings for
inputs; with one digit and plain blocks it is the same model.
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
from worldmodel.lab.autoencoder import transformer_layer
from worldmodel.lab.blocks import Blocks, LabAttention, LabLayout, lab_layout, old_rows
from worldmodel.lab.codes import join, split
from worldmodel.model.transformer import Attention, VisualActionTransformer, rotary_table

HEADS = ("softmax", "chained", "bits", "digits")
DIGIT = 8  # values of a digit of the head "digits"
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
    if head == "digits":
        count = round(math.log(codes, DIGIT))
        if DIGIT**count != codes:
            raise ValueError(f"digits of base {DIGIT} need a power of it for codes, got {codes}")
        return (DIGIT,) * count
    if head != "softmax":
        raise ValueError(f"a head is one of {HEADS}, got {head!r}")
    if codes > MOST_SOFTMAX:
        raise ValueError(f'one softmax over {codes} codes is too large (at most {MOST_SOFTMAX}): "chained" or "bits"')
    return (codes,)


def is_chained(head: str) -> bool:
    return head in ("chained", "digits")


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


Rows = tuple[Tensor, NDArray[np.bool_], NDArray[np.bool_], slice, tuple[Tensor, Tensor]]
"""Of a pass: inputs (B, n, hidden); the ring's entries that they see (B or 1, n, ring); which of themselves (n, n);
their entries; cos and sin."""


class LabDecoder:
    """Plays some sessions side by side, pass by pass over a ring cache: engine/decoder.py's frame loop with a
    LabTransformer's blocks, and its head behind it. Sessions share their random numbers. No guidance."""

    def __init__(self, model: LabTransformer) -> None:
        self.model, self.layout, self.window = model.eval(), model.layout, model.config.transformer.window
        layout, window = self.layout, self.window
        self.ring = window * layout.length
        self._slot_of = np.arange(self.ring) // layout.length
        none = np.zeros(layout.length, np.bool_)
        offsets = (0, *model.config.transformer.offsets)
        self._seen = np.stack([layout.seen(model.blocks, age) if age in offsets else none for age in range(window)])
        self.image, self.ending = slice(0, layout.image), slice(layout.image, layout.length)
        first = layout.group_slots[0]
        own = np.zeros((layout.outro + first.stop,) * 2, np.bool_)  # of a frame's first pass
        own[: layout.outro, : layout.outro] = layout.mask[self.ending, self.ending]
        own[layout.outro :, : layout.outro] = layout.seen(model.blocks, 1)[self.ending]
        own[layout.outro :, layout.outro :] = layout.mask[first, first]
        self._first_own = own

    @torch.inference_mode()
    def open(self, frames: NDArray[np.integer], actions: NDArray[np.integer]) -> None:
        """Starts from known frames (B, n, places) and the actions between them (B, n - 1, 11)."""
        frames, actions = frames[:, -self.window :], actions[:, max(0, frames.shape[1] - self.window) :]
        t = self.model.config.transformer
        self.keys = torch.zeros(t.layers, len(frames), t.kv_heads, self.ring, t.head_dim)
        self.values = torch.zeros_like(self.keys)
        self.written = np.zeros(self.ring, np.bool_)
        self.old = np.ones((len(frames), self.ring), np.bool_)  # what old frames show, where their tokens decide
        self.block, self.frames = -1, []
        tokens = torch.from_numpy(frames.astype(np.int64))
        done = torch.from_numpy(actions.astype(np.int64))
        for index in range(frames.shape[1]):
            if index:
                self._run([self._outro(done[:, index - 1])])
            self._begin()
            before = (tokens[:, index - 1], done[:, index - 1]) if index else (None, None)
            x = self.model.embed_image(tokens[:, index], *before)
            self._run([self._rows(x, self.image)])
            self.frames.append(tokens[:, index])

    @torch.inference_mode()
    def decode(
        self,
        action: NDArray[np.integer],
        sampler: Sampler,
        seed: int,
        frame: int,
        forced: NDArray[np.integer] | None = None,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """One frame of each. action: (B, 11); frame: keys the random numbers; forced: true tokens (B, places) to decode
        with. -> tokens (B, places), and the hidden vectors (B, queries, hidden) that they were drawn from."""
        done = torch.from_numpy(np.asarray(action, np.int64))
        true = None if forced is None else torch.from_numpy(np.asarray(forced, np.int64))
        outro = self._outro(done)
        self._begin()
        tokens = torch.zeros_like(self.frames[-1])
        hidden = self._passes(
            outro, tokens, torch.zeros_like(tokens, dtype=torch.bool), done, sampler, seed, frame, true
        )
        if self.model.blocks.redo and true is None:
            doubts, places = self.model.doubts(hidden)
            again = torch.from_numpy(places)[doubts.topk(self.model.blocks.redo).indices]
            fixed = torch.ones_like(tokens, dtype=torch.bool).scatter(1, again, False)
            self._passes(None, tokens, fixed, done, sampler, seed + REDO_SEED, frame, None)
        self.frames = [*self.frames[-(self.window - 1) :], tokens]
        return tokens.numpy().astype(np.int32), hidden[:, torch.from_numpy(self.layout.queries)].numpy()

    def _passes(
        self,
        outro: Rows | None,
        tokens: Tensor,
        fixed: Tensor,
        action: Tensor,
        sampler: Sampler,
        seed: int,
        frame: int,
        forced: Tensor | None,
    ) -> Tensor:
        """The passes of the current block, the first with the outro of the block before where that is not written yet.
        Draws the tokens that are not fixed, in place. -> (B, image, hidden)."""
        layout, found = self.layout, []
        self.written[self._entries(self.image)] = False
        for part in layout.group_slots:
            x = self.model.embed_image(tokens, self.frames[-1], action)[:, part]
            rows = [self._rows(x, part)]
            if part.start == 0 and outro is not None:
                rows.insert(0, outro)
            hidden = self._run(rows)[:, -x.shape[1] :]
            asked = layout.queries[(layout.queries >= part.start) & (layout.queries < part.stop)]
            places = layout.places[asked]
            at = torch.from_numpy(places)
            drawn = forced[:, at] if forced is not None else None
            if drawn is None:
                drawn = self._draw(hidden[:, torch.from_numpy(asked - part.start)], sampler, seed, frame, places)
            tokens[:, at] = torch.where(fixed[:, at], tokens[:, at], drawn)
            found.append(hidden)
        return torch.cat(found, 1)

    def _draw(self, hidden: Tensor, sampler: Sampler, seed: int, frame: int, places: NDArray[np.int64]) -> Tensor:
        def pick(logits: Tensor, number: int) -> Tensor:
            flat, every = logits.float().flatten(0, -2).numpy(), np.tile(places, len(hidden))
            drawn = sample(flat, sampler, seed + number * DIGIT_SEED, frame, every)
            return torch.from_numpy(drawn).long().view(logits.shape[:-1])

        return self.model.head.draw(hidden, pick)

    def _begin(self) -> None:
        """Starts the next block: its ring slot's old keys, of the frame that leaves the window, vanish."""
        if self.model.blocks.by_tokens and self.block >= 0:
            old = self.model.old_rows(self.frames[-1], self.frames[-2] if len(self.frames) > 1 else None)
            self.old[:, self._entries(slice(0, self.layout.length))] = old.numpy()
        self.block += 1
        self.written[self._entries(slice(0, self.layout.length))] = False

    def _visible(self) -> NDArray[np.bool_]:
        """(B or 1, ring): written entries that the current block sees."""
        age = (self.block - self._slot_of) % self.window
        seen = (self.written & self._seen[age, np.arange(self.ring) % self.layout.length])[None]
        return seen & (self.old | (age <= self.model.blocks.whole)) if self.model.blocks.by_tokens else seen

    def _entries(self, part: slice) -> slice:
        base = self.block % self.window * self.layout.length
        return slice(base + part.start, base + part.stop)

    def _rows(self, x: Tensor, part: slice) -> Rows:
        """The current block's slots `part` as rows of a pass."""
        visible = self._visible()
        tables = rotary_table(self.model.config, self.layout, np.asarray([self.block]))
        cos, sin = (torch.from_numpy(table[0, part]) for table in tables)
        past = np.broadcast_to(visible[:, None], (len(visible), x.shape[1], self.ring))
        return x, past, self.layout.mask[part, part], self._entries(part), (cos, sin)

    def _outro(self, action: Tensor) -> Rows:
        return self._rows(self.model.embed_outro(self.frames[-1], action), self.ending)

    def _run(self, rows: list[Rows]) -> Tensor:
        """One pass; of two parts, the first is an outro. -> (B, n, hidden)."""
        x, past, own = (
            torch.cat([part[0] for part in rows], 1),
            np.concatenate([part[1] for part in rows], 1),
            rows[0][2],
        )
        if len(rows) > 1:
            own = self._first_own
        filled = np.flatnonzero(past.any((0, 1)))
        own = np.broadcast_to(own, (len(past), *own.shape))
        mask = torch.from_numpy(np.concatenate([past[..., filled], own], -1))[:, None]
        entries = torch.from_numpy(filled)
        targets = torch.from_numpy(np.concatenate([np.arange(part[3].start, part[3].stop) for part in rows]))
        t = self.model.config.transformer

        def attention(layer: int) -> Attention:
            def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                k, v = k.transpose(1, 2), v.transpose(1, 2)  # (B, Hkv, n, D)
                groups = t.heads // t.kv_heads
                keys = torch.cat([self.keys[layer][:, :, entries], k], 2).repeat_interleave(groups, 1)
                values = torch.cat([self.values[layer][:, :, entries], v], 2).repeat_interleave(groups, 1)
                self.keys[layer][:, :, targets], self.values[layer][:, :, targets] = k, v
                return F.scaled_dot_product_attention(q.transpose(1, 2), keys, values, attn_mask=mask).transpose(1, 2)

            return attend

        cos, sin = (torch.cat([part[4][i] for part in rows]) for i in range(2))
        out = self.model.run(self._told(x), cos, sin, [attention(layer) for layer in range(t.layers)])
        self.written[targets.numpy()] = True
        return out

    def _told(self, x: Tensor) -> Tensor:
        """Frames in play are told to be without noise."""
        return x if self.model.level is None else x + self.model.level[0]
