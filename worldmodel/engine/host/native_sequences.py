"""The sequences of a released order in compiled code (kernels/cpu/sequences.h): a pass is one call of it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.native import CompiledSequences, Model, Reading, Sampling, compiled, pointer
from kernels.sampling import Sampler
from worldmodel.engine.decoder import Array
from worldmodel.engine.host.native import best_path, default_threads, sampling_of
from worldmodel.engine.host.native_model import float_tables, float_weights, layout_tables, model_numbers
from worldmodel.engine.released import Rows, block_tokens, sequence_entries
from worldmodel.model.released import angles
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.types import Tokens


class NativeSequences:
    """Sequences (engine/released.py), two a player, of one copy of the weights. int8, threads, path and NativeError as
    NativeLanes has them."""

    def __init__(
        self,
        model: VisualActionTransformer,
        players: int = 1,
        threads: int = 0,
        int8: bool = True,
        path: str = "",
    ) -> None:
        config, self._inputs = model.config, len(model.embed_tokens.weight)
        self._block, self._entries = block_tokens(config), sequence_entries(config)
        self._codes = len(model.lm_head.weight)
        self._cosine, self._sine = (
            np.ascontiguousarray(table.numpy()) for table in angles(config, self._entries, torch.device("cpu"))
        )
        held = {"length": self._block, "players": 2 * players, "threads": threads or default_threads(), "int8": int8}
        numbers = Model(**(model_numbers(model) | held))
        tables = {**float_tables(model), **layout_tables(model)}
        self._compiled = CompiledSequences(compiled(path or best_path()), numbers, tables, float_weights(model))

    def clear(self, cache: int) -> None:
        self._compiled.clear(cache)

    def read(self, rows: Rows, ahead: bool = False) -> None:
        """As Sequences.read; ahead or not, all threads work on it."""
        self._run(rows, 0, Sampling(), None, None, None)

    def wait(self) -> None:
        pass

    def draw(self, rows: Rows, places: NDArray[np.int64], sampler: Sampler, seed: int, frame: int) -> Tokens:
        made = np.zeros(len(places), np.int32)
        where = np.ascontiguousarray(places, np.int32)
        self._run(rows, len(places), sampling_of(sampler, seed, frame), where, made, None)
        return made

    def score(self, rows: Rows, count: int) -> Array:
        scores = np.empty((count, self._codes), np.float32)
        self._run(rows, count, Sampling(), None, None, scores)
        return scores

    def _run(
        self,
        rows: Rows,
        drawn: int,
        sampling: Sampling,
        places: NDArray[np.int32] | None,
        made: NDArray[np.int32] | None,
        scores: Array | None,
    ) -> None:
        """What is no token, or lies elsewhere, would be read from beyond a table's end."""
        tokens, positions = (np.ascontiguousarray(given, np.int32) for given in (rows.tokens, rows.positions))
        assert 0 <= tokens.min() <= tokens.max() < self._inputs, "tokens"
        assert 0 <= positions[0] <= positions[-1] < self._entries, "positions in the sequence"
        assert (np.diff(positions) > 0).all(), "ascending positions"
        assert drawn <= len(tokens) == len(positions) <= self._block, "rows of a pass"
        self._compiled.read(
            Reading(
                cache=rows.cache,
                rows=len(tokens),
                drawn=drawn,
                tokens=pointer(tokens),
                positions=pointer(positions),
                cosine=pointer(self._cosine),
                sine=pointer(self._sine),
                sampling=sampling,
                places=pointer(places),
                made=pointer(made),
                scores=pointer(scores),
            )
        )
