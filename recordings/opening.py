"""What a session starts from: how its tokens are drawn, and its first context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recordings.values import RecordingError, as_integer, as_list, as_number, pack_array, unpack_array

MAX_SETTINGS = 8  # of a sampler


@dataclass(frozen=True, slots=True)
class SamplerSettings:
    """As kernels.sampling.Sampler. former: what the file says of guidance by rules that no sampler has any more (see
    FORMAT.md): such tokens can be shown, but not made again; guidance is then that of most frames."""

    temperature: float
    top_k: int
    top_p: float
    guidance: float = 0.0
    former: tuple[float | None, ...] = ()

    def pack(self) -> list[Any]:
        # What older readers know comes nearest to one guidance: that of the mouse buttons and that of the rest alike.
        guided = [self.guidance, None, self.guidance] if self.guidance else []
        return [self.temperature, self.top_k, self.top_p, *(self.former or guided)]

    @staticmethod
    def unpack(value: Any) -> SamplerSettings:
        length = len(value) if isinstance(value, list) and 3 < len(value) <= MAX_SETTINGS else 3
        temperature, top_k, top_p, *others = as_list(value, length)
        rest = tuple(None if number is None else as_number("guidance", number) for number in others)
        guidance = (rest[2] or 0.0) if len(rest) > 2 else 0.0
        return SamplerSettings(
            as_number("temperature", temperature),
            as_integer("top_k", top_k),
            as_number("top_p", top_p),
            guidance,
            () if rest in ((), (guidance, None, guidance)) else rest,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Opening:
    """The context that play started from. tokens: int32 (n, places); actions: int32 (n - 1, tokens an action)."""

    tokens: NDArray[np.int32]
    actions: NDArray[np.int32]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Opening):
            return NotImplemented
        return np.array_equal(self.tokens, other.tokens) and np.array_equal(self.actions, other.actions)

    def pack(self) -> list[Any]:
        return [pack_array(self.tokens), pack_array(self.actions)]

    @staticmethod
    def unpack(value: Any) -> Opening:
        tokens, actions = as_list(value, 2)
        opening = Opening(unpack_array(tokens, 2), unpack_array(actions, 2))
        if len(opening.tokens) < 1 or len(opening.actions) != len(opening.tokens) - 1:
            raise RecordingError(
                f"an opening of n frames has n - 1 actions, got {len(opening.tokens)} and {len(opening.actions)}"
            )
        return opening
