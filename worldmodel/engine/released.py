"""Decodes weights in a released order (decode_order.py) as MineWorld's own code does, without its stall.

The cache is one sequence: frame, action, frame, action. When its frames are full, the released client throws it away
and reads the last `keep` frames again, which stalls. Here two caches take turns: while one serves, the other is given
each of the frames that the next context begins with, one wide pass a frame; when the first is full, they change places.
What is computed is the same.

Diagonal decoding "as released" (arXiv 2503.14070 and the published code) starts a row before the token that it follows
is there, and feeds a stand-in for it: the token at that place of the frame before, or a copy of the pass's last input.
Nothing is masked but what comes later in the sequence: places that are not decoded yet are seen, as keys and values of
zero. Both are at odds with the training, and both are what these weights were published with. Row by row ("raster")
neither happens, and decoding is exact.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.sampling import Sampler, sample
from worldmodel.engine.decoder import Array
from worldmodel.model.released import angles
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.tokenizers.action import TOKENS_PER_ACTION
from worldmodel.types import Tokens, WorldModelError


class SequenceCache:
    """Keys and values of one context: (layers, kv_heads, entries, D), zero where nothing was written. frames: how many
    it holds; the last one lacks its last token and its action, which come with the next frame."""

    def __init__(self, model: VisualActionTransformer, entries: int) -> None:
        t, weight = model.config.transformer, model.embed_tokens.weight
        shape = (t.layers, t.kv_heads, entries, t.head_dim)
        self.keys = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        self.values = torch.zeros_like(self.keys)
        self.frames = 0

    def clear(self) -> None:
        self.keys.zero_()
        self.values.zero_()
        self.frames = 0


class ReleasedDecoder:
    """A Decoder (engine/decoder.py) on the model's device. ValueError for a model whose order is no released one."""

    def __init__(self, model: VisualActionTransformer) -> None:
        config = model.config
        self.order = config.decode_order()
        if not self.order.released:
            raise ValueError(f"the order {config.order!r} is no released one")
        self.model, self.config, self.window = model.eval(), config, config.transformer.window
        self.places = self.order.tokens
        self.block = self.places + TOKENS_PER_ACTION
        self.groups = [np.asarray(group) for group in self.order.groups]
        self.rank = np.asarray(self.order.group_of)
        self.device = model.embed_tokens.weight.device
        self.table = model.embed_tokens.weight
        entries = self.window * self.block
        self.cos, self.sin = angles(config, entries, self.device)
        self.serving, self.coming = SequenceCache(model, entries), SequenceCache(model, entries)
        self.beside = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self.frames: list[Tokens] = []
        self.actions: list[Tokens] = []  # that lead to each of `frames` but the first

    @property
    def filled(self) -> int:
        """Frames in the context."""
        return self.serving.frames

    def open(self, frames: list[Tokens], actions: list[Tokens]) -> None:
        """Starts from n frames (n >= 1) and the n - 1 actions between them. Of more than fit beside a next one, the
        last `keep` are read, as at the end of a context. ValueError if the counts do not fit."""
        if len(frames) < 1 or len(actions) != len(frames) - 1:
            raise ValueError(f"a context of n frames has n - 1 actions, got {len(frames)} and {len(actions)}")
        kept = len(frames) if len(frames) < self.window else self.config.keep
        self._wait()
        self.serving.clear()
        self.coming.clear()
        self.frames, self.actions = [], []
        between = [None, *actions][-kept:]
        for index, (tokens, action) in enumerate(zip(frames[-kept:], between, strict=True)):
            self._read(self.serving, tokens, action if index else None)
            self._remember(tokens, action if index else None)
            self._read_ahead()

    def decode(
        self, action: Tokens, sampler: Sampler, seed: int, frame: int, forced: Tokens | None = None
    ) -> tuple[Tokens, Array | None]:
        """As FrameDecoder.decode. WorldModelError for a sampler that guides: such weights are decoded in one lane."""
        assert self.frames, "open a context before decoding"
        if self.serving.frames == self.window:
            self._wait()
            self.serving, self.coming = self.coming, self.serving
            self.coming.clear()
        if sampler.guidance > 0:
            raise WorldModelError(f"weights in the order {self.config.order!r} cannot be guided: leave guidance at 0")
        cache, before = self.serving, self.frames[-1]
        start = cache.frames * self.block
        tokens, scores = np.zeros(self.places, np.int32), []
        for index, places in enumerate(self.groups):
            if index:
                inputs = self._inputs(places, tokens, before)
                hidden = self._run(cache, inputs, start + places - 1)
            else:  # what the frame before lacks; its first token is read off the last row
                inputs = np.concatenate([before[-1:], action])
                hidden = self._run(cache, inputs, start - len(inputs) + np.arange(len(inputs)))[-1:]
            score = self.model.logits(hidden).float().cpu().numpy()
            tokens[places] = forced[places] if forced is not None else sample(score, sampler, seed, frame, places)
            if forced is not None:
                scores.append(score)
        cache.frames += 1
        self._remember(tokens, action)
        self._read_ahead()
        return tokens, np.concatenate(scores) if scores else None

    def fill(self, rng: np.random.Generator) -> None:
        """Makes the context as full as it gets, with random keys and values: a pass then costs the most. To measure."""
        for cache in (self.serving, self.coming):
            cache.keys.normal_()
            cache.values.normal_()
        self.serving.frames, self.coming.frames = self.window - 1, max(1, self.config.keep - 1)
        shape = (self.window, self.places)
        self.frames = list(rng.integers(0, self.config.image_tokenizer.codebook_size, shape, dtype=np.int32))
        self.actions = self.actions[-1:] * (self.window - 1)

    def _remember(self, tokens: Tokens, action: Tokens | None) -> None:
        self.frames = [*self.frames[-(self.window - 1) :], tokens.astype(np.int32)]
        if action is not None:
            self.actions = [*self.actions[-(self.window - 2) :], action]

    def _read_ahead(self) -> None:
        """Gives the last frame to the coming cache, if the next context begins with it or holds it."""
        if self.serving.frames <= self.window - self.config.keep:
            return
        action = self.actions[-1] if self.coming.frames else None
        if self.beside is None:
            self._read(self.coming, self.frames[-1], action)
            return
        self.beside.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.beside):
            self._read(self.coming, self.frames[-1], action)

    def _wait(self) -> None:
        if self.beside is not None:
            torch.cuda.current_stream(self.device).wait_stream(self.beside)

    def _read(self, cache: SequenceCache, tokens: Tokens, action: Tokens | None) -> None:
        """One wide pass: what the cache's last frame lacks (its last token and the action after it; None: there is no
        frame), and a known frame but for its last token."""
        start = cache.frames * self.block
        own = tokens[:-1]
        if action is None:
            assert not cache.frames, "an action lies between two frames"
            inputs = own
        else:
            before = self.frames[-1] if cache is self.serving else self.frames[-2]
            inputs = np.concatenate([before[-1:], action, own])
        self._run(cache, inputs, start + len(own) - len(inputs) + np.arange(len(inputs)))
        cache.frames += 1

    def _inputs(self, places: np.ndarray, tokens: Tokens, before: Tokens) -> Tokens:
        """What a pass is fed: the token before each place, or the stand-in for one that is not decoded yet."""
        inputs = tokens[places - 1]
        early = self.rank[places - 1] >= self.rank[places]
        for row in np.flatnonzero(early):
            repeats = self.config.stand_in == "last-input" and row > 0
            inputs[row] = inputs[row - 1] if repeats else before[places[row] - 1]
        return inputs

    @torch.inference_mode()
    def _run(self, cache: SequenceCache, inputs: Tokens, positions: np.ndarray) -> Tensor:
        """All layers over some tokens at ascending positions: (n,) and (n,) -> (n, hidden). Their keys and values are
        written first, and each sees every entry up to its own position."""
        t, end = self.config.transformer, int(positions[-1]) + 1
        at = torch.from_numpy(positions.astype(np.int64)).to(self.device)
        x = F.embedding(torch.from_numpy(inputs.astype(np.int64)).to(self.device), self.table)[None]
        seen = torch.arange(end, device=self.device) <= at[:, None]
        n, groups = len(inputs), t.heads // t.kv_heads
        mask = seen.repeat(groups, 1)

        def attention(layer: int):  # noqa: ANN202
            def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                cache.keys[layer][:, at], cache.values[layer][:, at] = k[0].transpose(0, 1), v[0].transpose(0, 1)
                keys, values = cache.keys[layer][None, :, :end], cache.values[layer][None, :, :end]
                # Query heads that share a key head are packed as rows: (1, Hkv, G * n, D).
                packed = q[0].view(n, t.kv_heads, groups, -1).permute(1, 2, 0, 3).reshape(1, t.kv_heads, -1, t.head_dim)
                out = F.scaled_dot_product_attention(packed, keys, values, attn_mask=mask)
                return out.view(t.kv_heads, groups, n, -1).permute(2, 0, 1, 3).reshape(1, n, t.heads, -1)

            return attend

        cos, sin = self.cos[at], self.sin[at]
        return self.model.run(x, cos, sin, [attention(layer) for layer in range(t.layers)])[0]
