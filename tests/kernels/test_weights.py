"""Weight formats: what is stored is near what was given, and the cost of a format is what it says."""

import numpy as np
import pytest
import torch
from conftest import random_steps, tiny_config, tiny_transformer

from kernels.sampling import GREEDY
from kernels.weight_only import DTYPES, linear, store
from worldmodel.engine.cuda.weights import matrix_bytes, with_stored_weights
from worldmodel.engine.decoder import FrameDecoder, InputTables
from worldmodel.engine.host.eager import EagerBackend
from worldmodel.measure.formats import INT8_CACHE, format_costs
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.training.world import validation_loss

# Half a step of rounding, to a value: bf16 has 8 bits, e4m3 has 4. int8 has 127 steps to a channel's largest.
RELATIVE = {"bf16": 2**-8, "fp8": 2**-4}


def matrix(seed=0):
    """Channels of very different size, one of zeros, one with a single outlier."""
    weight = torch.randn(24, 40, generator=torch.Generator().manual_seed(seed)) * torch.logspace(-6, 3, 24)[:, None]
    weight[5] = 0
    weight[7, 3] *= 50
    return weight


@pytest.mark.parametrize("format", DTYPES)
def test_a_stored_weight_is_the_nearest_value_of_its_format(format):
    weight = matrix()
    stored = store(weight, format)
    assert stored.values.dtype == DTYPES[format]
    scales = torch.ones(24) if stored.scales is None else stored.scales
    error = (stored.values.float() * scales[:, None] - weight).abs()
    if format == "int8":
        limit = (weight.abs().amax(1, keepdim=True) / 127 / 2).expand_as(weight)
    else:  # below e4m3's smallest normal number, 2^-6, steps are equal: 2^-9
        limit = weight.abs() * RELATIVE[format] + (scales[:, None] * 2**-10 if format == "fp8" else 0)
    assert (error <= limit * 1.001).all()
    assert (stored.values[5].float() == 0).all()


@pytest.mark.parametrize("format", ["int8", "fp8"])
def test_the_largest_of_a_channel_survives_at_any_size(format):
    """A quotient one ulp beyond the largest value would wrap (int8) or become NaN (fp8)."""
    rng = np.random.default_rng(1)
    peaks = torch.from_numpy((10.0 ** rng.uniform(-30, 30, 20000)).astype(np.float32))
    stored = store(torch.stack([peaks, -peaks], 1), format)
    back = stored.values.float() * stored.scales[:, None]
    torch.testing.assert_close(back, torch.stack([peaks, -peaks], 1), rtol=1e-6, atol=0)


@pytest.mark.parametrize("format", ["int8", "fp8"])
def test_channels_too_small_for_a_scale_are_zero(format):
    stored = store(torch.tensor([[1e-42, -1e-42], [1.0, 0.5]]), format)
    assert (stored.values[0].float() == 0).all()
    assert linear(torch.ones(1, 2), stored).isfinite().all()


@pytest.mark.parametrize("format", DTYPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_product_is_that_of_the_weight_it_stands_for(format, dtype):
    stored = store(matrix(), format)
    x = torch.randn(3, 5, 40, generator=torch.Generator().manual_seed(2)).to(dtype)
    scales = torch.ones(24) if stored.scales is None else stored.scales
    exact = x.double() @ (stored.values.double() * scales.double()[:, None]).T
    y = linear(x, stored)
    assert y.dtype == dtype
    assert y.shape == (3, 5, 24)
    size = exact.abs().amax((0, 1))
    assert ((y.double() - exact).abs() <= size * (1e-5 if dtype == torch.float32 else 2**-6)).all()


def test_what_cannot_be_stored_is_refused():
    with pytest.raises(ValueError, match=r"'int4'; known are bf16, int8, fp8"):
        store(matrix(), "int4")
    weight = matrix()
    weight[2, 2] = torch.nan
    with pytest.raises(ValueError, match=r"\(24, 40\).*not finite"):
        store(weight, "int8")


def test_only_the_matrices_that_a_pass_reads_are_stored():
    model = tiny_transformer(tiny_config())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stored = with_stored_weights(model, "int8")
    for name, value in model.state_dict().items():  # the given model keeps its weights
        assert torch.equal(value, before[name])
    for name, value in stored.state_dict().items():
        if name in before:
            assert torch.equal(value, before[name]), name
    replaced = {name for name in before if name not in stored.state_dict()}
    assert replaced == {n for n in before if n == "lm_head.weight" or (n.startswith("layers.") and "proj" in n)}
    channels = sum(before[name].shape[0] for name in replaced)
    assert matrix_bytes(model) == sum(before[name].nbytes for name in replaced)
    assert matrix_bytes(stored) == matrix_bytes(model) // 4 + 4 * channels
    assert matrix_bytes(with_stored_weights(model, "bf16")) == matrix_bytes(model) // 2


def windows(config):
    tokens, actions = random_steps(config, 10)
    return (torch.from_numpy(a).long().reshape(2, 5, -1) for a in (tokens, actions))


@torch.no_grad()
def window_loss(model, tokens, actions):
    """Nats a token of the frames after the first. tokens: (T, places)."""
    logits = model(tokens[None], actions[None])[0]
    target = tokens[1:, torch.from_numpy(model.layout.places)]
    return -logits.log_softmax(-1).gather(-1, target[..., None]).mean().item()


def test_costs_of_formats():
    config = tiny_config()
    model = tiny_transformer(config)
    tokens, actions = windows(config)
    costs = format_costs(model, ImageTokenizer(config.image_tokenizer), tokens, actions, list(DTYPES))
    plain = costs["float32"]
    assert (plain.loss_change, plain.logit_error, plain.divergence, plain.same_choice) == (0, 0, 0, 1)
    assert plain.loss == pytest.approx(validation_loss(model, tokens, actions, bf16=False)[0], rel=1e-5)
    for format, cost in costs.items():
        if format in ("float32", INT8_CACHE):
            continue
        stored = with_stored_weights(model, format)
        assert cost.loss == pytest.approx(cost.loss_change + plain.loss)
        pairs = [[window_loss(m, t, a) for t, a in zip(tokens, actions, strict=True)] for m in (stored, model)]
        first, second = np.subtract(*pairs)  # of two values, the standard error is half their distance
        assert cost.loss_change_error == pytest.approx(abs(first - second) / 2, rel=0.05, abs=2e-6)
        with torch.no_grad():
            changed, logits = stored(tokens, actions), model(tokens, actions)
            p = logits.softmax(-1)
            divergence = (p * (logits.log_softmax(-1) - changed.log_softmax(-1))).sum(-1).mean().item()
        assert cost.divergence == pytest.approx(divergence, rel=0.05, abs=1e-5)
        assert cost.same_choice == pytest.approx((changed.argmax(-1) == logits.argmax(-1)).float().mean().item())
        assert 0 < cost.logit_error < 0.2
    # Fewer bits of mantissa, more error.
    assert costs["bf16"].logit_error < costs["int8"].logit_error < costs["fp8"].logit_error
    assert 1e-4 < costs[INT8_CACHE].logit_error < 0.05
    assert costs[INT8_CACHE].loss == pytest.approx(plain.loss, abs=0.02)


def test_a_shift_of_all_logits_is_no_error():
    config = tiny_config()
    model = tiny_transformer(config)
    tokens, actions = windows(config)
    costs = format_costs(model, ImageTokenizer(config.image_tokenizer), tokens, actions, ["fp8"])
    with torch.no_grad():
        changed, logits = with_stored_weights(model, "fp8")(tokens, actions), model(tokens, actions)
    free = [x - x.mean(-1, keepdim=True) for x in (changed, logits)]
    expected = ((free[0] - free[1]).square().mean() / free[1].square().mean()).sqrt().item()
    assert costs["fp8"].logit_error == pytest.approx(expected, rel=1e-3)
    assert costs["fp8"].logit_error_max == pytest.approx((free[0] - free[1]).abs().max().item(), rel=1e-3)


@pytest.mark.parametrize("format", ["int8", "fp8"])
def test_decoding_over_the_ring_gives_the_stored_models_own_logits(format):
    """The decode path runs a stored model as it runs any: with the true tokens forced, the training pass's logits."""
    config = tiny_config(offsets=(1, 2, 3, 4))
    model = with_stored_weights(tiny_transformer(config), format)
    tokens, actions = random_steps(config, 5)
    decoder = FrameDecoder(config, InputTables.of(model), EagerBackend(model))
    decoder.open([tokens[0]], [])
    with torch.no_grad():
        full = model(torch.from_numpy(tokens).long()[None], torch.from_numpy(actions).long()[None])[0].numpy()
    for frame in range(1, 5):
        _, logits = decoder.decode(actions[frame - 1], GREEDY, 0, frame, forced=tokens[frame])
        np.testing.assert_allclose(logits, full[frame - 1], atol=2e-4)
