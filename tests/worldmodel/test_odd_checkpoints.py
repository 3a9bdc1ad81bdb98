"""Checkpoints that a stranger brings: each is used, or refused in one sentence before memory is taken."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from worldmodel.checkpoint import CheckpointError
from worldmodel.engine.memory import group_free
from worldmodel.model.loading import load_config, load_world_model


@pytest.fixture
def folder(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder, tmp_path / "world")


def change(folder, path: str, value: object) -> None:
    """Sets one entry of config.json; path: keys with dots between them."""
    file = folder / "config.json"
    config = json.loads(file.read_text())
    *outer, name = path.split(".")
    place = config
    for key in outer:
        place = place[key]
    place[name] = value
    file.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("model.order", "spiral", "'spiral'"),
        ("model.order", "diagonal-1000000000", "diagonal-1000000000"),
        ("model.order", 3, "order"),
        ("model.transformer.hidden", "big", "hidden must be a whole number"),
        ("model.transformer.hidden", True, "hidden must be a whole number"),
        ("model.transformer.layers", -1, r"layers must lie in 1\.\."),
        ("model.transformer.layers", 10**30, "layers"),
        ("model.transformer.offsets", [2, 1], "offsets must be 1 and then ascending"),
        ("model.transformer.offsets", [], "offsets must be 1 and then ascending"),
        ("model.transformer.offsets", [1, 2000], "offsets must lie in 1"),
        ("model.transformer.norm_eps", "small", "norm_eps must be a finite number"),
        ("model.transformer.previous_frame", "false", "previous_frame must be true or false"),
        ("model.tick_rate", 0, "tick_rate"),
        ("model.tick_rate", [1], "tick_rate"),
        ("model.image_tokenizer.height", 1_600_000, "height"),
        ("model.image_tokenizer.levels", [1], "levels"),
        ("model.image_tokenizer.levels", [8] * 30, "levels|codes"),
        ("model.image_tokenizer", None, "ImageTokenizerConfig"),
        ("model.nonsense", 1, "unknown WorldModelConfig fields"),
    ],
)
def test_an_odd_field_is_named(folder, path, value, said):
    change(folder, path, value)
    with pytest.raises(CheckpointError, match=said) as refused:
        load_config(folder)
    assert "\n" not in str(refused.value)


def test_a_window_of_an_older_version_is_the_last_frames(folder):
    change(folder, "model.transformer.offsets", [1, 2])
    new = load_config(folder)
    file = folder / "config.json"
    config = json.loads(file.read_text())
    del config["model"]["transformer"]["offsets"]
    config["model"]["transformer"]["window"] = 3
    file.write_text(json.dumps(config))
    assert load_config(folder) == new


def test_weights_that_were_altered_or_are_not_numbers_are_refused_and_older_ones_are_read(folder):
    file = folder / "model.safetensors"
    load_world_model(folder)
    whole = file.read_bytes()
    file.write_bytes(whole[:-2] + bytes((whole[-2] ^ 1, whole[-1])))
    with pytest.raises(CheckpointError, match="altered since it was written"):
        load_world_model(folder)
    file.write_bytes(whole)
    tensors = load_file(file)
    save_file(tensors, file)  # as an older version wrote it, without checksums
    load_world_model(folder)
    name = next(name for name in tensors if name.startswith("transformer.layers"))
    tensors[name].flatten()[3] = torch.nan
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=f"{name} holds numbers that are not finite"):
        load_world_model(folder)
    tensors[name] = tensors[name][:1].clone()
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=f"{name} has shape"):
        load_world_model(folder)


def test_a_container_has_the_memory_that_its_group_leaves_it(tmp_path):
    groups, own = tmp_path / "cgroup", tmp_path / "own"
    inner = groups / "outer/inner"
    inner.mkdir(parents=True)
    own.write_text("0::/outer/inner\n")
    assert group_free(groups, own) is None
    for folder, limit, used in ((inner, "max", "10"), (inner.parent, "1000", "400")):
        (folder / "memory.max").write_text(limit)
        (folder / "memory.current").write_text(used)
    (inner.parent / "memory.stat").write_text("anon 300\ninactive_file 50\n")
    assert group_free(groups, own) == 650
