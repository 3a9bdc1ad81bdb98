"""The image decoder as compiled code (kernels/cpu/pictures.h): what a page runs, and here its twin."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from kernels.native import CompiledPictures, PictureModel, compiled
from worldmodel.engine.host.native import best_path, default_threads
from worldmodel.engine.host.native_model import picture_numbers, picture_weights
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.types import Frame, Tokens


class NativePainter:
    """Makes pictures of tokens. int8: else float32; threads: 0 is as many as fit; weights: in place of the tokenizer's
    (see picture_weights). NativeError if it cannot be compiled, WorldModelError for another kind of tokenizer."""

    def __init__(
        self,
        tokenizer: ImageTokenizer,
        threads: int = 0,
        int8: bool = True,
        path: str = "",
        weights: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        numbers = PictureModel(**picture_numbers(tokenizer), threads=threads or default_threads(), int8=int8)
        arrays = [np.ascontiguousarray(value.numpy()) for value in (weights or picture_weights(tokenizer)).values()]
        self._compiled = CompiledPictures(compiled(path or best_path()), numbers, arrays)

    def __call__(self, tokens: Tokens) -> Frame:
        """A frame's tokens -> uint8 (H, W, 3)."""
        latents = self.tokenizer.quantizer.decode(torch.from_numpy(np.asarray(tokens, np.int64)))
        return self._compiled.decode(np.ascontiguousarray(latents.float().numpy()))
