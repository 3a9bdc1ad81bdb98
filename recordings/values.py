"""The values in a session file's records: MessagePack within limits, checked one by one; arrays and actions in it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

import msgpack
import numpy as np
from numpy.typing import NDArray

from worldmodel.types import BUTTONS, Action, WorldModelError

# Limits on what a file may claim.
MAX_PAYLOAD = 1 << 20
MAX_TOKENS = 1 << 16
MAX_CONTEXT = 1 << 10
MAX_TEXT = 1 << 12
MAX_ITEMS = 1 << 12  # entries of one map or list
MAX_CONTAINERS = 1 << 14  # maps and lists of one record: an empty one is a byte in the file, and 80 in memory

T = TypeVar("T")


class RecordingError(WorldModelError):
    """A session file that cannot be read or written; says what and where."""


def dump(value: Any) -> bytes:
    packed = msgpack.packb(value, use_bin_type=True)
    assert packed is not None, "packb returns bytes"
    return packed


def load(payload: bytes) -> Any:
    left = MAX_CONTAINERS

    def count(container: T) -> T:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"more than {MAX_CONTAINERS} lists and maps")
        return container

    try:
        return msgpack.unpackb(
            payload,
            raw=False,
            strict_map_key=True,
            object_hook=count,
            list_hook=count,
            max_str_len=MAX_TEXT,
            max_bin_len=MAX_PAYLOAD,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
            max_ext_len=0,
        )
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise RecordingError(f"a record is no MessagePack within the limits ({error})") from None


def as_list(value: Any, length: int) -> list[Any]:
    if not isinstance(value, list) or len(value) != length:
        raise RecordingError(f"expected a list of {length}")
    return value


def as_integer(name: str, value: Any, most: int = (1 << 64) - 1, low: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= most:
        raise RecordingError(f"{name} must be an integer in {low}..{most}, got {_shown(value)}")
    return value


def as_number(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e18:
        raise RecordingError(f"{name} must be a number below 1e18, got {_shown(value)}")
    return float(value)


def as_text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise RecordingError(f"{name} must be text, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """A number as it is; of anything else, what it is."""
    return str(value) if isinstance(value, int | float) else f"a {type(value).__name__}"


def pack_action(action: Action) -> list[Any]:
    """[bit i: BUTTONS[i] is held, pitch, yaw]."""
    bits = sum(1 << index for index, name in enumerate(BUTTONS) if name in action.buttons)
    return [bits, action.pitch, action.yaw]


def unpack_action(value: Any) -> Action:
    bits, pitch, yaw = as_list(value, 3)
    held = as_integer("buttons", bits, (1 << len(BUTTONS)) - 1)
    return Action(_buttons(held), as_number("pitch", pitch), as_number("yaw", yaw))


@lru_cache(maxsize=1 << 14)
def _buttons(bits: int) -> frozenset[str]:
    """Shared between steps: a set of names takes a hundred times the bytes that it has in the file."""
    return frozenset({name for index, name in enumerate(BUTTONS) if bits >> index & 1})


def pack_array(array: NDArray[np.integer]) -> list[Any]:
    """[shape, bytes an item (2 or 4), little-endian bytes]; 2 where all values fit."""
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < 1 << 31:
        raise RecordingError(f"tokens must lie in 0..2^31-1, got {array.min()}..{array.max()}")
    size = 2 if not array.size or int(array.max()) < 1 << 16 else 4
    return [list(array.shape), size, array.astype("<u2" if size == 2 else "<u4").tobytes()]


def unpack_array(value: Any, dimensions: int) -> NDArray[np.int32]:
    shape, size, data = as_list(value, 3)
    lengths = [as_integer("an array's length", length, MAX_TOKENS) for length in as_list(shape, dimensions)]
    if dimensions == 2 and lengths[0] > MAX_CONTEXT:
        raise RecordingError(f"a context of {lengths[0]} frames is longer than the format's {MAX_CONTEXT}")
    count = int(np.prod(lengths, dtype=np.int64))
    if size not in (2, 4) or not isinstance(data, bytes) or len(data) != count * size:
        raise RecordingError(f"an array of shape {lengths} does not fit its bytes")
    values = np.frombuffer(data, "<u2" if size == 2 else "<u4")
    if values.size and int(values.max()) >= 1 << 31:
        raise RecordingError("a token is larger than 2^31-1")
    return values.astype(np.int32).reshape(lengths)


def printable(text: str, most: int = MAX_TEXT) -> str:
    """`text` without what a terminal or a font would obey or choke on (control characters, turned direction, half
    characters: each becomes "?"), and of at most `most` characters."""
    shown = text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= most else shown[: most - 3] + "..."
