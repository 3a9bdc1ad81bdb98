"""VPT's inverse dynamics model: the published names and sizes, its actions in our order, no state, no other file."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from worldmodel.checkpoint import CheckpointError
from worldmodel.readers import vpt_idm
from worldmodel.readers.vpt_idm import load_vpt_idm, read_vpt_actions, vpt_bin_degrees
from worldmodel.readers.vpt_network import VPT_BUTTONS, VPTIDMConfig, VPTInverseDynamicsModel
from worldmodel.tokenizers.action import CAMERA_CENTRE
from worldmodel.types import BUTTONS, WorldModelError

SMALL = VPTIDMConfig(image_channels=4, stacks=(4, 8), dense=8, hidden=16, heads=2, side=16)
PUBLISHED_PARAMETERS = 482_330_046  # of 4x_idm.weights


def published(config):
    """A weights file's content: random tensors, with those that the forward pass does not use."""
    torch.manual_seed(0)
    state = VPTInverseDynamicsModel(config).state_dict()
    hidden = config.hidden
    state |= {"net.lastlayer.layer.weight": torch.zeros(hidden, hidden)}
    state |= {f"net.lastlayer.norm.{name}": torch.zeros(hidden) for name in ("weight", "bias")}
    for block in range(config.blocks):
        prefix = f"net.recurrent_layer.blocks.{block}.r.orc_block."
        state[prefix + "b_nd"] = torch.zeros(10, 0)
        state[prefix + "r_layer.weight"] = torch.zeros(10 * config.heads, hidden)
        state[prefix + "r_layer.bias"] = torch.zeros(10 * config.heads)
    return state


@pytest.fixture
def weights(tmp_path):
    torch.save(published(SMALL), tmp_path / "small.weights")
    return tmp_path / "small.weights"


def noise(steps, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (steps, 36, 64, 3), np.uint8)


def test_the_default_sizes_are_those_of_the_published_weights():
    with torch.device("meta"):
        state = published(VPTIDMConfig())
    assert sum(tensor.numel() for tensor in state.values()) == PUBLISHED_PARAMETERS
    assert state["net.img_process.cnn.dense.layer.weight"].shape == (256, 512 * 16 * 16)
    assert state["pi_head.buttons.linear_layer.weight"].shape == (40, 4096)


def test_clips_are_read_alike_whatever_was_read_before(weights):
    model = load_vpt_idm(weights, config=SMALL)
    a, b = noise(20), noise(20, seed=1)
    first = read_vpt_actions(model, a)
    other = read_vpt_actions(model, b)
    again = read_vpt_actions(model, a)
    assert first.buttons.shape == (19, len(BUTTONS))
    assert first.features.shape == (19, 16)
    assert first.camera.shape == (19, 2, 21)
    assert first.camera.sum(-1) == pytest.approx(1, abs=1e-5)
    assert (first.buttons == again.buttons).all()
    assert abs(first.buttons - other.buttons).max() > 1e-4


def test_pieces_through_the_convolutions_do_not_change_the_result(weights, monkeypatch):
    model = load_vpt_idm(weights, config=SMALL)
    frames = noise(21)
    whole = read_vpt_actions(model, frames)
    monkeypatch.setattr(vpt_idm, "FRAMES_AT_ONCE", 4)
    assert read_vpt_actions(model, frames).features == pytest.approx(whole.features, abs=1e-4)


def test_a_long_clip_is_read_in_overlapping_pieces(weights):
    model = load_vpt_idm(weights, config=SMALL)
    frames = noise(300)
    read = read_vpt_actions(model, frames)
    assert read.buttons.shape == (299, len(BUTTONS))
    # Frames 0..95 come from the first 128, 96..159 from the next piece, and so on; the last from the last 128.
    assert read.features[:96] == pytest.approx(read_vpt_actions(model, frames[:128]).features[:96], abs=1e-4)
    assert read.features[96:160] == pytest.approx(read_vpt_actions(model, frames[64:192]).features[32:96], abs=1e-4)
    assert read.features[-40:] == pytest.approx(read_vpt_actions(model, frames[172:]).features[-40:], abs=1e-4)


def test_attention_is_that_of_the_formula(weights):
    layer = load_vpt_idm(weights, config=SMALL).net.recurrent_layer.blocks[0].r.orc_block
    x = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(0))
    heads = []
    for part in (slice(0, 8), slice(8, 16)):
        q, k, v = (f(x)[0, :, part] for f in (layer.q_layer, layer.k_layer, layer.v_layer))
        heads.append(((q @ k.T) / 8).softmax(-1) @ v)
    assert torch.allclose(layer(x), x + layer.proj_layer(torch.cat(heads, 1))[None], atol=1e-5)


def test_its_actions_come_in_the_order_of_the_project(tmp_path):
    state = published(SMALL)
    for name, value in (("attack", 9.0), ("hotbar.3", 9.0), ("forward", -9.0)):
        state["pi_head.buttons.linear_layer.bias"][2 * VPT_BUTTONS.index(name) + 1] = 40 * value
    state["pi_head.camera.linear_layer.bias"][5] = 400  # pitch: no motion
    state["pi_head.camera.linear_layer.bias"][11 + 10] = 400  # yaw: 10 degrees to the right
    torch.save(state, tmp_path / "told.weights")
    read = read_vpt_actions(load_vpt_idm(tmp_path / "told.weights", config=SMALL), noise(3))
    held = {name for name, share in zip(BUTTONS, read.buttons[0], strict=True) if share > 0.95}
    assert held == {"attack", "hotbar.3"}
    assert read.buttons[0, BUTTONS.index("forward")] < 0.05
    assert read.buttons[0, BUTTONS.index("swapHands")] == 0  # VPT has no such button
    assert read.bins[0].tolist() == [CAMERA_CENTRE, CAMERA_CENTRE + 3]
    assert vpt_bin_degrees()[[0, 5, 6, 10]] == pytest.approx([-10, 0, 11**0.2 - 1, 10])


def test_other_files_are_refused(tmp_path, weights):
    with pytest.raises(CheckpointError, match="is no file"):
        load_vpt_idm(tmp_path / "nowhere.weights")
    (tmp_path / "4x.model").write_bytes(pickle.dumps({"model": VPTIDMConfig()}, protocol=2))
    with pytest.raises(CheckpointError, match="not a file of weights alone"):
        load_vpt_idm(tmp_path / "4x.model")
    with pytest.raises(CheckpointError, match=r"has shape \(.*\), not \("):
        load_vpt_idm(weights, config=replace(SMALL, hidden=32))
    torch.save({"net.other": torch.zeros(1)}, tmp_path / "other.weights")
    with pytest.raises(CheckpointError, match="are not those of VPT's inverse dynamics model"):
        load_vpt_idm(tmp_path / "other.weights", config=SMALL)


def test_a_single_frame_is_refused(weights):
    with pytest.raises(WorldModelError, match="two or more RGB frames"):
        read_vpt_actions(load_vpt_idm(weights, config=SMALL), noise(1))
