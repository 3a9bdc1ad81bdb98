"""How a frame's tokens are decoded, and what of older frames is seen: parts of a lab world model's blocks.

A decode order may have content rows: a token of theirs that was decoded is fed as a row of its own in the next pass, so
that groups that lie far apart see each other (LPD, arXiv 2507.01957); the row that asked for it is forgotten with the
frame. A context policy says which rows of older frames are seen: all, a few summary rows that a block ends with, a
lattice, those whose token had changed, or a few that differ most. Both are tables behind the training mask and the
decoder, which a test compares for each order and policy. It knows no pictures and no training.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldmodel.decode_order import START, DecodeOrder, parse_order
from worldmodel.model.compiled_attention import CompiledAttention, compiled_attention_problem
from worldmodel.model.layout import BlockLayout
from worldmodel.model.transformer import VisualActionTransformer, WindowAttention
from worldmodel.tokenizers.action import TOKENS_PER_ACTION

OLD = ("all", "summary", "lattice", "changed", "diverse")
HIDDEN = -1e9
# The residues (row % 2, column % 2) or (row % 2, column % 4) of far orders, each as far as can be from those before.
FAR = {
    "far-4": ((0, 0), (1, 1), (0, 1), (1, 0)),
    "far-8": ((0, 0), (1, 2), (0, 2), (1, 0), (0, 1), (1, 3), (0, 3), (1, 1)),
}


@dataclass(frozen=True, slots=True)
class Blocks:
    """order: a decode order's name, or one of FAR, which have content rows; whole: frames back that are seen whole, and
    old: what is seen of those farther back (rows: how many summary or diverse rows); any_length: trained with the
    context cut at random; redo: tokens of a frame that are drawn again, those that a judge doubts most. ValueError for
    values that do not fit."""

    order: str = "diagonal-1"
    whole: int = 2
    old: str = "all"
    rows: int = 0
    any_length: bool = False
    redo: int = 0

    def __post_init__(self) -> None:
        if self.old not in OLD:
            raise ValueError(f"old is one of {OLD}, got {self.old!r}")
        if (self.old in ("summary", "diverse")) != (self.rows > 0):
            raise ValueError(f"summary and diverse rows, and no others, have a number; got {self.old} of {self.rows}")
        if self.whole < 1:
            raise ValueError(f"the last frame is always seen whole: whole is 1 or more, got {self.whole}")
        if self.redo and self.order not in FAR:
            raise ValueError(f"a judge reads content rows, which {self.order!r} has not: redo needs one of {[*FAR]}")

    @property
    def by_tokens(self) -> bool:
        """Whether the old rows that are seen depend on the tokens."""
        return self.old in ("changed", "diverse")


@dataclass(frozen=True)
class LabLayout(BlockLayout):
    """A block with content rows, places outside of the picture, and summary rows. columns: of the picture's table;
    extra: places before it, which lie outside; content: places that have content rows; summary: rows at the end."""

    columns: int = 1
    extra: int = 0
    content: frozenset[int] = frozenset()
    summary: int = 0

    @cached_property
    def rows(self) -> tuple[tuple[int, int, int], ...]:
        """(place, place whose token it is fed or START, pass) of each image slot. Content rows are fed their own."""
        found, before = [], ()
        for number, group in enumerate(self.order.groups):
            found += [(place, place, number) for place in before if place in self.content]
            found += [(place, self.order.source[place], number) for place in group]
            before = group
        return tuple(found)

    @property
    def image(self) -> int:
        return len(self.rows)

    @property
    def outro(self) -> int:
        return len(self.tail) + TOKENS_PER_ACTION + self.summary

    @cached_property
    def places(self) -> NDArray[np.int64]:
        return np.array([place for place, _, _ in self.rows])

    @cached_property
    def sources(self) -> NDArray[np.int64]:
        return np.array([source for _, source, _ in self.rows])

    @cached_property
    def queries(self) -> NDArray[np.int64]:
        """Image slots that predict the token of their place, in decode order."""
        return np.flatnonzero(self.sources != self.places)

    @cached_property
    def tail(self) -> NDArray[np.int64]:
        used = set(self.sources.tolist())
        return np.array([place for place in range(self.order.tokens) if place not in used], np.int64)

    @cached_property
    def rank(self) -> NDArray[np.int64]:
        ends = np.full(self.outro, self.order.passes)
        ends[len(ends) - self.summary :] += 1
        return np.concatenate([[number for _, _, number in self.rows], ends])

    @cached_property
    def group_slots(self) -> tuple[slice, ...]:
        ends = np.searchsorted(self.rank[: self.image], np.arange(self.order.passes), side="right")
        return tuple(slice(int(a), int(b)) for a, b in zip([0, *ends], ends, strict=False))

    @cached_property
    def carried(self) -> NDArray[np.int64]:
        """(length,) the place whose token each slot is fed, or -1."""
        return np.concatenate([self.sources, self.tail, np.full(TOKENS_PER_ACTION + self.summary, START)])

    @cached_property
    def coordinates(self) -> NDArray[np.int64]:
        """As in BlockLayout. Places outside, and summary rows, lie below the action."""
        inside = np.concatenate([self.places, self.tail]) - self.extra
        rows = (self.order.tokens - self.extra) // self.columns
        picture = np.stack([inside // self.columns, inside % self.columns], -1)
        picture[inside < 0] = np.stack([np.full(len(inside), rows + 1), inside + self.extra], -1)[inside < 0]
        below = [(rows, TOKENS_PER_ACTION), (rows + 2, self.summary)]
        return np.concatenate([picture, *(np.stack([np.full(n, row), np.arange(n)], -1) for row, n in below)])

    def seen(self, blocks: Blocks, age: int) -> NDArray[np.bool_]:
        """(length,) the slots of a block that a frame `age` frames later may see; by tokens: see `old_rows`."""
        summary = np.arange(self.length) >= self.length - self.summary
        if age == 0:
            return np.ones(self.length, np.bool_)
        if age > blocks.whole and blocks.old == "summary":
            return summary
        asked = np.zeros(self.length, np.bool_)  # for a token that has a content row
        asked[self.queries] = [place in self.content for place in self.places[self.queries].tolist()]
        kept = ~asked & ~summary
        if age > blocks.whole and blocks.old == "lattice":
            inside = self.carried - self.extra
            kept &= (inside < 0) | ((inside // self.columns + inside % self.columns) % 2 == 0)
        return kept


def lab_layout(blocks: Blocks, rows: int, columns: int, extra: int) -> LabLayout:
    """The layout of a picture's table with `extra` places before it, which are decoded first, in one pass."""
    tokens = rows * columns
    if blocks.order in FAR:
        residues = FAR[blocks.order]
        wide = len(residues) // 2
        of = [residues.index((place // columns % 2, place % columns % wide)) for place in range(tokens)]
        groups = [tuple(place for place in range(tokens) if of[place] == number) for number in range(len(residues))]
        groups, source = tuple(group for group in groups if group), (START,) * tokens
        content = frozenset(range(tokens + extra))
    else:
        order = parse_order(blocks.order, rows, columns)
        groups, source, content = order.groups, order.source, frozenset(range(extra))
    moved = tuple(tuple(place + extra for place in group) for group in groups)
    first = (tuple(range(extra)),) if extra else ()
    sources = (START,) * extra + tuple(place if place == START else place + extra for place in source)
    order = DecodeOrder(blocks.order, 1, tokens + extra, (*first, *moved), sources)
    return LabLayout(order, columns, extra, content, blocks.rows if blocks.old == "summary" else 0)


def old_rows(
    layout: LabLayout, blocks: Blocks, tokens: Tensor, previous: Tensor | None, vectors: Tensor | None
) -> Tensor:
    """bool (..., length): the slots of frames that are still seen when they are old. tokens, previous: (..., places);
    vectors: (..., places, size), what "diverse" tells places apart by."""
    if blocks.old == "changed":
        kept = torch.ones_like(tokens, dtype=torch.bool) if previous is None else tokens != previous
    else:
        assert vectors is not None, "diverse rows differ by their vectors"
        kept = farthest(vectors, blocks.rows)
    carried = torch.from_numpy(layout.carried).to(tokens.device)
    return kept[..., carried.clamp_min(0)] | (carried < 0)


def farthest(vectors: Tensor, count: int) -> Tensor:
    """bool (..., n): `count` of the vectors (..., n, size), each the farthest from those before (DivPrune)."""
    chosen = torch.zeros(vectors.shape[:-1], dtype=torch.bool, device=vectors.device)
    left = (vectors - vectors.mean(-2, keepdim=True)).square().sum(-1)  # the first: the farthest from the mean
    for number in range(min(count, vectors.shape[-2])):
        at = left.masked_fill(chosen, -1).argmax(-1, keepdim=True)
        chosen = chosen.scatter(-1, at, True)
        pick = vectors.gather(-2, at[..., None].expand(*at.shape, vectors.shape[-1]))
        distance = (vectors - pick).square().sum(-1)
        left = distance if number == 0 else torch.minimum(left, distance)
    return chosen


class LabAttention(WindowAttention):
    """WindowAttention under a context policy; by the compiled attention where the policy is the same for all frames."""

    def __init__(
        self, model: VisualActionTransformer, layout: LabLayout, blocks: Blocks, frames: int, device: torch.device
    ) -> None:
        super().__init__(model, frames, device)
        ages = [*reversed([offset for offset in model.config.transformer.offsets if offset < frames]), 0]
        by_age = [layout.seen(blocks, age) for age in ages]
        self.bias = self.bias.masked_fill(~torch.from_numpy(np.concatenate(by_age)).to(device), HIDDEN)
        self.compiled: CompiledAttention | None = None
        alike = all(np.array_equal(seen, by_age[0]) for seen in by_age[:-1])
        if alike and not compiled_attention_problem(model.config.transformer.head_dim):
            self.compiled = CompiledAttention(model, frames, device, by_age[0])
        self.old = torch.tensor([age > blocks.whole for age in ages], device=device)
        self.farther = torch.arange(len(ages) - 1, -1, -1, device=device)  # of the offsets, how many are nearer
        self.hidden: Tensor | None = None

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.compiled is not None and self.hidden is None and self.dtype(q) is torch.bfloat16:
            return self.compiled(q, k, v)
        return super().__call__(q, k, v)

    def limit(self, rows: Tensor | None, nearest: int | None) -> None:
        """Sets what is hidden. rows: bool (B, T, length), those that are seen when old; nearest: of the offsets."""
        self.hidden = None
        if rows is not None:
            self.hidden = self.old[:, None] & ~rows[:, self.index]  # (B, T, attended, length)
        if nearest is not None:
            far = (self.farther > nearest)[:, None].expand(1, self.frames, -1, self.length)
            self.hidden = far if self.hidden is None else self.hidden | far

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
        shape = scores.shape
        scores = scores.view(-1, self.frames, shape[1], self.groups, self.length, shape[3]) + self.bias[:, None, None]
        if self.hidden is not None:
            scores = scores.masked_fill(self.hidden.flatten(2)[:, :, None, None, None], HIDDEN)
        return torch.softmax(scores, -1).view(shape).to(v.dtype) @ v
