"""Calls the decoder of cpu/ as native_build.py compiled it. Knows arrays, not worlds."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.native_build import TILES, NativeError, build, registers_problem


def _pointer(kind: type) -> Any:
    return ctypes.POINTER(kind)


_INT, _FLOAT = ctypes.c_int32, ctypes.c_float
SPAN = 64  # inputs of a matrix that share a scale (cpu/arithmetic.h)


class Model(ctypes.Structure):
    """As in cpu/model.h."""

    _fields_ = (
        *((name, _INT) for name in ("hidden", "mlp", "layers", "heads", "kv_heads", "head_dim")),
        *((name, _INT) for name in ("image", "length", "tail", "window", "passes", "offsets")),
        *((name, _INT) for name in ("parts", "inputs", "lanes", "players", "threads", "int8")),
        ("epsilon", _FLOAT),
        *((name, _pointer(_FLOAT)) for name in ("embedding", "start", "place", "no_previous", "previous", "action")),
        ("chain", _pointer(_FLOAT)),
        *((name, _pointer(_INT)) for name in ("sources", "places", "tail_places", "ends", "offset", "sizes")),
        ("weights", _pointer(_pointer(_FLOAT))),
    )


class Sampling(ctypes.Structure):
    """As in cpu/sampling.h."""

    _fields_ = (
        ("greedy", _INT),
        ("top_k", _INT),
        ("sharpness", _FLOAT),
        ("guidance", _FLOAT),
        ("top_p", ctypes.c_double),
        ("seed", ctypes.c_uint64),
        ("frame", ctypes.c_uint64),
    )


class Frame(ctypes.Structure):
    """As in cpu/model.h."""

    _fields_ = (
        ("block", ctypes.c_int64),
        ("previous", _pointer(_INT)),
        ("actions", _pointer(_INT)),
        ("lanes", _INT),
        ("player", _INT),
        *((name, _pointer(_FLOAT)) for name in ("cosine", "sine", "outro_cosine", "outro_sine")),
        ("sampling", Sampling),
        ("forced", _pointer(_INT)),
        ("tokens", _pointer(_INT)),
        ("scores", _pointer(_FLOAT)),
    )


class Reading(ctypes.Structure):
    """As in cpu/sequences.h."""

    _fields_ = (
        *((name, _INT) for name in ("cache", "rows", "drawn")),
        *((name, _pointer(_INT)) for name in ("tokens", "positions")),
        *((name, _pointer(_FLOAT)) for name in ("cosine", "sine")),
        ("sampling", Sampling),
        *((name, _pointer(_INT)) for name in ("places", "made")),
        ("scores", _pointer(_FLOAT)),
    )


class PictureModel(ctypes.Structure):
    """As in cpu/model.h."""

    _fields_ = (
        *((name, _INT) for name in ("height", "width", "latent", "deep", "wide", "lower", "upper")),
        *((name, _INT) for name in ("groups", "threads", "int8")),
        ("epsilon", _FLOAT),
        ("weights", _pointer(_pointer(_FLOAT))),
    )


def pointer(array: NDArray[np.float32] | NDArray[np.int32] | None) -> Any:
    """The address of an array that the caller keeps alive; None for none."""
    if array is None:
        return None
    assert array.flags.c_contiguous, "an array as C has it"
    assert array.dtype in (np.float32, np.int32), f"float32 or int32, not {array.dtype}"
    return array.ctypes.data_as(_pointer(_FLOAT if array.dtype == np.float32 else _INT))


@cache
def compiled(path: str) -> ctypes.CDLL:
    """The library of one of native_build's paths, compiled if need be. NativeError if it cannot be had."""
    if problem := registers_problem(path):
        raise NativeError(f"{path} cannot run here: {problem}")
    return load(build(path))


@cache
def tile_library() -> ctypes.CDLL | None:
    """The library of the path whose bf16 products are by tiles; None where it cannot be had."""
    try:
        return compiled(TILES)
    except NativeError:
        return None


def load(library: Path) -> ctypes.CDLL:
    """NativeError if it does not load."""
    try:
        loaded = ctypes.CDLL(str(library))
    except OSError as error:
        raise NativeError(f"{library} does not load ({error})") from None
    loaded.worldmodel_decoder.argtypes, loaded.worldmodel_decoder.restype = [_pointer(Model)], ctypes.c_void_p
    loaded.worldmodel_decode.argtypes = [ctypes.c_void_p, _pointer(Frame), _INT]
    loaded.worldmodel_decode.restype = None
    loaded.worldmodel_sequences.argtypes, loaded.worldmodel_sequences.restype = [_pointer(Model)], ctypes.c_void_p
    loaded.worldmodel_read.argtypes, loaded.worldmodel_read.restype = [ctypes.c_void_p, _pointer(Reading)], None
    loaded.worldmodel_clear.argtypes, loaded.worldmodel_clear.restype = [ctypes.c_void_p, _INT], None
    loaded.worldmodel_pictures.argtypes, loaded.worldmodel_pictures.restype = [_pointer(PictureModel)], ctypes.c_void_p
    loaded.worldmodel_picture.argtypes = [ctypes.c_void_p, _pointer(_FLOAT), _pointer(ctypes.c_uint8)]
    loaded.worldmodel_picture.restype = None
    loaded.worldmodel_int8_operations.argtypes = [_INT]
    loaded.worldmodel_int8_operations.restype = ctypes.c_int64
    loaded.worldmodel_close.argtypes, loaded.worldmodel_close.restype = [ctypes.c_void_p], None
    loaded.worldmodel_clip_attention.argtypes, loaded.worldmodel_clip_attention.restype = [ctypes.c_void_p], None
    return loaded


def int8_operations(path: str, threads: int, rounds: int) -> int:
    """Has threads make products of int8 and nothing else, so many rounds each (kernels/cpu/peak.h), without the
    interpreter's lock. -> operations of all of them."""
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(compiled(path).worldmodel_int8_operations, [rounds] * threads))


def _addresses(weights: Sequence[NDArray[np.float32]]) -> Any:
    return (_pointer(_FLOAT) * len(weights))(*(pointer(matrix) for matrix in weights))


def _kept(owner: object, library: ctypes.CDLL, handle: int | None) -> ctypes.c_void_p:
    """A handle that is closed with its owner."""
    if not handle:
        raise MemoryError("there is no memory, or no thread, for the native decoder")
    kept = ctypes.c_void_p(handle)
    weakref.finalize(owner, library.worldmodel_close, kept)
    return kept


class _CompiledModel:
    """A model of a loaded library, with its weights and its cache. Not for two threads at once.

    model: its numbers; tables: its fields that are arrays; weights: float32 matrices in the order of cpu/model.h. All
    are copied. MemoryError if there is no room.
    """

    maker: str

    def __init__(
        self,
        library: ctypes.CDLL,
        model: Model,
        tables: Mapping[str, NDArray[np.float32] | NDArray[np.int32] | None],
        weights: Sequence[NDArray[np.float32]],
    ) -> None:
        self._library = library
        for name, table in tables.items():
            setattr(model, name, pointer(table))
        model.weights = _addresses(weights)
        self._handle = _kept(self, library, getattr(library, self.maker)(ctypes.byref(model)))


class CompiledDecoder(_CompiledModel):
    """One that makes whole frames."""

    maker = "worldmodel_decoder"

    def decode(self, frames: Sequence[Frame]) -> None:
        """Frames of different players, without the interpreter's lock."""
        assert len({frame.player for frame in frames}) == len(frames), "one frame a player"
        self._library.worldmodel_decode(self._handle, (Frame * len(frames))(*frames), len(frames))


class CompiledSequences(_CompiledModel):
    """One that reads rows of a sequence. See cpu/sequences.h for what the model's numbers are then."""

    maker = "worldmodel_sequences"

    def read(self, reading: Reading) -> None:
        """At most `length` rows, without the interpreter's lock."""
        self._library.worldmodel_read(self._handle, ctypes.byref(reading))

    def clear(self, cache: int) -> None:
        self._library.worldmodel_clear(self._handle, cache)


class CompiledPictures:
    """An image decoder of a loaded library. Not for two threads at once.

    model: its numbers; weights: float32 arrays in the order of cpu/model.h. All are copied. MemoryError if there is no
    room.
    """

    def __init__(self, library: ctypes.CDLL, model: PictureModel, weights: Sequence[NDArray[np.float32]]) -> None:
        self._library, self._size = library, (16 * model.height, 16 * model.width)
        self._latents = (model.height * model.width, model.latent)
        model.weights = _addresses(weights)
        self._handle = _kept(self, library, library.worldmodel_pictures(ctypes.byref(model)))

    def decode(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(places, channels) -> (H, W, 3), without the interpreter's lock."""
        assert latents.shape == self._latents, "a frame's latents"
        rgba = np.empty((*self._size, 4), np.uint8)
        self._library.worldmodel_picture(self._handle, pointer(latents), rgba.ctypes.data_as(_pointer(ctypes.c_uint8)))
        return rgba[..., :3]
