"""Image tokenizer: quantisers, shapes, training on real (tiny) pictures, HUD weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY_TOKENIZER
from hypothesis import given
from hypothesis import strategies as st

from worldmodel.config import ImageTokenizerConfig
from worldmodel.data.frames import StoredClip
from worldmodel.data.hud import loss_weights
from worldmodel.model.loading import load_tokenizer
from worldmodel.tokenizers.image import ImageTokenizer, to_frames, to_pixels
from worldmodel.tokenizers.quantizers import BEYOND, FiniteScalarQuantizer, VectorQuantizer
from worldmodel.training.tokenizer import TokenizerTraining, patch_distance, train_tokenizer, windowed_ssim


@given(st.lists(st.integers(2, 9), min_size=1, max_size=4))
def test_fsq_codes_round_trip(levels):
    quantizer = FiniteScalarQuantizer(tuple(levels))
    codes = torch.arange(quantizer.codebook_size)
    values = quantizer.decode(codes)
    assert values.min() >= -1
    assert values.max() <= 1
    # Latents that quantise to a code: invert the bound, then quantise again.
    latents = torch.atanh(values / BEYOND) - quantizer._shift
    again, indices, _ = quantizer(latents)
    assert (indices == codes).all()
    assert torch.allclose(again, values, atol=1e-5)


@given(st.integers(0, 999))
def test_fsq_neighbours_differ_in_one_level(seed):
    quantizer = FiniteScalarQuantizer((8, 5, 2))
    codes = torch.arange(80)
    near = quantizer.neighbours(codes, torch.Generator().manual_seed(seed))
    difference = (quantizer._digits(near) - quantizer._digits(codes)).abs()
    assert (difference.sum(-1) == 1).all()


@pytest.mark.parametrize("levels", [2, 3, 4, 8])
def test_fsq_uses_all_its_levels_from_the_first_step_on(levels):
    latents = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0), requires_grad=True)
    quantised, indices, _ = FiniteScalarQuantizer((levels,))(latents)
    assert (torch.bincount(indices, minlength=levels) > 4000 / levels / 3).all()
    quantised.sum().backward()
    assert latents.grad is not None
    assert latents.grad.mean() > 0.2


def test_fsq_gradient_goes_straight_through():
    latents = torch.randn(5, 2, requires_grad=True)
    FiniteScalarQuantizer((8, 5))(latents)[0].sum().backward()
    assert latents.grad is not None
    assert (latents.grad > 0).all()


def test_vq_learns_clusters_and_revives_dead_codes():
    torch.manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(16, 4), dim=-1)
    quantizer = VectorQuantizer(16, 4, decay=0.9).train()
    quantizer.codebook.copy_(torch.nn.functional.normalize(torch.ones(16, 4) + 0.01 * torch.randn(16, 4), dim=-1))
    for _ in range(200):
        latents = centres[torch.randint(16, (256,))] + 0.02 * torch.randn(256, 4)
        quantizer(latents)
    quantizer.eval()
    quantised, indices, _ = quantizer(centres)
    assert len(indices.unique()) >= 13
    assert (quantised * centres).sum(-1).mean() > 0.97
    assert (quantizer.neighbours(indices) != indices).all()


@pytest.mark.parametrize("quantizer", ["fsq", "vq"])
def test_shapes_and_determinism(quantizer):
    config = ImageTokenizerConfig(48, 80, quantizer, (4, 4), 16, 4, (16, 16), (1, 1), (16, 16), (1, 1))
    model = ImageTokenizer(config).eval()
    frames = torch.randint(0, 256, (2, 48, 80, 3), dtype=torch.uint8)
    codes = model.encode(to_pixels(frames))
    assert codes.shape == (2, 15)
    assert codes.max() < config.codebook_size
    assert model.decode(codes).shape == (2, 3, 48, 80)
    assert (model.encode(to_pixels(frames)) == codes).all()
    with pytest.raises(ValueError, match="48, 80"):
        model.encode(torch.zeros(1, 3, 48, 64))


def test_frames_survive_the_pixel_range():
    frames = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(1, 16, 16, 3)
    assert (to_frames(to_pixels(frames)) == frames).all()


def test_hud_weighs_more_and_the_mean_is_one():
    weights = loss_weights("luanti", 112, 192)
    assert weights.mean() == pytest.approx(1)
    assert weights[105, 96] == pytest.approx(4 * weights[20, 20])
    assert weights[56, 96] == pytest.approx(4 * weights[20, 20])  # the crosshair, within what is in reach
    assert weights[70, 80] == pytest.approx(2 * weights[20, 20])
    with pytest.raises(ValueError, match="unknown HUD"):
        loss_weights("doom", 112, 192)


def test_ssim_of_equal_and_of_unlike_pictures():
    torch.manual_seed(0)
    picture = torch.rand(1, 3, 48, 80) * 2 - 1
    assert windowed_ssim(picture, picture).item() == pytest.approx(1)
    assert windowed_ssim(picture, torch.rand(1, 3, 48, 80) * 2 - 1) < 0.3


def _clip(frames=40):
    rng = np.random.default_rng(0)
    pictures = np.zeros((frames, 48, 80, 3), np.uint8)
    for picture in pictures:
        top, left = rng.integers(0, 32), rng.integers(0, 64)
        picture[top : top + 16, left : left + 16] = (250, 180, 20)
    empty = np.zeros((frames, 0))
    return StoredClip("c", pictures, empty, empty, np.zeros(frames, np.int32))  # type: ignore[arg-type]


def test_training_learns_resumes_and_writes_samples(tmp_path):
    clip = _clip()
    options = TokenizerTraining(
        steps=60, batch=4, learning_rate=5e-3, warmup=5, hud="none", bf16=False, eval_steps=30, average_decay=0.9
    )
    whole = train_tokenizer(TINY_TOKENIZER, options, [clip], clip.frames[:8], tmp_path / "whole")
    assert whole is not None
    assert whole.psnr > 12  # the untrained model has about 5 dB
    assert (tmp_path / "whole" / "sample_000060.png").exists()
    # Stopped in the middle and started again: the same weights as in one go.
    assert train_tokenizer(TINY_TOKENIZER, options, [clip], clip.frames[:8], tmp_path / "cut", 1e-9) is None
    again = train_tokenizer(TINY_TOKENIZER, options, [clip], clip.frames[:8], tmp_path / "cut")
    assert again == whole


def test_patches_may_stand_elsewhere_in_their_region_but_not_be_blurred():
    """Moved by three pixels a picture of noise is as wrong as can be by its squared error, blurred only half so."""
    real = torch.rand(2, 3, 112, 192, generator=torch.Generator().manual_seed(0))
    moved, blurred = real.roll(1, 3), torch.nn.functional.avg_pool2d(real, 3, 1, 1)
    for seed in range(5):
        same, far, dull = (
            patch_distance(made, real, torch.Generator().manual_seed(seed)).item() for made in (real, moved, blurred)
        )
        assert same == 0 < far < dull / 3
    assert (moved - real).square().mean() > 1.5 * (blurred - real).square().mean()


def test_a_frozen_encoder_keeps_its_codes_while_the_decoder_learns(tmp_path):
    clip = _clip()
    pixels = to_pixels(torch.from_numpy(clip.frames[:8]))
    options = TokenizerTraining(
        steps=20, batch=4, learning_rate=5e-3, warmup=2, hud="none", bf16=False, eval_steps=99, average_decay=0.9
    )
    first = train_tokenizer(TINY_TOKENIZER, options, [clip], clip.frames[:8], tmp_path / "first")
    more = replace(options, init=tmp_path / "first", freeze_encoder=True, steps=40, grain=0.1)
    second = train_tokenizer(TINY_TOKENIZER, more, [clip], clip.frames[:8], tmp_path / "second")
    assert first is not None
    assert second is not None
    assert second.psnr > first.psnr + 1
    codes = [load_tokenizer(tmp_path / name).encode(pixels) for name in ("first", "second")]
    assert torch.equal(*codes)
    with pytest.raises(ValueError, match="freeze_encoder needs init"):
        TokenizerTraining(freeze_encoder=True)


def test_openvino_decoder_equals_the_module():
    from worldmodel.engine.host.openvino import OpenVinoPainter

    torch.manual_seed(0)
    tokenizer = ImageTokenizer(TINY_TOKENIZER).eval()
    for parameter in tokenizer.decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # also the blocks that start as the identity
    fast = OpenVinoPainter(tokenizer, threads=1)
    for seed in range(3):
        codes = torch.randint(0, 16, (15,), generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            slow = to_frames(tokenizer.decode(codes[None]))[0].numpy()
        difference = abs(fast(codes.numpy()).astype(int) - slow)
        assert difference.max() <= 1  # rounding of a value that lies on a half
        assert (difference > 0).mean() < 0.01
