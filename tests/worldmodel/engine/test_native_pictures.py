"""The compiled image decoder: it makes the pictures of the modules."""

import numpy as np
import pytest
import torch
from conftest import tiny_tokenizer

from kernels.native_build import own_paths
from worldmodel.config import ImageTokenizerConfig
from worldmodel.engine.host.native_model import picture_numbers
from worldmodel.engine.host.native_pictures import NativePainter
from worldmodel.tokenizers.image import ImageTokenizer, to_frames
from worldmodel.types import WorldModelError

KINDS = {
    "fsq": {},
    "vq": {"quantizer": "vq", "vq_codes": 32},
    "signs": {"quantizer": "binary", "bits": 5},
    "two codes": {"detail_levels": (3, 2)},
    "odd channels": {"decoder_channels": (40, 24), "decoder_blocks": (2, 3), "height": 32, "width": 112},
}


def random_tokens(tokenizer, count=3):
    config = tokenizer.config
    return np.random.default_rng(1).integers(config.codebook_size, size=(count, config.tokens_per_frame))


def in_torch(tokenizer, tokens):
    return to_frames(tokenizer.decode(torch.from_numpy(tokens)[None]))[0].numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_in_float32_pictures_are_those_of_the_image_tokenizer(kind):
    tokenizer = tiny_tokenizer(**KINDS[kind])
    painter = NativePainter(tokenizer, 1, int8=False)
    for tokens in random_tokens(tokenizer):
        wanted = in_torch(tokenizer, tokens)
        assert wanted.std() > 10
        assert np.abs(painter(tokens).astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_in_int8_they_are_nearly(kind):
    tokenizer = tiny_tokenizer(**KINDS[kind])
    painter = NativePainter(tokenizer, 1)
    for tokens in random_tokens(tokenizer):
        error = painter(tokens).astype(float) - in_torch(tokenizer, tokens)
        assert np.sqrt((error**2).mean()) < 2.0


@pytest.mark.parametrize("int8", [True, False])
def test_every_path_and_number_of_threads_makes_the_same_bytes(int8):
    tokenizer = tiny_tokenizer(**KINDS["odd channels"])
    (tokens,) = random_tokens(tokenizer, 1)
    made = {
        (path, threads): NativePainter(tokenizer, threads, int8, path)(tokens).tobytes()
        for path in own_paths()
        for threads in (1, 3)
    }
    assert len(set(made.values())) == 1


def test_another_kind_of_decoder_is_refused():
    config = ImageTokenizerConfig(height=64, width=64, pyramid=(32,) * 5)
    with pytest.raises(WorldModelError, match="a pyramid"):
        picture_numbers(ImageTokenizer(config))
