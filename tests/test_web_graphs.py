"""The graphs that a browser runs, in Python's ONNX Runtime: they compute what the modules compute."""

import numpy as np
import pytest
import torch
from conftest import TINY_TOKENIZER, random_steps, tiny_config, tiny_transformer, with_detail

from kernels.sampling import GREEDY, Sampler
from worldmodel.config import ImageTokenizerConfig
from worldmodel.engine.decoder import FrameDecoder, InputTables
from worldmodel.engine.host.eager import EagerBackend
from worldmodel.tokenizers.image import ImageTokenizer, to_frames
from worldmodel.web.backend import onnx_decoder, open_session
from worldmodel.web.image_graph import build_image_decoder
from worldmodel.web.pass_graph import with_stored_values


def eager(model):
    return FrameDecoder(model.config, InputTables.of(model), EagerBackend(model))


CONFIGS = {
    "diagonal, gathered frames": tiny_config(offsets=(1, 2, 4)),
    "two codes a token": with_detail(tiny_config(previous_frame=True, action_input=True, place_embedding=True)),
    "raster": tiny_config("raster"),
    "rows": tiny_config("rows", previous_frame=True),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_those_of_the_eager_engine(name):
    """Over more frames than the context holds, guided ones among them."""
    config = CONFIGS[name]
    model = tiny_transformer(config)
    tokens, actions = random_steps(config, 9)
    guided = Sampler(guidance=0.7)
    ours, theirs = onnx_decoder(model), eager(model)
    for decoder in (ours, theirs):
        decoder.open(list(tokens[:3]), list(actions[:2]))
    for step in range(3, 9):
        sampler = guided if step % 2 else GREEDY
        made = [one.decode(actions[step - 1], sampler, 0, step, forced=tokens[step])[1] for one in (ours, theirs)]
        np.testing.assert_allclose(*made, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("bits", [8, 16])
def test_stored_in_fewer_bits_the_tokens_are_those_of_the_same_values_in_python(bits):
    config = CONFIGS["two codes a token"]
    model = tiny_transformer(config)
    tokens, actions = random_steps(config, 33)
    ours, theirs = onnx_decoder(model, bits), eager(with_stored_values(model, bits))
    for decoder in (ours, theirs):
        decoder.open(list(tokens[:3]), list(actions[:2]))
    for step in range(3, 33):
        made = [one.decode(actions[step - 1], GREEDY, 0, step)[0] for one in (ours, theirs)]
        np.testing.assert_array_equal(*made)


@pytest.mark.parametrize("changes", [{}, {"quantizer": "vq", "vq_codes": 32}, {"detail_levels": (3, 2)}])
def test_pictures_are_those_of_the_image_tokenizer(changes):
    torch.manual_seed(0)
    kept = {name: getattr(TINY_TOKENIZER, name) for name in TINY_TOKENIZER.__dataclass_fields__}
    tokenizer = ImageTokenizer(ImageTokenizerConfig(**{**kept, **changes})).eval().requires_grad_(False)
    for parameter in tokenizer.decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    config = tokenizer.config
    codes = torch.randint(config.codebook_size, (config.tokens_per_frame,))
    (made,) = open_session(build_image_decoder(tokenizer, 32)).run(None, {"tokens": codes.int().numpy()})
    wanted = to_frames(tokenizer.decode(codes[None]))[0].numpy()
    assert wanted.std() > 10
    assert np.abs(np.asarray(made, int) - wanted).max() <= 1
