"""Block layout: where everything of one step (frame and action) lies in the transformer's sequence.

A block is [the frame's places in decode order][tail places][the action's tokens]; blocks follow each other in
time. The last part, "the outro", is what a finished frame adds before the next one starts. Built once from a
DecodeOrder; shared by training, by the full recomputation and by every engine. NumPy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from worldmodel.decode_order import DecodeOrder
from worldmodel.tokenizers.action import TOKENS_PER_ACTION


@dataclass(frozen=True)
class BlockLayout:
    """order: the decode order. Slots are indices in a block, 0..length-1."""

    order: DecodeOrder

    @property
    def image(self) -> int:
        """Image slots (tokens a frame)."""
        return self.order.tokens

    @property
    def outro(self) -> int:
        """Slots after the image: tail places and action tokens."""
        return len(self.order.tail) + TOKENS_PER_ACTION

    @property
    def length(self) -> int:
        return self.image + self.outro

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """(image,) place of each image slot."""
        return np.asarray(self.order.sequence, np.int64)

    @cached_property
    def sources(self) -> NDArray[np.int64]:
        """(image,) source place of each image slot; -1 is the start token."""
        return np.asarray(self.order.source, np.int64)[self.places]

    @cached_property
    def tail(self) -> NDArray[np.int64]:
        """(tail,) places of the tail slots."""
        return np.asarray(self.order.tail, np.int64)

    @cached_property
    def rank(self) -> NDArray[np.int64]:
        """(length,) rank of each slot: a slot sees the slots of its block whose rank is not greater."""
        groups = np.asarray(self.order.group_of, np.int64)[self.places]
        return np.concatenate([groups, np.full(self.outro, self.order.passes)])

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """(length, length) [query, key]: True where a slot may attend within its own block."""
        return self.rank[None, :] <= self.rank[:, None]

    @cached_property
    def group_slots(self) -> tuple[slice, ...]:
        """The image slots of each decode pass."""
        ends = np.cumsum([len(group) for group in self.order.groups])
        return tuple(slice(int(end - len(group)), int(end)) for end, group in zip(ends, self.order.groups, strict=True))

    @cached_property
    def coordinates(self) -> NDArray[np.int64]:
        """(length, 2) row and column of each slot, for rotary positions. Image slots lie where the token that
        they predict lies; action tokens are a row below the picture."""
        width = self.order.width
        places = np.concatenate([self.places, self.tail])
        picture = np.stack([places // width, places % width], -1)
        action = np.stack([np.full(TOKENS_PER_ACTION, self.order.height), np.arange(TOKENS_PER_ACTION)], -1)
        return np.concatenate([picture, action])
