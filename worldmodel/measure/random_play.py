"""Random weights and a random context: for measuring speed, which does not depend on their values."""

from __future__ import annotations

import numpy as np
import torch

from worldmodel.config import WorldModelConfig
from worldmodel.engine.decoder import Decoder, FrameDecoder
from worldmodel.engine.host.eager import EagerBackend
from worldmodel.engine.host.native import NativeDecoder
from worldmodel.engine.released import ReleasedDecoder
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.types import NO_ACTION, Tokens

ROLLS = 3  # how often the context has been replaced before a frame is measured


def random_transformer(config: WorldModelConfig, device: torch.device, dtype: torch.dtype) -> VisualActionTransformer:
    """Random weights, allocated once, in place. Seeded."""
    with torch.device("meta"):
        model = VisualActionTransformer(config).to(dtype)
    model = model.to_empty(device=device).eval().requires_grad_(False)
    generator = torch.Generator(device).manual_seed(0)
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            parameter.fill_(1)
        else:
            parameter.normal_(std=0.02, generator=generator)
    return model


def fill_context(decoder: Decoder, rng: np.random.Generator) -> None:
    """Makes the context as full as after ROLLS windows of play, at once: a pass then costs the same. The eager engines
    get random keys and values, the native one random frames, and so do weights in a released order, whose next frame is
    the last of a context. For measuring only."""
    window = decoder.config.transformer.window
    if isinstance(decoder, NativeDecoder | ReleasedDecoder):
        count = window - isinstance(decoder, ReleasedDecoder)
        frames = [random_tokens(decoder, rng) for _ in range(count)]
        decoder.open(frames, [decoder.config.action_tokenizer().encode(NO_ACTION)] * (count - 1))
        return
    assert isinstance(decoder, FrameDecoder), "on a CPU"
    backend = decoder.backend
    assert isinstance(backend, EagerBackend), f"the {backend.name} engine's cache cannot be filled"
    backend.keys.normal_()
    backend.values.normal_()
    decoder.block = ROLLS * window - 1
    decoder.written[: window * decoder.layout.length] = True
    current = decoder.block % window * decoder.layout.length
    decoder.written[current + decoder.layout.image : current + decoder.layout.length] = False
    decoder.frames = [random_tokens(decoder, rng) for _ in range(window)]


def random_tokens(decoder: Decoder, rng: np.random.Generator) -> Tokens:
    image = decoder.config.image_tokenizer
    return rng.integers(0, image.codebook_size, image.tokens_per_frame, dtype=np.int32)
