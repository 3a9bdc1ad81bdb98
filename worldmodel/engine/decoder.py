"""The one decode path: opens a context, takes an action, decodes a frame group by group over a ring cache.

`FrameDecoder` knows the plan (which slots each pass computes, what they may attend to, where their keys go);
a backend (PyTorch eager, OpenVINO) only runs a pass. NumPy between the two. A frame costs one pass a group of the
decode order: the first pass also carries the outro (tail tokens and action) of the frame before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.sampling import Sampler, guide, sample_parts
from worldmodel.config import WorldModelConfig
from worldmodel.engine.guidance import Guidance
from worldmodel.model.layout import BlockLayout
from worldmodel.model.parts import rows_of
from worldmodel.model.rotary import rotary_table
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.types import Tokens

Array = NDArray[np.float32]


def ring_entries(model: VisualActionTransformer, guided: bool = True) -> int:
    """Of a backend's ring: `window` blocks, so that the oldest that is attended to is there, and one for the lane of
    guided frames in which nothing is done."""
    return (model.config.transformer.window + guided) * model.layout.length


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass of n rows over the ring. x: (n, hidden) inputs; cos, sin: (n, head_dim / 2); past: (n, ring)
    cached entries that each row may attend to; own: (n, n) [query, key] mask among the pass itself; slots: the entries
    that its rows' keys and values go to, in order; logits: the rows whose logits are asked for."""

    x: Array
    cos: Array
    sin: Array
    past: NDArray[np.bool_]
    own: NDArray[np.bool_]
    slots: list[slice]
    logits: slice | NDArray[np.int64]


def side_by_side(lanes: list[Pass]) -> Pass:
    """Lanes of the same shape as one pass, in which they do not see each other. Each asks for a slice of its rows."""
    if len(lanes) == 1:
        return lanes[0]
    n, wanted = len(lanes[0].x), lanes[0].logits
    assert isinstance(wanted, slice), "of one lane"
    return Pass(
        np.concatenate([lane.x for lane in lanes]),
        np.concatenate([lane.cos for lane in lanes]),
        np.concatenate([lane.sin for lane in lanes]),
        np.concatenate([lane.past for lane in lanes]),
        np.kron(np.eye(len(lanes), dtype=np.bool_), lanes[0].own),
        [entries for lane in lanes for entries in lane.slots],
        (np.arange(len(lanes))[:, None] * n + np.arange(n)[wanted]).ravel(),
    )


class Backend(Protocol):
    """Runs one pass over a ring of `ring` cached keys and values (see ring_entries)."""

    name: str
    ring: int

    def run(self, one: Pass) -> Array:
        """-> logits (m, sum(parts)) of the rows that are asked for."""
        ...


class Decoder(Protocol):
    """A frame loop: FrameDecoder, or an engine that does the whole frame on its device. See FrameDecoder."""

    config: WorldModelConfig
    window: int

    @property
    def frames(self) -> list[Tokens]: ...

    @property
    def filled(self) -> int: ...

    def open(self, frames: list[Tokens], actions: list[Tokens]) -> None: ...

    def decode(
        self, action: Tokens, sampler: Sampler, seed: int, frame: int, forced: Tokens | None = None
    ) -> tuple[Tokens, Array | None]: ...


class Inputs(Protocol):
    """The model's inputs, slot by slot: InputTables, or the model's own embeddings. chain: see InputTables."""

    @property
    def chain(self) -> Array | None: ...

    def image(
        self, layout: BlockLayout, part: slice, tokens: Tokens, previous: Tokens | None, action: Tokens | None
    ) -> Array: ...

    def outro(self, layout: BlockLayout, tokens: Tokens, action: Tokens) -> Array: ...


@dataclass(frozen=True)
class InputTables:
    """The model's input embeddings as float32 tables, with their projections folded in: rows of an image token's parts
    (see model/parts.py), then of the action tokens.

    Twin of VisualActionTransformer.embed_*: a test compares them.
    """

    parts: tuple[int, ...]
    tokens: Array
    start: Array
    place: Array
    previous: Array | None
    no_previous: Array
    action: Array | None
    chain: Array | None
    """(sum of all parts but the last, sum of all but the first): what a token's parts say of those behind them."""

    @staticmethod
    def of(model: VisualActionTransformer) -> InputTables:
        def array(tensor) -> Array:  # noqa: ANN001
            return tensor.detach().float().cpu().numpy()

        tokens = array(model.embed_tokens.weight)
        hidden = tokens.shape[1]
        place = array(model.place) if model.place is not None else np.zeros((model.layout.length, hidden), np.float32)
        previous = tokens @ array(model.previous_proj.weight).T if model.previous_proj is not None else None
        no_previous = array(model.no_previous) if model.no_previous is not None else np.zeros(hidden, np.float32)
        action = tokens @ array(model.action_proj.weight).T if model.action_proj is not None else None
        chain = array(model.chain) if model.chain is not None else None
        return InputTables(model.parts, tokens, array(model.start), place, previous, no_previous, action, chain)

    def codes(self, table: Array, tokens: Tokens) -> Array:
        """The rows of `table` that image tokens (n,) have: (n, hidden)."""
        return reduce(np.add, (table[rows] for rows in rows_of(tokens.astype(np.int64), self.parts)))

    def actions(self, table: Array, action: Tokens) -> Array:
        """The same of action tokens, which count from the number of image codes."""
        return table[action - (math.prod(self.parts) - sum(self.parts))]

    def image(
        self, layout: BlockLayout, part: slice, tokens: Tokens, previous: Tokens | None, action: Tokens | None
    ) -> Array:
        """Inputs of the image slots in `part`: (n, hidden)."""
        sources = layout.sources[part]
        known = self.codes(self.tokens, tokens[np.maximum(sources, 0)])
        x = np.where((sources < 0)[:, None], self.start, known) + self.place[part]
        if self.previous is not None:
            before = None if previous is None else previous[layout.places[part]]
            x = x + (self.no_previous if before is None else self.codes(self.previous, before))
        if self.action is not None and action is not None:
            x = x + self.actions(self.action, action).sum(0)
        return x.astype(np.float32)

    def outro(self, layout: BlockLayout, tokens: Tokens, action: Tokens) -> Array:
        """Inputs of the tail and action slots: (outro, hidden)."""
        tail = self.codes(self.tokens, tokens[layout.tail])
        return np.concatenate([tail, self.actions(self.tokens, action)]) + self.place[layout.image :]


@dataclass(frozen=True)
class _Lane:
    """One of the versions of a frame that are decoded side by side: its action tokens, and the ring entries it sees."""

    action: Tokens
    visible: NDArray[np.bool_]


class FrameDecoder:
    """Ring cache over frames: constant memory and cost for ever; exactly what training with these offsets computed.

    Block b of the session lies in ring slot b % window; the passes of a frame attend to the blocks that its offsets
    reach. `frames` holds the last `window` frames; with the actions between them the cache can be rebuilt (`open`). A
    guided frame (see Guidance) is decoded in two lanes, as rows of the same passes: the action's, and that of the idle
    step it is guided away from, whose keys lie in a block of their own behind the ring and are forgotten after it.
    """

    def __init__(self, config: WorldModelConfig, tables: Inputs, backend: Backend) -> None:
        self.config, self.tables, self.backend = config, tables, backend
        self.layout = BlockLayout(config.decode_order())
        self.window = config.transformer.window
        self.written = np.zeros(backend.ring, np.bool_)
        self._slot_of = np.arange(backend.ring) // self.layout.length
        self._attended = np.isin(np.arange(self.window), (0, *config.transformer.offsets))  # by age in blocks
        self._guidance = Guidance(config)
        # Which keys a pass sees in its own rows: the outro sees itself, group 0 sees itself and the outro.
        outro, first = self.layout.outro, len(self.layout.order.groups[0])
        self._first_own = np.ones((outro + first, outro + first), np.bool_)
        self._first_own[:outro, outro:] = False
        self._rotary: dict[int, tuple[Array, Array]] = {}
        self.block = -1
        self.frames: list[Tokens] = []

    @property
    def filled(self) -> int:
        """Frames in the context, at most `window`."""
        return min(self.block + 1, self.window)

    def open(self, frames: list[Tokens], actions: list[Tokens]) -> None:
        """Starts from known frames: n frames (n >= 1) and the n - 1 actions between them (11 tokens each).

        Only the last `window` frames are looked at. ValueError if the counts do not fit.
        """
        if len(frames) < 1 or len(actions) != len(frames) - 1:
            raise ValueError(f"a context of n frames has n - 1 actions, got {len(frames)} and {len(actions)}")
        self.written[:] = False
        self.block = -1
        self.frames = []
        frames, actions = frames[-self.window :], actions[len(actions) - min(self.window, len(frames)) + 1 :]
        for index, tokens in enumerate(frames):
            if index:
                self._finish(actions[index - 1])
            self._begin()
            part = slice(0, self.layout.image)
            previous, action = (self.frames[-1], actions[index - 1]) if index else (None, None)
            x = self.tables.image(self.layout, part, tokens, previous, action)
            self._run(x, part, self.layout.mask[part, part], slice(0, 0))
            self.frames.append(tokens.astype(np.int32))

    def decode(
        self, action: Tokens, sampler: Sampler, seed: int, frame: int, forced: Tokens | None = None
    ) -> tuple[Tokens, Array | None]:
        """One frame. action: (11,) tokens; frame: number that keys the random numbers; forced: true tokens to
        decode with (then also returns their logits (image, codes), slots in decode order)."""
        assert self.block >= 0, "open a context before decoding"
        layout, previous = self.layout, self.frames[-1]
        tokens = np.zeros(layout.image, np.int32)
        scores: list[Array] = []
        other = self._guidance.away_from(action, sampler)
        guided = other is not None
        assert not guided or len(self.written) > self.window * layout.length, f"{self.backend.name} has one lane"
        ending = slice(layout.image, layout.length)
        ending_angles = self._angles(ending)
        before = np.broadcast_to(self._visible(), (layout.outro, len(self.written)))  # with the frame that leaves
        first = [self._slots(ending, lane) for lane in range(1 + guided)]
        self._begin()
        lanes = [_Lane(action, self._visible())]
        if other is not None:
            lanes.append(_Lane(other, self._visible()))
        self.written[first[0]] = self.written[self._slots(slice(0, layout.image))] = True  # once the passes are through
        for index, part in enumerate(layout.group_slots):
            angles = self._angles(part)
            shares = []
            for number, lane in enumerate(lanes):
                x = self.tables.image(layout, part, tokens, previous, lane.action)
                past, slots = np.broadcast_to(lane.visible, (len(x), len(lane.visible))), [self._slots(part, number)]
                if index:
                    shares.append(Pass(x, *angles, past, layout.mask[part, part], slots, slice(0, len(x))))
                    continue
                x = np.concatenate([self.tables.outro(layout, previous, lane.action), x])
                cos, sin = (np.concatenate(pair) for pair in zip(ending_angles, angles, strict=True))
                past, slots = np.concatenate([before, past]), [first[number], *slots]
                shares.append(Pass(x, cos, sin, past, self._first_own, slots, slice(layout.outro, len(x))))
            logits = self.backend.run(side_by_side(shares)).reshape(len(shares), len(layout.places[part]), -1)
            for lane, share in zip(lanes, shares, strict=True):
                for entries in share.slots:
                    lane.visible[entries] = True
            score = guide(logits[0], logits[1], sampler.guidance) if guided else logits[0]
            places = layout.places[part]
            tokens[places] = forced[places] if forced is not None else self.draw(score, sampler, seed, frame, places)
            if forced is not None:
                scores.append(score)
        self.frames = [*self.frames[-(self.window - 1) :], tokens]
        return tokens, np.concatenate(scores) if scores else None

    def draw(self, score: Array, sampler: Sampler, seed: int, frame: int, places: NDArray[np.int64]) -> Tokens:
        """The tokens of a pass: score (n, sum(parts)), places (n,) -> (n,)."""
        parts = self.config.image_tokenizer.parts
        return sample_parts(score, parts, self.tables.chain, sampler, seed, frame, places, self.layout.image)

    def _begin(self) -> None:
        """Starts the next block: its ring slot's old keys, of the frame that leaves the window, vanish."""
        self.block += 1
        self.written[self._slots(slice(0, self.layout.length))] = False

    def _visible(self) -> NDArray[np.bool_]:
        """(ring,) the written entries of the current block and of those that it attends to."""
        return self.written & self._attended[(self.block - self._slot_of) % self.window]

    def _finish(self, action: Tokens) -> None:
        """Writes the current block's outro on its own (while a context is opened)."""
        part = slice(self.layout.image, self.layout.length)
        x = self.tables.outro(self.layout, self.frames[-1], action)
        self._run(x, part, self.layout.mask[part, part], slice(0, 0))

    def _slots(self, part: slice, lane: int = 0) -> slice:
        base = (self.window if lane else self.block % self.window) * self.layout.length
        return slice(base + part.start, base + part.stop)

    def _angles(self, part: slice) -> tuple[Array, Array]:
        if self.block not in self._rotary:
            tables = rotary_table(self.config, self.layout, np.asarray([self.block]))
            self._rotary = {self.block: (tables[0][0], tables[1][0])}
        cos, sin = self._rotary[self.block]
        return cos[part], sin[part]

    def _run(self, x: Array, part: slice, own: NDArray[np.bool_], logits: slice) -> Array:
        slots = self._slots(part)
        past = np.broadcast_to(self._visible(), (len(x), len(self.written)))
        out = self.backend.run(Pass(x, *self._angles(part), past, own, [slots], logits))
        self.written[slots] = True
        return out
