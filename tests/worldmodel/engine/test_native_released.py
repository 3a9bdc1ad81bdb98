"""Weights in a released order on the native engine: what the eager twin computes, through several contexts."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import random_steps, tiny_tokenizer, tiny_transformer
from released import released_config

from kernels.native_build import COMPILERS, own_paths
from kernels.sampling import GREEDY, Sampler
from worldmodel.engine import choice
from worldmodel.engine.host.eager_sequences import EagerSequences
from worldmodel.engine.host.native_sequences import NativeSequences
from worldmodel.engine.released import ReleasedDecoder
from worldmodel.measure.random_play import fill_context
from worldmodel.model.loading import WorldModel
from worldmodel.settings import EngineOptions
from worldmodel.types import WorldModelError

pytestmark = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="needs a C++ compiler")
PATHS = own_paths()
WINDOW = 4  # frames of a context: those that a test makes are at least of three of them
STEPS = 13
CONFIGS = {
    "raster": released_config("released-raster"),
    "diagonal": released_config("released-diagonal-1"),
    "repeated": released_config("released-diagonal-1", keep=1, stand_in="last-input"),
    "far apart": released_config("released-diagonal-7", keep=1),
    "odd": released_config("released-diagonal-2", stand_in="last-input"),
}
ODD = {"hidden": 36, "mlp": 50, "heads": 6, "kv_heads": 2, "head_dim": 10}
CONFIGS["odd"] = replace(CONFIGS["odd"], transformer=replace(CONFIGS["odd"].transformer, **ODD))


def native_of(model, **options):
    return ReleasedDecoder(model.config, NativeSequences(model, **options))


def eager_of(model):
    return ReleasedDecoder(model.config, EagerSequences(model))


def forced_logits(decoder, tokens, actions, context=2):
    decoder.open(list(tokens[:context]), list(actions[: context - 1]))
    steps = range(context, len(tokens))
    return np.stack([decoder.decode(actions[i - 1], GREEDY, 0, i, forced=tokens[i])[1] for i in steps])


def drawn(decoder, tokens, actions, sampler):
    decoder.open(list(tokens[:2]), list(actions[:1]))
    return np.stack([decoder.decode(action, sampler, -3, 2**40 + i)[0] for i, action in enumerate(actions)])


@pytest.mark.parametrize("name", CONFIGS)
def test_float32_gives_the_eager_twins_logits_through_three_contexts(name):
    model = tiny_transformer(CONFIGS[name])
    tokens, actions = random_steps(model.config, STEPS)
    decoder, plain = native_of(model, threads=1, int8=False), eager_of(model)
    expected = forced_logits(plain, tokens, actions)
    assert abs(forced_logits(decoder, tokens, actions) - expected).max() < 1e-4
    assert decoder.filled == plain.filled
    changed = tokens.copy()
    changed[-2, 0] = (changed[-2, 0] + 1) % model.codes
    assert abs(forced_logits(decoder, changed, actions) - expected)[-1].max() > 1e-3  # the test can fail


@pytest.mark.parametrize("sampler", [GREEDY, Sampler(temperature=0.8, top_p=0.9), Sampler(top_k=3)])
@pytest.mark.parametrize("name", CONFIGS)
def test_float32_draws_the_eager_twins_tokens(name, sampler):
    model = tiny_transformer(CONFIGS[name])
    tokens, actions = random_steps(model.config, STEPS)
    made = drawn(native_of(model, threads=1, int8=False), tokens, actions, sampler)
    assert (made == drawn(eager_of(model), tokens, actions, sampler)).all()


@pytest.mark.parametrize("int8", [True, False])
@pytest.mark.parametrize("name", ["raster", "repeated", "odd"])
def test_every_path_and_any_number_of_threads_give_the_same_bits(name, int8):
    model = tiny_transformer(CONFIGS[name])
    tokens, actions = random_steps(model.config, STEPS)
    results = []
    for path, threads in [*((path, 1) for path in PATHS), (PATHS[0], 2), (PATHS[0], 3)]:
        decoder = native_of(model, threads=threads, int8=int8, path=path)
        logits = forced_logits(decoder, tokens, actions)
        results.append((logits, drawn(decoder, tokens, actions, Sampler(0.9))))
    for logits, made in results[1:]:
        assert logits.tobytes() == results[0][0].tobytes()
        assert (made == results[0][1]).all()


def test_int8_is_near_to_float32():
    config = CONFIGS["diagonal"]
    model = tiny_transformer(replace(config, transformer=replace(config.transformer, hidden=128, mlp=256, head_dim=64)))
    tokens, actions = random_steps(model.config, STEPS)
    near = forced_logits(native_of(model, threads=1), tokens, actions)
    exact = forced_logits(eager_of(model), tokens, actions)
    error = np.sqrt(np.mean((near - exact) ** 2)) / exact.std()
    assert 1e-4 < error < 0.03  # it is rounded, and not by much


def test_a_context_that_is_opened_again_is_the_same():
    """Nothing is left of what the caches held before."""
    model = tiny_transformer(CONFIGS["diagonal"])
    tokens, actions = random_steps(model.config, STEPS)
    for int8 in (True, False):
        decoder = native_of(model, threads=1, int8=int8)
        first = forced_logits(decoder, tokens, actions)
        assert forced_logits(decoder, tokens, actions).tobytes() == first.tobytes()


def test_tokens_that_are_none_are_refused_before_they_are_looked_up():
    model = tiny_transformer(CONFIGS["diagonal"])
    decoder = native_of(model, threads=1)
    tokens, _ = random_steps(model.config, 2)
    for token in (-1, len(model.embed_tokens.weight)):
        with pytest.raises(AssertionError, match="tokens"):
            decoder.open([np.full_like(tokens[0], token)], [])


def test_a_full_context_is_measured():
    for decoder in (
        native_of(tiny_transformer(CONFIGS["diagonal"]), threads=1),
        eager_of(tiny_transformer(CONFIGS["diagonal"])),
    ):
        fill_context(decoder, np.random.default_rng(0))
        assert decoder.filled == WINDOW - 1  # the next frame is its last


@pytest.fixture
def world():
    """Its image tokenizer has as many codes and places as its transformer."""
    config = CONFIGS["diagonal"]
    tokenizer = tiny_tokenizer(quantizer="vq", vq_codes=config.image_tokenizer.codebook_size, vq_dim=4)
    return WorldModel(config, tokenizer, tiny_transformer(config))


def test_players_share_the_weights_and_nothing_else(world):
    tokens, actions = random_steps(world.config, STEPS)
    options = EngineOptions(device="cpu", threads=1)
    alone = [
        drawn(choice.build_engine(world, torch.device("cpu"), options).decoder, tokens[i:], actions, GREEDY)
        for i in (0, 3)
    ]
    first, second = (engine.decoder for engine in choice.build_lanes(world, torch.device("cpu"), options, 2))
    assert choice.build_lanes(world, torch.device("cpu"), options, 2)[0].name == "native"
    first.open(list(tokens[:2]), list(actions[:1]))
    second.open(list(tokens[3:5]), list(actions[:1]))
    for index, action in enumerate(actions):
        for decoder, expected in ((first, alone[0]), (second, alone[1])):
            assert (decoder.decode(action, GREEDY, -3, 2**40 + index)[0] == expected[index]).all()


def test_without_the_native_engine_the_eager_one_plays_and_one_sentence_says_why(world, monkeypatch):
    monkeypatch.setattr(choice, "native_problem", lambda *given: "there is none")
    engine = choice.build_engine(world, torch.device("cpu"), EngineOptions(device="cpu", threads=1))
    assert engine.name == "eager"
    assert engine.notices == ("the native engine cannot be had: there is none; eager plays",)
    with pytest.raises(WorldModelError, match=r"cannot be had: there is none; use --engine eager$"):
        choice.build_engine(world, torch.device("cpu"), EngineOptions("native"))
