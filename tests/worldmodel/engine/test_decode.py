"""Decode order, mask, cache and engines: decoding computes exactly what training computed."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from conftest import random_steps, tiny_config, tiny_transformer, with_detail, with_signs
from hypothesis import given
from hypothesis import strategies as st

from kernels.sampling import GREEDY, Sampler
from worldmodel.decode_order import START, DecodeOrder, parse_order
from worldmodel.engine.decoder import FrameDecoder, InputTables
from worldmodel.engine.guidance import Guidance
from worldmodel.engine.host.eager import EagerBackend
from worldmodel.engine.host.openvino import OpenVinoBackend
from worldmodel.model.beside import Beside
from worldmodel.model.layout import BlockLayout
from worldmodel.model.transformer import VisualActionTransformer, WindowAttention
from worldmodel.types import NO_ACTION, Action

ORDERS = ["raster", "diagonal-1", "diagonal-2", "diagonal-4", "rows"]
BACKENDS = {"eager": EagerBackend, "openvino": lambda model, **guided: OpenVinoBackend(model, threads=1, **guided)}


def decoder_of(model, backend="eager"):
    return FrameDecoder(model.config, InputTables.of(model), BACKENDS[backend](model))


def test_passes_follow_the_papers_formula():
    assert parse_order("diagonal-1", 14, 24).passes == 37
    assert parse_order("diagonal-2", 14, 24).passes == 50
    assert parse_order("diagonal-4", 14, 24).passes == 76
    assert parse_order("raster", 14, 24).passes == 336
    assert parse_order("rows", 14, 24).passes == 14
    assert parse_order("diagonal-1", 7, 12).passes == 18
    assert parse_order("diagonal-24", 14, 24).passes == 336


@given(
    st.sampled_from(["raster", "rows", "diagonal-1", "diagonal-3", "diagonal-9"]), st.integers(1, 9), st.integers(1, 9)
)
def test_orders_are_partitions_whose_inputs_are_ready(name, height, width):
    order = parse_order(name, height, width)
    assert sorted(order.sequence) == list(range(height * width))
    for place, source in enumerate(order.source):
        assert source == START or order.group_of[source] < order.group_of[place]
    # Every token is seen: as somebody's input or in the tail.
    assert {s for s in order.source if s != START} | set(order.tail) == set(range(height * width))


def test_bad_orders_are_refused():
    with pytest.raises(ValueError, match="no partition"):
        DecodeOrder("x", 1, 2, ((0,),), (START, START))
    with pytest.raises(ValueError, match="not decoded yet"):
        DecodeOrder("x", 1, 2, ((0, 1),), (START, 0))
    with pytest.raises(ValueError, match="unknown decode order"):
        parse_order("spiral", 2, 2)


@pytest.mark.parametrize("order", ORDERS)
def test_nothing_undecoded_is_attended(order):
    layout = BlockLayout(tiny_config(order).decode_order())
    decoded: set[int] = set()
    for part, group in zip(layout.group_slots, layout.order.groups, strict=True):
        for slot in range(part.start, part.stop):
            seen = np.flatnonzero(layout.mask[slot])
            inputs = {int(layout.sources[s]) for s in seen if s < layout.image} - {START}
            assert inputs <= decoded  # the content behind every attended key is known by now
            assert seen.max() < part.stop
        decoded |= set(group)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("order", ORDERS)
def test_forced_decoding_equals_training_after_the_ring_has_rolled(order, backend):
    """13 frames through a ring of 3: rolled four times; the reference is one forward pass over all of them."""
    config = tiny_config(order)
    model = tiny_transformer(config)
    tokens, actions = random_steps(config, 13)
    with torch.no_grad():
        reference = model(torch.from_numpy(tokens)[None].long(), torch.from_numpy(actions)[None].long())[0].numpy()
    decoder = decoder_of(model, backend)
    decoder.open(list(tokens[:2]), list(actions[:1]))
    for index in range(2, 13):
        _, logits = decoder.decode(actions[index - 1], GREEDY, 0, index, forced=tokens[index])
        assert abs(logits - reference[index - 1]).max() < 1e-4
    assert decoder.filled == 3
    # The test can fail: another token in the frame before changes the logits.
    changed = tokens.copy()
    changed[11, 0] = (changed[11, 0] + 1) % config.image_tokenizer.codebook_size
    with torch.no_grad():
        other = model(torch.from_numpy(changed)[None].long(), torch.from_numpy(actions)[None].long())[0].numpy()
    assert abs(other[-1] - reference[-1]).max() > 1e-3


def test_openvino_in_8_bits_is_near_to_float32():
    config = tiny_config(hidden=128, mlp=256, head_dim=64)
    model = tiny_transformer(config)
    tokens, actions = random_steps(config, 6)

    def logits(backend):
        decoder = FrameDecoder(config, InputTables.of(model), backend)
        decoder.open(list(tokens[:1]), [])
        return np.stack([decoder.decode(actions[i - 1], GREEDY, 0, i, forced=tokens[i])[1] for i in range(1, 6)])

    exact, near = logits(EagerBackend(model)), logits(OpenVinoBackend(model, 1, int8=True))
    assert 1e-4 < np.sqrt(np.mean((near - exact) ** 2)) / exact.std() < 0.05  # it is rounded, and not by much


@dataclass(frozen=True)
class Trained:
    """A model with its training pass over nine random frames: logits (8, image, values) and nats (8, image)."""

    model: VisualActionTransformer
    decoder: FrameDecoder
    tokens: np.ndarray
    actions: np.ndarray
    logits: torch.Tensor
    nats: torch.Tensor

    def logits_after(self, frame: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Those of the frame after the fourth, if that is another one."""
        other = torch.from_numpy(self.tokens)[None].long()
        other[0, 3] = torch.as_tensor(frame)
        with torch.no_grad():
            return self.model(other, torch.from_numpy(self.actions)[None].long())[0, 3]


def decoded_as_trained(config, backend) -> Trained:
    """Forced logits of every frame equal the training pass."""
    model = tiny_transformer(config)
    tokens, actions = random_steps(config, 9)
    given = torch.from_numpy(tokens)[None].long()
    with torch.no_grad():
        reference = model(given, torch.from_numpy(actions)[None].long())[0]
        nats = model.nats(reference, given[0, 1:, torch.from_numpy(model.layout.places)])
    decoder = decoder_of(model, backend)
    decoder.open(list(tokens[:2]), list(actions[:1]))
    for index in range(2, 9):
        _, logits = decoder.decode(actions[index - 1], GREEDY, 0, index, forced=tokens[index])
        assert abs(logits - reference[index - 1].numpy()).max() < 1e-4
    return Trained(model, decoder, tokens, actions, reference, nats)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_detail_code_is_decoded_as_it_was_trained(backend):
    """Forced logits equal the training pass, whose loss is that of tokens of two parts; and what is drawn from them
    follows their joint distribution."""
    trained = decoded_as_trained(with_detail(tiny_config()), backend)
    model, decoder, reference, tokens = trained.model, trained.decoder, trained.logits, trained.tokens
    assert reference.shape[-1] == 16 + 6
    row, chain = reference[3, 4].double(), model.chain.double()
    joint = torch.log_softmax(row[:16], -1)[:, None] + torch.log_softmax(row[16:] + chain, -1)  # (main, detail)
    token = int(tokens[4, model.layout.places[4]])
    assert float(trained.nats[3, 4]) == pytest.approx(-float(joint[token % 16, token // 16]), abs=1e-4)
    many = np.tile(reference[3, 4].numpy(), (40_000, 1))
    drawn = decoder.draw(many, Sampler(1.0, 0, 1.0), 7, 0, np.arange(40_000) * 2 * model.layout.image)
    counts = np.bincount(drawn, minlength=96).reshape(6, 16).T / 40_000
    assert abs(counts - joint.exp().numpy()).max() < 0.012
    # Both parts of a token reach what comes after it.
    for changed in (tokens[3] // 16 * 16 + (tokens[3] + 1) % 16, (tokens[3] + 16) % 96):
        assert abs(trained.logits_after(changed) - reference[3]).max() > 1e-3


@pytest.mark.parametrize("backend", BACKENDS)
def test_signs_are_decoded_as_they_were_trained(backend):
    """Forced logits equal the training pass; its loss is that of each sign given those before it, as is what is drawn;
    and each sign of a token reaches what comes after it."""
    trained = decoded_as_trained(with_signs(tiny_config()), backend)
    model, decoder, reference, tokens = trained.model, trained.decoder, trained.logits, trained.tokens
    signs, row, chain = len(model.parts), reference[3, 4].double(), model.chain.double()
    assert reference.shape[-1] == 2 * signs
    assert chain.shape == (2 * signs - 2, 2 * signs - 2)

    def share(sign: int, before: list[int]) -> float:
        """Of its being set, after the signs `before`."""
        columns = slice(2 * sign - 2, 2 * sign)
        told = sum((chain[2 * place + value, columns] for place, value in enumerate(before)), torch.zeros(2))
        return float((row[2 * sign : 2 * sign + 2] + (told if sign else 0)).softmax(-1)[1])

    token = int(tokens[4, model.layout.places[4]])
    own = [token >> sign & 1 for sign in range(signs)]
    shares = [share(sign, own[:sign]) for sign in range(signs)]
    likelihood = math.prod(share if value else 1 - share for share, value in zip(shares, own, strict=True))
    assert float(trained.nats[3, 4]) == pytest.approx(-math.log(likelihood), abs=1e-3)
    many = np.tile(reference[3, 4].numpy(), (40_000, 1))
    drawn = decoder.draw(many, Sampler(1.0, 0, 1.0), 7, 0, np.arange(40_000) * signs * model.layout.image)
    for first in range(8):
        before = [first & 1, first >> 1 & 1, first >> 2 & 1]
        alike = drawn[drawn % 8 == first]
        assert abs((alike >> 3 & 1).mean() - share(3, before)) < 4 * (0.25 / len(alike)) ** 0.5
    greedy: list[int] = []
    for sign in range(signs):
        greedy.append(int(share(sign, greedy) > 0.5))
    likeliest = sum(value << sign for sign, value in enumerate(greedy))
    assert (decoder.draw(many[:3], GREEDY, 7, 0, np.arange(3)) == likeliest).all()
    assert model.guessed(reference[3, 4][None], torch.tensor([likeliest]))
    for sign in range(signs):
        assert not model.guessed(reference[3, 4][None], torch.tensor([likeliest ^ 1 << sign]))
        assert abs(trained.logits_after(tokens[3] ^ 1 << sign) - reference[3]).max() > 1e-3


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("order", "offsets"), [("diagonal-1", (1, 2, 4)), ("rows", (1, 3, 7)), ("raster", (1,)), ("diagonal-2", (1, 2, 9))]
)
def test_forced_decoding_over_far_offsets_equals_training(order, offsets, backend, guided):
    """Until the ring has rolled three times, from a context that is shorter than the offsets reach."""
    config = tiny_config(order, offsets)
    model = tiny_transformer(config)
    frames = 3 * config.transformer.window + 2
    tokens, actions = random_steps(config, frames)
    with torch.no_grad():
        reference = model(torch.from_numpy(tokens)[None].long(), torch.from_numpy(actions)[None].long())[0].numpy()
    decoder = FrameDecoder(config, InputTables.of(model), BACKENDS[backend](model, guided=guided))
    decoder.open(list(tokens[:2]), list(actions[:1]))
    for index in range(2, frames):
        _, logits = decoder.decode(actions[index - 1], GREEDY, 0, index, forced=tokens[index])
        assert abs(logits - reference[index - 1]).max() < 1e-4
    assert decoder.filled == config.transformer.window


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("offsets", [(1, 2), (1, 2, 6)])
@pytest.mark.parametrize("order", ["diagonal-1", "rows"])
def test_guidance_moves_the_logits_away_from_those_of_no_action(order, offsets, backend):
    """Against two training passes: one with the true actions, one without the last of them. Frames that are guided and
    frames that are not take turns: the other lane must leave no trace."""
    config = tiny_config(order, offsets)
    model = tiny_transformer(config)
    tokens, actions = random_steps(config, 12)
    encode = config.action_tokenizer().encode
    for index, buttons in enumerate([{"use"}, {"attack", "forward"}, set()] * 4):
        action = Action(frozenset(buttons), pitch=index - 4.0, yaw=5.0)
        actions[index] = encode(action if index != 3 else NO_ACTION)

    def logits_of(taken):
        with torch.no_grad():
            return model(torch.from_numpy(tokens)[None].long(), torch.from_numpy(taken)[None].long())[0].numpy()

    reference = logits_of(actions)
    decoder = decoder_of(model, backend)
    decoder.open(list(tokens[:2]), list(actions[:1]))
    for index in range(2, 12):
        strength = 0.0 if index % 3 == 2 else 0.7
        sampler = Sampler(1.0, 0, 1.0, strength)
        _, logits = decoder.decode(actions[index - 1], sampler, 0, index, forced=tokens[index])
        without = actions.copy()
        without[index - 1] = encode(NO_ACTION)
        true, nothing = reference[index - 1], logits_of(without)[index - 1]
        assert abs(logits - (true + strength * (true - nothing))).max() < 2e-4
        assert (abs(true - nothing).max() > 1e-3) == (index != 4)  # the test can fail


@pytest.mark.parametrize("offsets", [(1, 2), (1, 2, 6), (1, 3, 4)])
@pytest.mark.parametrize("order", ["diagonal-1", "rows"])
def test_what_had_been_without_an_action_is_computed_of_all_frames_at_once(order, offsets):
    config = tiny_config(order, offsets)
    model = tiny_transformer(config)
    drawn, done = random_steps(config, 12)
    tokens, actions = torch.from_numpy(drawn)[None].long(), torch.from_numpy(done)[None].long()
    idle = torch.from_numpy(config.action_tokenizer().encode(NO_ACTION)).long()
    with torch.no_grad():
        inputs = []
        true = model(tokens, actions, inputs=inputs)
        made = Beside(model, 12, tokens.device).logits(tokens, inputs)
        for index in range(11):
            without = actions.clone()
            without[:, index] = idle
            wanted = model(tokens, without)[:, index]
            assert abs(made[:, index] - wanted).max() < 2e-4
            assert abs(true[:, index] - wanted).max() > 1e-3  # the test can fail


def test_a_step_without_an_action_is_not_guided():
    config = tiny_config()
    guidance, encode = Guidance(config), config.action_tokenizer().encode
    idle = encode(NO_ACTION)
    for action in (Action(frozenset({"use"})), Action(frozenset({"sneak", "forward"})), Action(yaw=5.0)):
        assert np.array_equal(guidance.away_from(encode(action), Sampler(guidance=0.1)), idle)
        assert guidance.away_from(encode(action), Sampler()) is None
    assert guidance.away_from(idle, Sampler(guidance=0.1)) is None


@pytest.mark.parametrize(
    ("offsets", "seen"), [((1, 2), {4, 5, 6, 7}), ((1, 3), {3, 4, 5, 6, 7}), ((1, 5), {1, 2, 5, 6, 7})]
)
def test_the_context_reaches_where_it_says(offsets, seen):
    """With one layer, only the frames that the offsets name have an influence, and the one before each of them."""
    config = tiny_config(offsets=offsets, layers=1)
    model = tiny_transformer(config)
    tokens, actions = random_steps(config, 8)

    def last_logits(values):
        with torch.no_grad():
            return model(torch.from_numpy(values)[None].long(), torch.from_numpy(actions)[None].long())[0, -1].numpy()

    def changed(frame):
        other = tokens.copy()
        other[frame] = (other[frame] + 1) % 16
        return abs(last_logits(other) - last_logits(tokens)).max()

    # Each block's inputs hold the tokens of the frame before (previous_frame).
    assert {frame for frame in range(8) if changed(frame) > 1e-4} == seen
    assert all(changed(frame) == 0 for frame in set(range(8)) - seen)


@pytest.mark.parametrize("plain", [False, True])
def test_input_tables_equal_the_modules_embeddings(plain):
    extra = {"previous_frame": False, "action_input": False, "place_embedding": False} if plain else {}
    if plain:
        extra |= {"rotary": "sequence", "rotary_theta": (10000.0,)}
    config = tiny_config(**extra)
    model = tiny_transformer(config)
    tables, layout = InputTables.of(model), model.layout
    tokens, actions = random_steps(config, 3)
    blocks = model.embed_blocks(torch.from_numpy(tokens)[None].long(), torch.from_numpy(actions)[None].long())[
        0
    ].numpy()
    whole = slice(0, layout.image)
    for index in range(3):
        previous, action = (tokens[index - 1], actions[index - 1]) if index else (None, None)
        made = tables.image(layout, whole, tokens[index], previous, action)
        assert abs(made - blocks[index, : layout.image]).max() < 1e-5
        assert abs(tables.outro(layout, tokens[index], actions[index]) - blocks[index, layout.image :]).max() < 1e-5


def test_plain_mineworld_layout_decodes_exactly_too():
    config = tiny_config(
        rotary="sequence", rotary_theta=(10000.0,), previous_frame=False, action_input=False, place_embedding=False
    )
    model = tiny_transformer(config)
    tokens, actions = random_steps(config, 9)
    with torch.no_grad():
        reference = model(torch.from_numpy(tokens)[None].long(), torch.from_numpy(actions)[None].long())[0].numpy()
    decoder = decoder_of(model)
    decoder.open(list(tokens[:1]), [])
    for index in range(1, 9):
        _, logits = decoder.decode(actions[index - 1], GREEDY, 0, index, forced=tokens[index])
        assert abs(logits - reference[index - 1]).max() < 1e-4


def test_reopening_rebuilds_the_same_context():
    """A context longer than the window opens to what its last frames alone give."""
    config = tiny_config()
    model = tiny_transformer(config)
    tokens, actions = random_steps(config, 7)
    long, short = decoder_of(model), decoder_of(model)
    long.open(list(tokens), list(actions[:6]))
    short.open(list(tokens[-3:]), list(actions[4:6]))
    a, b = (d.decode(actions[6], GREEDY, 0, 0, forced=tokens[0])[1] for d in (long, short))
    assert abs(a - b).max() < 1e-5
    with pytest.raises(ValueError, match="n - 1 actions"):
        long.open(list(tokens), list(actions))


def test_engines_agree_on_greedy_tokens():
    config = tiny_config()
    model = tiny_transformer(config)
    tokens, actions = random_steps(config, 50)
    made = {}
    for name in BACKENDS:
        decoder = decoder_of(model, name)
        decoder.open(list(tokens[:2]), list(actions[:1]))
        made[name] = np.stack([decoder.decode(action, GREEDY, 0, i)[0] for i, action in enumerate(actions)])
    assert (made["eager"] == made["openvino"]).all()


def test_same_seed_same_tokens():
    config = tiny_config()
    model = tiny_transformer(config)
    tokens, actions = random_steps(config, 6)

    def play(seed):
        decoder = decoder_of(model)
        decoder.open(list(tokens[:1]), [])
        torch.rand(3)  # whatever else draws random numbers
        return np.stack([decoder.decode(action, Sampler(), seed, i)[0] for i, action in enumerate(actions)])

    assert (play(1) == play(1)).all()
    assert (play(1) != play(2)).any()


def test_cpu_attention_equals_the_librarys():
    model = tiny_transformer(tiny_config())
    attention = WindowAttention(model, 5, torch.device("cpu"))
    torch.manual_seed(0)
    q = torch.randn(10, 2, 2 * attention.length, 16)
    k, v = torch.randn(2, 10, 2, 3 * attention.length, 16)
    mask = attention.bias.repeat(2, 2, 1).unsqueeze(1)
    library = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    assert (attention.attend(q, k, v) - library).abs().max() < 1e-5
