"""The inverse dynamics model: it learns, keeps nothing between clips, saves and loads, resumes, refuses bad input."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY_TOKENIZER

from worldmodel.checkpoint import CheckpointError, config_to_dict, write_checkpoint
from worldmodel.data.clips import ClipError
from worldmodel.data.frames import StoredClip
from worldmodel.evaluation.following.scores import score
from worldmodel.readers.idm import IDMConfig, InverseDynamicsModel, load_idm, read_actions, save_idm
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.training.idm import IDMTraining, count_read, played, train_idm
from worldmodel.types import BUTTONS, WorldModelError

SMALL = IDMConfig(height=48, width=80, around=1, channels=(8, 16, 16), pair=32, features=32)
OPTIONS = IDMTraining(
    steps=60, batch=4, clip=6, learning_rate=5e-3, warmup=5, bf16=False, reconstructed=1, average_decay=0.8
)


def moving_clip(name="c", steps=60, seed=0):
    """A striped wall: turns push it sideways, and a red corner shows that attack was held on the frame before."""
    rng = np.random.default_rng(seed)
    yaw = rng.choice([-9.0, 0.0, 9.0], steps)
    attack = rng.random(steps) < 0.4
    wall = np.repeat(rng.integers(0, 256, (1, 20, 3), np.uint8), 10, 1).repeat(48, 0)
    frames, place = [], 60
    for step in range(steps):
        frame = wall[:, np.arange(place, place + 80) % wall.shape[1]].copy()
        if step and attack[step - 1]:
            frame[:12, :12] = (255, 0, 0)
        frames.append(frame)
        place += int(np.sign(yaw[step])) * 6
    buttons = np.zeros((steps, len(BUTTONS)), bool)
    buttons[:, BUTTONS.index("attack")] = attack
    camera = np.stack([np.zeros(steps), yaw], 1).astype(np.float32)
    return StoredClip(name, np.stack(frames), buttons, camera, np.zeros(steps, np.int32))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return InverseDynamicsModel(SMALL).eval()


def test_pieces_are_the_same_as_all_at_once_and_nothing_leaks(model):
    a, b = moving_clip().frames[:20], moving_clip(seed=1).frames[:20]
    whole = read_actions(model, a)
    assert whole.buttons.shape == (19, len(BUTTONS))
    assert whole.camera.shape == (19, 2, 21)
    assert whole.camera.sum(-1) == pytest.approx(1, abs=1e-5)
    pieces = read_actions(model, a, batch=4)
    read_actions(model, b)
    again = read_actions(model, a)
    for name in ("buttons", "camera", "features"):
        assert getattr(pieces, name) == pytest.approx(getattr(whole, name), abs=1e-5)
        assert (getattr(again, name) == getattr(whole, name)).all()


def test_of_buttons_that_exclude_each_other_the_likeliest_is_read(model):
    read = replace(read_actions(model, moving_clip().frames[:3]), buttons=np.zeros((2, len(BUTTONS)), np.float32))
    read.buttons[0, [BUTTONS.index("forward"), BUTTONS.index("back"), BUTTONS.index("jump")]] = (0.7, 0.9, 0.6)
    assert {BUTTONS[i] for i in np.flatnonzero(read.held[0])} == {"back", "jump"}
    assert not read.held[1].any()


def test_wrong_frames_are_refused(model):
    with pytest.raises(WorldModelError, match="reads frames of 80x48"):
        read_actions(model, np.zeros((3, 112, 192, 3), np.uint8))
    with pytest.raises(WorldModelError, match="between two frames, got 1"):
        read_actions(model, np.zeros((1, 48, 80, 3), np.uint8))


def test_save_and_load(model, tmp_path):
    save_idm(tmp_path / "idm", model, SMALL)
    frames = moving_clip().frames[:10]
    same = read_actions(load_idm(tmp_path / "idm"), frames).buttons
    assert same == pytest.approx(read_actions(model, frames).buttons, abs=1e-6)
    write_checkpoint(tmp_path / "tok", {"image_tokenizer": config_to_dict(TINY_TOKENIZER)}, {})
    with pytest.raises(CheckpointError, match="holds no inverse dynamics model"):
        load_idm(tmp_path / "tok")
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        load_idm(tmp_path / "nowhere")


def test_it_learns_to_read_and_resumes_to_the_same_weights(tmp_path):
    torch.manual_seed(0)
    tokenizer = ImageTokenizer(TINY_TOKENIZER).eval()
    train = [moving_clip("a"), moving_clip("b", seed=1)]
    options = replace(OPTIONS, reconstructed=2, steps=150)
    learned = train_idm(SMALL, options, train, tokenizer, tmp_path / "whole")
    assert learned is not None
    result = score(count_read(learned, played(train[0])))
    assert result.groups["attack"].macro.f1 > 0.9
    assert result.camera["yaw"].moved_sign > 0.9
    quick = replace(options, steps=4)
    whole = train_idm(SMALL, quick, train, tokenizer, tmp_path / "four")
    assert train_idm(SMALL, quick, train, tokenizer, tmp_path / "cut", 1e-9) is None  # stops while it prepares
    while (cut := train_idm(SMALL, quick, train, tokenizer, tmp_path / "cut", 1e-9)) is None:
        pass
    assert whole is not None
    assert all(torch.equal(whole.state_dict()[name], cut.state_dict()[name]) for name in cut.state_dict())
    rows = [json.loads(line) for line in (tmp_path / "cut/log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0]


def test_a_run_can_start_from_a_trained_reader(tmp_path):
    tokenizer = ImageTokenizer(TINY_TOKENIZER).eval()
    first = train_idm(SMALL, replace(OPTIONS, steps=3), [moving_clip("a")], tokenizer, tmp_path / "first")
    again = replace(OPTIONS, steps=1, learning_rate=0.0, init=tmp_path / "first")
    second = train_idm(SMALL, again, [moving_clip("a")], tokenizer, tmp_path / "second")
    assert all(torch.equal(first.state_dict()[name], value) for name, value in second.state_dict().items())


def test_short_clips_and_missing_weights_are_refused_before_any_work(tmp_path):
    tokenizer = ImageTokenizer(TINY_TOKENIZER)
    lost = replace(OPTIONS, init=tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="nowhere"):
        train_idm(SMALL, lost, [moving_clip("a")], tokenizer, tmp_path / "out")
    with pytest.raises(ClipError, match="windows of 6 steps are needed, the longest has 4"):
        train_idm(SMALL, OPTIONS, [moving_clip(steps=4)], tokenizer, tmp_path / "out")
    assert not (tmp_path / "out").exists()
