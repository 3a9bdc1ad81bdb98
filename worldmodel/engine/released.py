"""Decodes weights in a released order (decode_order.py) as MineWorld's own code does, without its stall.

The cache is one sequence: frame, action, frame, action. When its frames are full, the released client throws it away
and reads the last `keep` frames again, which stalls. Here two caches take turns: while one serves, the other is given
each of the frames that the next context begins with, one wide pass a frame; when the first is full, they change places.
What is computed is the same. `ReleasedDecoder` knows what is read when and where; a backend (`Sequences`) runs a pass.

Diagonal decoding "as released" (arXiv 2503.14070 and the published code) starts a row before the token that it follows
is there, and feeds a stand-in for it: the token at that place of the frame before, or a copy of the pass's last input.
Nothing is masked but what comes later in the sequence: places that are not decoded yet are seen, as keys and values of
zero. Both are at odds with the training, and both are what these weights were published with. Row by row ("raster")
neither happens, and decoding is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.sampling import Sampler
from worldmodel.config import WorldModelConfig
from worldmodel.engine.decoder import Array
from worldmodel.tokenizers.action import TOKENS_PER_ACTION
from worldmodel.types import Tokens, WorldModelError


def block_tokens(config: WorldModelConfig) -> int:
    """Tokens of a frame and its action: so far are frames apart in the sequence. A pass has as many rows at most."""
    return config.image_tokenizer.tokens_per_frame + TOKENS_PER_ACTION


def sequence_entries(config: WorldModelConfig) -> int:
    """Of a cache."""
    return config.transformer.window * block_tokens(config)


@dataclass(frozen=True, slots=True)
class Rows:
    """A pass: tokens (n,) at ascending positions (n,) of a cache's sequence. Their keys and values are written first,
    and each sees every entry up to its own position."""

    cache: int
    tokens: Tokens
    positions: NDArray[np.int64]


class Sequences(Protocol):
    """Runs passes over some caches, which have the numbers 0, 1, ... Each has `sequence_entries` entries, keys and
    values of zero where nothing was written."""

    def clear(self, cache: int) -> None: ...

    def read(self, rows: Rows, ahead: bool = False) -> None:
        """ahead: nothing else is asked of this cache before the next `wait`."""
        ...

    def wait(self) -> None:
        """What was read ahead is there for what comes next."""
        ...

    def draw(self, rows: Rows, places: NDArray[np.int64], sampler: Sampler, seed: int, frame: int) -> Tokens:
        """-> the tokens of `places` (m,), each drawn from one of the last m rows."""
        ...

    def score(self, rows: Rows, count: int) -> Array:
        """-> logits (count, codes) of the last rows."""
        ...


@dataclass
class _Context:
    """A cache by its number. frames: how many it holds; the last one lacks its last token and its action, which come
    with the next frame."""

    cache: int
    frames: int = 0


class ReleasedDecoder:
    """A Decoder (engine/decoder.py) over two of a backend's caches, those of a player. ValueError for an order that is
    no released one."""

    def __init__(self, config: WorldModelConfig, backend: Sequences, player: int = 0) -> None:
        self.order = config.decode_order()
        if not self.order.released:
            raise ValueError(f"the order {config.order!r} is no released one")
        self.config, self.backend, self.window = config, backend, config.transformer.window
        self.places, self.block = self.order.tokens, block_tokens(config)
        self.groups = [np.asarray(group) for group in self.order.groups]
        self.rank = np.asarray(self.order.group_of)
        self.serving, self.coming = _Context(2 * player), _Context(2 * player + 1)
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
        self.backend.wait()
        self._clear(self.serving)
        self._clear(self.coming)
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
            self.backend.wait()
            self.serving, self.coming = self.coming, self.serving
            self._clear(self.coming)
        if sampler.guidance > 0:
            raise WorldModelError(f"weights in the order {self.config.order!r} cannot be guided: leave guidance at 0")
        cache, before = self.serving.cache, self.frames[-1]
        start = self.serving.frames * self.block
        tokens, scores = np.zeros(self.places, np.int32), []
        for index, places in enumerate(self.groups):
            if index:
                rows = Rows(cache, self._inputs(places, tokens, before), start + places - 1)
            else:  # what the frame before lacks; its first token is read off the last row
                inputs = np.concatenate([before[-1:], action])
                rows = Rows(cache, inputs, start - len(inputs) + np.arange(len(inputs)))
            if forced is None:
                tokens[places] = self.backend.draw(rows, places, sampler, seed, frame)
            else:
                tokens[places] = forced[places]
                scores.append(self.backend.score(rows, len(places)))
        self.serving.frames += 1
        self._remember(tokens, action)
        self._read_ahead()
        return tokens, np.concatenate(scores) if scores else None

    def _remember(self, tokens: Tokens, action: Tokens | None) -> None:
        self.frames = [*self.frames[-(self.window - 1) :], tokens.astype(np.int32)]
        if action is not None:
            self.actions = [*self.actions[-(self.window - 2) :], action]

    def _read_ahead(self) -> None:
        """Gives the last frame to the coming cache, if the next context begins with it or holds it."""
        if self.serving.frames <= self.window - self.config.keep:
            return
        self._read(self.coming, self.frames[-1], self.actions[-1] if self.coming.frames else None, ahead=True)

    def _clear(self, context: _Context) -> None:
        self.backend.clear(context.cache)
        context.frames = 0

    def _read(self, context: _Context, tokens: Tokens, action: Tokens | None, ahead: bool = False) -> None:
        """One wide pass: what the context's last frame lacks (its last token and the action after it; None: there is no
        frame), and a known frame but for its last token."""
        start = context.frames * self.block
        own = tokens[:-1]
        if action is None:
            assert not context.frames, "an action lies between two frames"
            inputs = own
        else:
            before = self.frames[-1] if context is self.serving else self.frames[-2]
            inputs = np.concatenate([before[-1:], action, own])
        positions = start + len(own) - len(inputs) + np.arange(len(inputs))
        self.backend.read(Rows(context.cache, inputs, positions), ahead)
        context.frames += 1

    def _inputs(self, places: np.ndarray, tokens: Tokens, before: Tokens) -> Tokens:
        """What a pass is fed: the token before each place, or the stand-in for one that is not decoded yet."""
        inputs = tokens[places - 1]
        early = self.rank[places - 1] >= self.rank[places]
        for row in np.flatnonzero(early):
            repeats = self.config.stand_in == "last-input" and row > 0
            inputs[row] = inputs[row - 1] if repeats else before[places[row] - 1]
        return inputs
