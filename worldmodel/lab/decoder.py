"""Decodes a laboratory's world model frame by frame."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from kernels.sampling import Sampler, sample
from worldmodel.lab.heads import DIGIT_SEED
from worldmodel.lab.sequence import LabTransformer
from worldmodel.model.transformer import Attention, rotary_table

Rows = tuple[Tensor, NDArray[np.bool_], NDArray[np.bool_], slice, tuple[Tensor, Tensor]]
REDO_SEED = 7_000_003  # of tokens that are drawn again


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
