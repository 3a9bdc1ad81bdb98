"""Decode order: the one value behind the training mask, the decode plan and (later) the captured graphs.

A decode order is an ordered partition of a frame's token grid into groups that are decoded in parallel, plus,
for each place, the place whose token is its input. A place sees earlier groups of its own frame, its own
group's inputs, and whole earlier frames and actions: so decoding group by group computes exactly what one
training pass over the whole frame computes. Places are row-major indices. It knows no tensors and no model.

Diagonal order: Diagonal Decoding (arXiv 2503.14070): row r may start once row r-1 has k tokens. Unlike the
released code, a row's first token gets a learned start embedding as its input, never a stand-in.

Weights that MineWorld's own code has trained know no start embedding: they read one sequence of frames and actions,
token by token, and a frame's first token is read off the action before it. Their orders are "released-raster" and
"released-diagonal-K", which engine/released.py decodes; the groups are those of the orders of that name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

MAX_DIGITS = 4  # of a diagonal order's number: no grid is wider
RELEASED = "released-"  # how the orders of released weights begin
START = -1  # the "source" of a place whose input is the learned start token


@dataclass(frozen=True)
class DecodeOrder:
    """name: its specification, e.g. "diagonal-1"; groups: places by group; source[place]: the place whose
    token is this place's input, or START; released: the input is the token before, in one sequence of frames and
    actions. ValueError if the groups are no partition or a source comes late."""

    name: str
    height: int
    width: int
    groups: tuple[tuple[int, ...], ...]
    source: tuple[int, ...]
    released: bool = False

    def __post_init__(self) -> None:
        places = [place for group in self.groups for place in group]
        if sorted(places) != list(range(self.tokens)) or not all(self.groups):
            raise ValueError(f"the groups of {self.name!r} are no partition of a {self.height}x{self.width} grid")
        if len(self.source) != self.tokens:
            raise ValueError(f"{self.name!r} names {len(self.source)} sources for {self.tokens} places")
        group_of = self.group_of
        for place, source in enumerate(self.source):
            if source != START and group_of[source] >= group_of[place]:
                raise ValueError(
                    f"{self.name!r}: place {place} takes its input from {source}, which is not decoded yet"
                )

    @property
    def tokens(self) -> int:
        return self.height * self.width

    @property
    def passes(self) -> int:
        return len(self.groups)

    @cached_property
    def group_of(self) -> tuple[int, ...]:
        """group_of[place] = index of its group."""
        table = [0] * self.tokens
        for index, group in enumerate(self.groups):
            for place in group:
                table[place] = index
        return tuple(table)

    @cached_property
    def sequence(self) -> tuple[int, ...]:
        """All places in the order in which they are decoded (and stored in the KV cache)."""
        return tuple(place for group in self.groups for place in group)

    @cached_property
    def tail(self) -> tuple[int, ...]:
        """Places whose token is nobody's input: they are fed with the action, so that nothing goes unseen."""
        used = set(self.source)
        return tuple(place for place in range(self.tokens) if place not in used)


def _by_left_neighbour(height: int, width: int) -> tuple[int, ...]:
    return tuple(START if place % width == 0 else place - 1 for place in range(height * width))


def raster(height: int, width: int) -> DecodeOrder:
    """One token at a time, row by row; each is fed the one before it."""
    groups = tuple((place,) for place in range(height * width))
    return DecodeOrder("raster", height, width, groups, tuple(place - 1 for place in range(height * width)))


def diagonal(height: int, width: int, k: int) -> DecodeOrder:
    """Row r starts once row r-1 has k tokens: W + (H-1)*k passes; each is fed its left neighbour."""
    if k < 1:
        raise ValueError(f"a diagonal order needs k >= 1, got {k}")
    groups: dict[int, list[int]] = {}  # with k > width the rows no longer overlap, and some steps are empty
    for row in range(height):
        for column in range(width):
            groups.setdefault(row * k + column, []).append(row * width + column)
    kept = tuple(tuple(groups[step]) for step in sorted(groups))
    return DecodeOrder(f"diagonal-{k}", height, width, kept, _by_left_neighbour(height, width))


def rows(height: int, width: int) -> DecodeOrder:
    """A row at a time: H passes; each token is fed the one above it."""
    groups = tuple(tuple(range(row * width, (row + 1) * width)) for row in range(height))
    source = tuple(START if place < width else place - width for place in range(height * width))
    return DecodeOrder("rows", height, width, groups, source)


def parse_order(name: str, height: int, width: int) -> DecodeOrder:
    """ "raster", "diagonal-K" or "rows", or a released one -> DecodeOrder for a grid. ValueError for another name."""
    if name.startswith(RELEASED) and name != f"{RELEASED}rows":
        return replace(parse_order(name.removeprefix(RELEASED), height, width), name=name, released=True)
    if name == "raster":
        return raster(height, width)
    if name == "rows":
        return rows(height, width)
    kind, _, number = name.partition("-")
    if kind == "diagonal" and number.isascii() and number.isdigit() and len(number) <= MAX_DIGITS:
        return diagonal(height, width, int(number))
    raise ValueError(f'unknown decode order {name!r}; known are "raster", "rows" and "diagonal-K", e.g. "diagonal-1"')
