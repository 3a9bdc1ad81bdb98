"""LPIPS and FVD on random weights of the published shapes: known answers, and files that are refused."""

import numpy as np
import pytest
import torch

from worldmodel.checkpoint import CheckpointError
from worldmodel.evaluation.metrics.i3d import I3D
from worldmodel.evaluation.metrics.published import (
    LPIPS,
    _AlexNet,
    load_i3d,
    not_computed,
    published_metrics,
    video_features,
)
from worldmodel.types import WorldModelError


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("alexnet") / "alexnet.pth"
    state = _AlexNet().state_dict()
    torch.save({**state, "classifier.6.bias": torch.zeros(1000)}, path)  # the published file has a classifier besides
    assert state["features.0.weight"].shape == (64, 3, 11, 11)
    return path


@pytest.fixture(scope="module")
def i3d(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("i3d") / "rgb_imagenet.pt"
    torch.save(I3D().state_dict(), path)
    return path


def videos(count=3, frames=9, seed=0):
    rng = np.random.default_rng(seed)
    real = rng.integers(0, 256, (count, frames, 64, 64, 3), np.uint8)
    worse = np.clip(real + rng.normal(0, 90, real.shape), 0, 255).astype(np.uint8)
    return [{"real": a, "same": a, "model": b} for a, b in zip(real, worse, strict=True)]


def test_lpips_is_nothing_for_equal_frames_and_grows(alexnet):
    found = published_metrics(videos(), alexnet, None)["LPIPS"]
    assert found["same"] == 0
    assert found["model"] > 1e-3
    one = LPIPS(alexnet)(videos()[0]["model"][:1], videos()[0]["real"][:1])
    assert one.shape == (1,)


def test_fvd_is_nothing_for_equal_videos_and_short_ones_are_refused(i3d):
    model = load_i3d(i3d)
    features = video_features(model, [video["real"] for video in videos(1)])
    assert features.shape == (1, 400)
    assert np.isfinite(features).all()
    with pytest.raises(WorldModelError, match="at least 9 frames, got 8"):
        video_features(model, [np.zeros((8, 64, 64, 3), np.uint8)])


def test_i3d_has_the_published_tensors():
    """Names and shapes as in piergiaj/pytorch-i3d's pytorch_i3d.py."""
    state = I3D().state_dict()
    assert state["Conv3d_1a_7x7.conv3d.weight"].shape == (64, 3, 7, 7, 7)
    assert state["Mixed_4f.b1b.conv3d.weight"].shape == (320, 160, 3, 3, 3)
    assert state["Mixed_5c.b3b.bn.running_mean"].shape == (128,)
    assert state["logits.conv3d.weight"].shape == (400, 1024, 1, 1, 1)
    assert sum(tensor.numel() for name, tensor in state.items() if name.endswith("weight")) > 12e6


def test_other_files_are_refused(alexnet, tmp_path):
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="not those that are needed"):
        LPIPS(tmp_path / "other.pth")
    (tmp_path / "program.pt").write_bytes(b"PK not a state dict")
    with pytest.raises(CheckpointError, match="not a file of weights alone"):
        load_i3d(tmp_path / "program.pt")
    assert set(not_computed(None, None)) == {"LPIPS", "FVD"}
    assert set(not_computed(alexnet, None)) == {"FVD"}
