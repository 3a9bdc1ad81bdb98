"""Mutations of what a stranger may bring: plain values (JSON, MessagePack) and bytes."""

from __future__ import annotations

import copy
import math
import random
from typing import Any

ODD = (
    None, True, False, 0, 1, -1, 2, 7, 255, 2**15, 2**31, 2**32, 2**53 + 1, 2**63, 2**64 - 1, 0.0, -0.0, 0.5, 1e-300,
    1e17, 1e20, 1e300, 1e308, -1e308, math.nan, math.inf, -math.inf, "", "a", "false", "7", "\0", "\x1b[2J", "\ud800",
    "nano", "../..", "diagonal-1000000000", "diagonal--1", "rows", "x" * 5000, [], {}, [[]], [0], [None], [1, 2],
    [8] * 40, {"": 0}, {"a": {"b": []}}, [[[[[[[[]]]]]]]],
)  # fmt: skip
TEXTS = (
    "[" * 100_000, '{"a":' * 5000, "9" * 5000, "1e999", "NaN", "-Infinity", "\ufeff", "null", '"', "\\u0000", "\x00",
    "\u2028", "{}", "[]", ",", "1.5", "-0", "true", "'", "//",
)  # fmt: skip
FOREIGN = (b"\0", b"\xff", b"\xff\xff\xff\x7f", b"\xef\xbb\xbf", b"\r\n", b"\xdd\xff\xff")


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything inside a plain value."""
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value[:200]))
    else:
        return []
    return [found for key, part in inner for found in ((*path, key), *places(part, (*path, key)))]


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def mutated(value: Any, rng: random.Random) -> Any:
    """A copy with one to four places changed: to something odd, to another place's value, gone, or twice."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 4))):
        found = places(value)
        if not found:
            break
        *outer, key = rng.choice(found)
        holder = at(value, tuple(outer))
        kind = rng.randrange(8)
        if kind < 4:
            holder[key] = copy.deepcopy(rng.choice(ODD))
        elif kind == 4:
            holder[key] = copy.deepcopy(at(value, rng.choice(found)))
        elif kind == 5:
            del holder[key]
        elif kind == 6 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif isinstance(holder[key], bool | int | float):
            holder[key] = holder[key] * rng.choice((-1, 2, 10, 1000)) + rng.choice((-1, 0, 1))
        elif isinstance(holder[key], str | bytes):
            cut = rng.randint(0, len(holder[key]))
            holder[key] = holder[key][:cut] + holder[key][cut + rng.randint(0, 3) :]
    return value


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flipped, cut, doubled or foreign bytes, in one to eight places."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        start = rng.randrange(len(out) + 1)
        end = min(len(out), start + rng.choice((1, 1, 2, 4, 64)))
        kind = rng.randrange(6)
        if kind == 0:
            out[start:end] = rng.randbytes(end - start)
        elif kind == 1:
            out[start:end] = bytes((byte ^ (1 << rng.randrange(8))) for byte in out[start:end])
        elif kind == 2:
            del out[start:end]
        elif kind == 3:
            out[start:start] = out[start:end]
        elif kind == 4:
            del out[start:]
        else:
            out[start:start] = rng.choice(
                (b"\0", b"\xff", b"\xff\xff\xff\x7f", b"\xef\xbb\xbf", b"\r\n", b"\xdd\xff\xff")
            )
    return bytes(out)


def mutated_text(text: str, rng: random.Random) -> bytes:
    """The bytes of a text file with something foreign in it, or in another encoding."""
    for _ in range(rng.choice((0, 1, 1, 3))):
        start = rng.randint(0, len(text))
        text = text[:start] + rng.choice(TEXTS) + text[start + rng.choice((0, 0, 1, 5)) :]
    encoding = rng.choice(("utf-8",) * 12 + ("utf-8-sig", "utf-16", "utf-32", "latin-1"))
    data = text.encode(encoding, errors="replace" if encoding == "latin-1" else "surrogatepass")
    return mutated_bytes(data, rng) if rng.random() < 0.3 else data
