"""The graph that a browser runs, in Python's ONNX Runtime: it computes what the module computes."""

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import TINY_TOKENIZER

from worldmodel.config import ImageTokenizerConfig
from worldmodel.tokenizers.image import ImageTokenizer, to_frames
from worldmodel.web.graph import SETTINGS
from worldmodel.web.image_graph import build_image_decoder


@pytest.mark.parametrize("changes", [{}, {"quantizer": "vq", "vq_codes": 32}, {"detail_levels": (3, 2)}])
def test_pictures_are_those_of_the_image_tokenizer(changes):
    torch.manual_seed(0)
    kept = {name: getattr(TINY_TOKENIZER, name) for name in TINY_TOKENIZER.__dataclass_fields__}
    tokenizer = ImageTokenizer(ImageTokenizerConfig(**{**kept, **changes})).eval().requires_grad_(False)
    for parameter in tokenizer.decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    config = tokenizer.config
    codes = torch.randint(config.codebook_size, (config.tokens_per_frame,))
    options = onnxruntime.SessionOptions()
    for name, value in SETTINGS.items():
        options.add_session_config_entry(name, value)
    graph = build_image_decoder(tokenizer, 32).SerializeToString()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    (made,) = session.run(None, {"tokens": codes.int().numpy()})
    wanted = to_frames(tokenizer.decode(codes[None]))[0].numpy()
    assert wanted.std() > 10
    assert np.abs(np.asarray(made, int) - wanted).max() <= 1
