"""The parts in which a token is read and predicted (see ImageTokenizerConfig.parts): it is their mixed-radix number,
the first part the lowest digit. Each has rows of its own in the embedding and in the head, one part after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Numbers = TypeVar("Numbers", Tensor, NDArray[np.int64])


def split(tokens: Numbers, parts: Sequence[int]) -> list[Numbers]:
    """Tokens (...) -> the digits (...) of each part."""
    places = [math.prod(parts[:number]) for number in range(len(parts))]
    return [tokens // place % size for place, size in zip(places, parts, strict=True)]


def rows_of(tokens: Numbers, parts: Sequence[int]) -> list[Numbers]:
    """Tokens (...) -> their rows (...) of each part."""
    return digit_rows(split(tokens, parts), parts)


def digit_rows(digits: Sequence[Numbers], parts: Sequence[int]) -> list[Numbers]:
    """The digits (...) of the parts, from the first on -> their rows."""
    return [digit + sum(parts[:number]) for number, digit in enumerate(digits)]
