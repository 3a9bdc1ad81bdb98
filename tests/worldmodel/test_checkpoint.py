"""Checkpoints: round trips, and every broken folder is one clear error."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, random_steps, tiny_config, tiny_transformer

from worldmodel.checkpoint import CheckpointError, weights_hash
from worldmodel.config import PRESETS, TransformerConfig
from worldmodel.model.loading import (
    load_config,
    load_starts,
    load_tokenizer,
    load_world_model,
    save_starts,
    save_world_model,
)
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.types import StartScene


@pytest.fixture
def folder(tmp_path):
    config = tiny_config("diagonal-2")
    save_world_model(tmp_path, config, ImageTokenizer(config.image_tokenizer), tiny_transformer(config))
    return tmp_path


def edit(folder, change):
    path = folder / "config.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_round_trip(folder):
    loaded = load_world_model(folder)
    assert loaded.config == tiny_config("diagonal-2")
    tokens, actions = (torch.from_numpy(a)[None].long() for a in random_steps(loaded.config, 3))
    assert torch.equal(loaded.transformer(tokens, actions), tiny_transformer(loaded.config)(tokens, actions))
    before = weights_hash(folder)
    save_world_model(folder, loaded.config, loaded.tokenizer, loaded.transformer)
    assert weights_hash(folder) == before


def test_half_precision_storage(folder):
    loaded = load_world_model(folder)
    size = (folder / "model.safetensors").stat().st_size
    save_world_model(folder, loaded.config, loaded.tokenizer, loaded.transformer, torch.float16)
    assert (folder / "model.safetensors").stat().st_size < 0.6 * size
    assert load_world_model(folder).transformer.start.dtype == torch.float32


def test_start_scenes(folder):
    config = load_config(folder)
    assert load_starts(folder, config) == []
    tokens, actions = random_steps(config, 4)
    save_starts(folder, [StartScene(tokens, actions[:3])] * 2)
    scenes = load_starts(folder, config)
    assert len(scenes) == 2
    assert (scenes[1].tokens == tokens).all()
    save_starts(folder, [StartScene(tokens + 1000, actions[:3])])
    with pytest.raises(CheckpointError, match="do not fit"):
        load_starts(folder, config)
    (folder / "starts.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(CheckpointError, match="not a start-scene file"):
        load_starts(folder, config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format=99), "format 99, this version reads format 1"),
        (lambda c: c["model"].update(dream=1), "unknown WorldModelConfig fields"),
        (lambda c: c["model"]["transformer"].update(kv_heads=3), "multiple of kv_heads"),
        (lambda c: c["model"]["transformer"].update(hidden=64), "its configuration says"),
        (lambda c: c["model"]["transformer"].update(layers=4), "do not fit its configuration"),
        (lambda c: c.pop("model"), "no image tokenizer|image tokenizer alone"),
        (lambda c: c["model"].update(order="spiral"), "unknown decode order"),
    ],
)
def test_configurations_that_do_not_fit(folder, change, message):
    edit(folder, change)
    with pytest.raises((CheckpointError, ValueError), match=message):
        load_world_model(folder)


def test_broken_weights(folder, tmp_path):
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", np.random.default_rng(0).bytes(500)):
        weights.write_bytes(broken)
        with pytest.raises(CheckpointError, match="not a whole safetensors file"):
            load_tokenizer(folder)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        load_tokenizer(folder)
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        load_tokenizer(tmp_path / "nowhere")


def test_presets_are_the_papers_sizes():
    assert PRESETS["mineworld-300m"].transformer.layers == 20
    for preset in PRESETS.values():
        assert preset.transformer.head_dim == 64
    image = PRESETS["mineworld-1200m"].image_tokenizer
    assert (image.grid_height, image.grid_width, image.codebook_size) == (14, 24, 8192)
    with pytest.raises(ValueError, match="thetas"):
        TransformerConfig(rotary="sequence")


def test_a_world_is_measured_without_the_compiler_of_pytorch(tmp_path):
    """Which takes a second to load, in every start of the game."""
    asks = """
import sys
from worldmodel.config import PRESETS
from worldmodel.engine.memory import count_parameters, count_tokenizer
assert count_parameters(PRESETS["nano"]) > count_tokenizer(PRESETS["nano"]) > 0
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", asks], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stdout + done.stderr
