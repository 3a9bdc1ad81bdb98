"""The frame step that CUDA graphs capture, run eagerly on the CPU: it computes what the one decode path computes."""

import numpy as np
import pytest
import torch
from conftest import random_steps, tiny_config, tiny_transformer, with_detail, with_signs

from kernels.sampling import GREEDY, Sampler, philox, sample, uniforms
from kernels.sampling_device import Settings, philox_device, sample_device, uniforms_device
from worldmodel.engine.cuda.frame_step import FrameStep
from worldmodel.engine.cuda.graph import GraphDecoder
from worldmodel.engine.decoder import FrameDecoder, InputTables
from worldmodel.engine.host.eager import EagerBackend
from worldmodel.model.parts import split
from worldmodel.tokenizers.image import ImageTokenizer, to_frames
from worldmodel.types import Action

PLAIN = {
    "rotary": "sequence",
    "rotary_theta": (10000.0,),
    "previous_frame": False,
    "action_input": False,
    "place_embedding": False,
}


def both(config):
    model = tiny_transformer(config)
    torch.manual_seed(1)
    tokenizer = ImageTokenizer(config.image_tokenizer).eval().requires_grad_(False)
    return FrameDecoder(config, InputTables.of(model), EagerBackend(model)), GraphDecoder(FrameStep(model, tokenizer))


@pytest.mark.parametrize(
    ("order", "extra"),
    [
        ("diagonal-1", {}),
        ("rows", {}),
        ("diagonal-2", PLAIN),
        ("raster", {"kv_heads": 4}),
        ("diagonal-1", {"offsets": (1, 2, 4)}),
        ("rows", {"offsets": (1, 3, 11), "rotary_theta": (100.0, 10.0, 10.0)}),
    ],
)
def test_greedy_tokens_equal_the_decoders_over_many_rolls(order, extra):
    config = tiny_config(order, **extra)
    decoder, step = both(config)
    tokens, actions = random_steps(config, 40)
    decoder.open(list(tokens[:2]), list(actions[:1]))
    step.open(list(tokens[:2]), list(actions[:1]))
    for index, action in enumerate(actions):
        expected, _ = decoder.decode(action, GREEDY, 0, index)
        made, _ = step.decode(action, GREEDY, 0, index)
        assert (made == expected).all(), index
        assert step.filled == decoder.filled


@pytest.mark.parametrize("kind", [with_detail, with_signs])
@pytest.mark.parametrize("sampler", [GREEDY, Sampler(), Sampler(0.8, 5, 0.9, guidance=0.7)])
def test_tokens_of_several_parts_equal_the_decoders(sampler, kind):
    config = kind(tiny_config(offsets=(1, 2, 4)))
    decoder, step = both(config)
    tokens, actions = random_steps(config, 20)
    decoder.open(list(tokens[:2]), list(actions[:1]))
    step.open(list(tokens[:2]), list(actions[:1]))
    seen, parts = set(), config.image_tokenizer.parts
    for index, action in enumerate(actions):
        expected, _ = decoder.decode(action, sampler, 3, index)
        made, _ = step.decode(action, sampler, 3, index)
        assert (made == expected).all(), index
        seen |= set(split(made, parts)[-1].tolist())
    assert seen == set(range(parts[-1]))


@pytest.mark.parametrize(("offsets", "opened"), [((1, 2), 5), ((1, 2, 4), 7), ((1, 3, 8), 2)])
def test_forced_logits_equal_the_decoders(offsets, opened):
    """From contexts that are longer and shorter than the window, until the ring has rolled three times."""
    config = tiny_config(offsets=offsets)
    decoder, step = both(config)
    frames = opened + 3 * (offsets[-1] + 2)
    tokens, actions = random_steps(config, frames)
    decoder.open(list(tokens[:opened]), list(actions[: opened - 1]))
    step.open(list(tokens[:opened]), list(actions[: opened - 1]))
    for index in range(opened, frames):
        _, expected = decoder.decode(actions[index - 1], GREEDY, 0, index, forced=tokens[index])
        made, logits = step.decode(actions[index - 1], GREEDY, 0, index, forced=tokens[index])
        assert abs(logits - expected).max() < 1e-4
        assert (made == tokens[index]).all()


def test_sampled_tokens_equal_the_decoders_and_the_picture_is_theirs():
    config = tiny_config()
    decoder, step = both(config)
    tokens, actions = random_steps(config, 10)
    decoder.open(list(tokens[:1]), [])
    step.open(list(tokens[:1]), [])
    for index, action in enumerate(actions):
        sampler = Sampler(1.1, 0 if index % 2 else 5, 0.9)  # changes from frame to frame
        expected, _ = decoder.decode(action, sampler, 2**40 + 3, index)
        made, _ = step.decode(action, sampler, 2**40 + 3, index)
        assert (made == expected).all(), index
        picture = to_frames(step.step.tokenizer.decode(torch.from_numpy(expected)[None].long()))[0]
        assert (step.pixels(made) == picture.numpy()).all()
    # A picture of other tokens than the last ones is decoded, and changes nothing.
    other = to_frames(step.step.tokenizer.decode(torch.from_numpy(tokens[5])[None].long()))[0]
    assert (step.pixels(tokens[5]) == other.numpy()).all()
    assert (step.pixels(made) == picture.numpy()).all()


@pytest.mark.parametrize(("order", "offsets"), [("diagonal-1", (1, 2)), ("rows", (1, 2)), ("diagonal-1", (1, 2, 4))])
def test_guided_frames_equal_the_decoders(order, offsets):
    """Guided frames and others take turns over a ring that rolls; the idle lane must leave no trace."""
    config = tiny_config(order, offsets)
    decoder, step = both(config)
    tokens, actions = random_steps(config, 12)
    encode = config.action_tokenizer().encode
    for index, button in enumerate(["use", "attack", "forward"] * 4):
        actions[index] = encode(Action(frozenset({button}), pitch=index - 4.0, yaw=5.0))
    decoder.open(list(tokens[:2]), list(actions[:1]))
    step.open(list(tokens[:2]), list(actions[:1]))
    for index in range(2, 12):
        sampler = Sampler(1.0, 0, 1.0, 0.0 if index % 3 == 2 else 0.7)
        _, expected = decoder.decode(actions[index - 1], sampler, 0, index, forced=tokens[index])
        _, logits = step.decode(actions[index - 1], sampler, 0, index, forced=tokens[index])
        assert abs(logits - expected).max() < 2e-4
    for index in range(12, 20):
        sampler = Sampler(1.0, 0, 0.9, 0.5)
        assert (
            step.decode(actions[index - 12], sampler, 3, index)[0]
            == decoder.decode(actions[index - 12], sampler, 3, index)[0]
        ).all()


def test_pictures_of_the_last_frames_stay_and_belong_to_their_tokens():
    """Three pictures are kept: the tokens of the next frames are made before one is fetched."""
    config = tiny_config()
    _, decoder = both(config)
    tokens, actions = random_steps(config, 8)
    decoder.open(list(tokens[:1]), [])
    made = [decoder.decode(action, Sampler(), 5, index)[0] for index, action in enumerate(actions)]
    assert [picture.tokens is not None for picture in decoder.pictures] == [True] * 3
    decoded = []
    decode = decoder.step.tokenizer.decode
    decoder.step.tokenizer.decode = lambda codes: decoded.append(codes) or decode(codes)
    frames = [decoder.pixels(made[-3]), decoder.pixels(made[-2]), decoder.pixels(made[-1])]
    assert not decoded  # they were there
    decoder.decode(actions[0], Sampler(), 5, 8)
    for frame, codes in zip(frames, made[-3:], strict=True):
        own = to_frames(decode(torch.from_numpy(codes)[None].long()))[0].numpy()
        assert (frame == own).all()  # and what was handed out is not painted over
    decoded.clear()
    assert (decoder.pixels(made[-3]) == frames[0]).all()  # painted over by now: decoded again
    assert len(decoded) == 1
    decoder.open(list(tokens[:1]), [])
    again = decoder.decode(actions[0], Sampler(), 5, 0)[0]
    assert (again == made[0]).all()


def test_nothing_moves():
    """A captured graph knows addresses: neither a frame nor a new context may replace a tensor of the state."""
    config = tiny_config()
    _, decoder = both(config)
    tokens, actions = random_steps(config, 4)
    before = decoder._state()
    decoder.open(list(tokens[:3]), list(actions[:2]))
    decoder.decode(actions[2], Sampler(), 1, 1)
    decoder.open(list(tokens[:1]), [])
    assert decoder._state() == before
    decoder.step.known = decoder.step.known.clone()  # the test can fail
    assert decoder._state() != before


def test_reopening_forgets_the_old_context():
    config = tiny_config()
    _, used = both(config)
    _, fresh = both(config)
    tokens, actions = random_steps(config, 9)
    used.open(list(tokens[:1]), [])
    for index in range(6):
        used.decode(actions[index], Sampler(), 3, index)
    for decoder in (used, fresh):
        decoder.open(list(tokens[6:8]), list(actions[6:7]))
    for index in range(5):
        assert (used.decode(actions[8], GREEDY, 0, index)[0] == fresh.decode(actions[8], GREEDY, 0, index)[0]).all()


def test_an_action_of_another_shape_or_dtype_is_refused():
    config = tiny_config()
    _, decoder = both(config)
    tokens, actions = random_steps(config, 1)
    decoder.open([tokens[0]], [])
    with pytest.raises(ValueError, match="11 integer tokens"):
        decoder.decode(actions[0][:5], GREEDY, 0, 0)
    with pytest.raises(ValueError, match="11 integer tokens"):
        decoder.decode(actions[0].astype(np.float32), GREEDY, 0, 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_graph_equals_eager_over_a_hundred_frames():
    config = tiny_config()
    model = tiny_transformer(config).cuda()
    torch.manual_seed(1)
    tokenizer = ImageTokenizer(config.image_tokenizer).eval().requires_grad_(False).cuda()
    eager, graph = (GraphDecoder(FrameStep(model, tokenizer), graph=captured) for captured in (False, True))
    tokens, actions = random_steps(config, 100)
    for decoder in (eager, graph):
        decoder.open(list(tokens[:2]), list(actions[:1]))
    for index, action in enumerate(actions):
        # No new capture for a new setting; guided frames have a graph of their own.
        sampler = GREEDY if index < 60 else Sampler(1.0, index % 5, 0.9, 0.5 * (index // 3 % 2))
        made, expected = graph.decode(action, sampler, 4, index)[0], eager.decode(action, sampler, 4, index)[0]
        assert (made == expected).all(), index
        assert (graph.pixels(made) == eager.pixels(made)).all()
    assert graph.stage == "graph"
    assert eager.stage == "eager"
    ahead = [graph.decode(action, GREEDY, 4, index)[0] for index, action in enumerate(actions[:3])]
    behind = [eager.decode(action, GREEDY, 4, index)[0] for index, action in enumerate(actions[:3])]
    for made, expected in zip(ahead, behind, strict=True):  # fetched late, while others were made
        assert (made == expected).all()
        assert (graph.pixels(made) == eager.pixels(expected)).all()
    graph.step.picture = graph.step.picture.clone()
    with pytest.raises(AssertionError, match="changed its shape, dtype or place"):
        graph.decode(actions[0], GREEDY, 0, 0)


@pytest.mark.parametrize(("seed", "frame"), [(0, 0), (7, 2**35 + 1), (2**63 - 1, 3), (2**40 + 9, 2**31)])
def test_device_random_numbers_are_the_hosts(seed, frame):
    settings = Settings.empty(torch.device("cpu"))
    settings.set(Sampler(), seed, frame)
    places = np.arange(400)
    words = philox_device(settings, torch.from_numpy(places)).numpy()
    assert (words == philox(seed, frame, places)).all()
    assert (uniforms_device(settings, torch.from_numpy(places)).numpy() == uniforms(seed, frame, places)).all()


@pytest.mark.parametrize(
    "sampler", [GREEDY, Sampler(), Sampler(0.7, 3, 1.0), Sampler(2.0, 0, 1.0), Sampler(1, 50, 0.3)]
)
def test_device_sampling_is_the_hosts(sampler):
    logits = np.random.default_rng(0).normal(0, 3, (400, 61)).astype(np.float32)
    settings = Settings.empty(torch.device("cpu"))
    settings.set(sampler, 5, 6)
    places = np.arange(400)
    drawn = uniforms_device(settings, torch.from_numpy(places))
    made = sample_device(torch.from_numpy(logits), settings, drawn).numpy()
    # exp may differ in its last bit between the libraries: a draw on a boundary may fall to either side
    assert (made == sample(logits, sampler, 5, 6, places)).mean() > 0.99
