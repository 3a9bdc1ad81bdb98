"""Sums of weights: their mean, and what one training changed, added to others."""

import pytest
import torch
from conftest import random_steps, tiny_config, tiny_tokenizer, tiny_transformer

from scripts import average_weights
from worldmodel.checkpoint import CheckpointError
from worldmodel.checks import ConfigError
from worldmodel.model.loading import load_starts, load_world_model, save_starts, save_world_model
from worldmodel.types import StartScene


@pytest.fixture
def folders(tmp_path):
    """Three checkpoints of one kind, the first with start scenes."""
    config = tiny_config()
    for seed, name in enumerate("abc"):
        save_world_model(tmp_path / name, config, tiny_tokenizer(), tiny_transformer(config, seed))
    tokens, actions = random_steps(config, 3)
    save_starts(tmp_path / "a", [StartScene(tokens, actions[:2])])
    return [tmp_path / name for name in "abc"]


def weights(folder):
    return load_world_model(folder).transformer.state_dict()


def add_up(folders, out, shares=()):
    average_weights.main(average_weights.Arguments(tuple(map(str, folders)), out, shares))
    return weights(out)


def test_the_mean_lies_in_the_middle_and_can_be_played(folders, tmp_path):
    mean = add_up(folders, tmp_path / "mean")
    parts = [weights(folder) for folder in folders]
    assert mean.keys() == parts[0].keys()
    for name, value in mean.items():
        torch.testing.assert_close(value, torch.stack([part[name] for part in parts]).mean(0))
        assert value.dtype == parts[0][name].dtype
    assert len(load_starts(tmp_path / "mean", tiny_config())) == 1


def test_what_a_training_changed_is_added_to_other_weights(folders, tmp_path):
    a, b, c = (weights(folder) for folder in folders)
    for name, value in add_up(folders, tmp_path / "sum", (1, 1, -1)).items():
        torch.testing.assert_close(value, a[name] + b[name] - c[name])


def test_the_mean_of_one_with_itself_is_that_one(folders, tmp_path):
    same = add_up([folders[0]] * 3, tmp_path / "same")
    assert all(torch.equal(value, same[name]) for name, value in weights(folders[0]).items())


@pytest.mark.parametrize(("shares", "said"), [((1.0,), "for each of the 3"), ((1.0, 1.0, 1.0), "add up to 1, got 1.0")])
def test_shares_that_make_no_mean_are_refused(folders, tmp_path, shares, said):
    with pytest.raises(ConfigError, match=said):
        add_up(folders, tmp_path / "out", shares)
    with pytest.raises(ConfigError, match="names none"):
        add_up([], tmp_path / "out", shares)
    assert not (tmp_path / "out").exists()


def test_weights_of_another_kind_or_of_other_codes_are_refused(folders, tmp_path):
    config, other = tiny_config(), tiny_config("diagonal-2")
    save_world_model(tmp_path / "order", other, tiny_tokenizer(), tiny_transformer(other))
    tokenizer = tiny_tokenizer()
    next(tokenizer.encoder.parameters()).mul_(2)
    save_world_model(tmp_path / "codes", config, tokenizer, tiny_transformer(config))
    for name, said in (("order", "its configuration is not that of"), ("codes", "its encoder is not the one")):
        with pytest.raises(CheckpointError, match=said):
            add_up([folders[0], tmp_path / name], tmp_path / "out")
    assert not (tmp_path / "out").exists()
