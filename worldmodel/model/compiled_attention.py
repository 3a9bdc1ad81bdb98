"""The training mask for the native library's attention over clips (kernels/cpu/clip_attention.h), on processors with
tiles (AMX), where it is several times as fast as the library's products. Twin of WindowAttention: a test compares
them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from kernels.clip_attention import SIZE_STEP, ClipMask, clip_attention
from kernels.native import tile_library

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from worldmodel.model.transformer import VisualActionTransformer

# A compiled layer calls it: it is compiled already.
as_it_is: Callable[..., Tensor] = torch.compiler.disable(clip_attention)  # pyright: ignore[reportAssignmentType]


def compiled_attention_problem(head_size: int) -> str:
    """Why it cannot be had, in half a sentence; "" if it can."""
    if head_size % SIZE_STEP:
        return f"it takes heads of a multiple of {SIZE_STEP}, not of {head_size}"
    return "" if tile_library() is not None else "this processor, or its compiler, has no tiles (AMX)"


class CompiledAttention:
    """An Attention (see transformer.py) over whole clips of `frames` frames, in bf16. kept: bool (length,), the slots
    that later frames see; default: all."""

    def __init__(
        self,
        model: VisualActionTransformer,
        frames: int,
        device: torch.device,
        kept: NDArray[np.bool_] | None = None,
    ) -> None:
        library = tile_library()
        assert library is not None, "compiled_attention_problem says so"
        assert device.type == "cpu", f"compiled for the CPU, not for {device}"
        layout, offsets = model.layout, model.config.transformer.offsets
        whole = np.ones(layout.length, np.bool_) if kept is None else kept
        reached = np.asarray([offset for offset in offsets if offset < frames], np.int32)
        seen, shown = (np.ascontiguousarray(table, np.uint8) for table in (layout.mask, whole))
        self.library, self.mask = library, ClipMask(frames, reached, seen, shown)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return as_it_is(self.library, self.mask, q, k, v)
