"""The laboratory's decode orders, context policies and packings: decoding computes what training did, for each."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kernels.sampling import Sampler
from worldmodel.config import TransformerConfig
from worldmodel.data.frames import StoredClip
from worldmodel.engine.decoder import FrameDecoder, InputTables
from worldmodel.engine.host.eager import EagerBackend
from worldmodel.lab.blocks import FAR, Blocks, farthest, lab_layout
from worldmodel.lab.codes import Codes, SubCode
from worldmodel.lab.decoder import LabDecoder
from worldmodel.lab.packing import Packed, Packing
from worldmodel.lab.sequence import LabTransformer, world_config
from worldmodel.lab.train_world import JUDGED, own_draws
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.types import BUTTONS

ROWS, COLUMNS, CODES, FRAMES = 3, 6, 7, 7
SMALL = TransformerConfig(hidden=32, mlp=48, layers=2, heads=2, kv_heads=1, head_dim=16, offsets=(1, 2, 4))
POLICIES = {
    "all": Blocks(),
    "summary": Blocks(old="summary", rows=2, whole=1),
    "lattice": Blocks(old="lattice", whole=1),
    "changed": Blocks(old="changed", whole=1),
    "diverse": Blocks(old="diverse", rows=5, whole=1),
}


def a_model(blocks: Blocks, extra: int = 0, radices=(CODES,)) -> LabTransformer:
    torch.manual_seed(0)
    model = LabTransformer(
        world_config((ROWS, COLUMNS), radices, SMALL), radices, len(radices) > 1, False, blocks, extra
    )
    with torch.no_grad():  # places and summaries that differ
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def a_clip(model: LabTransformer):
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, CODES, (FRAMES, model.layout.order.tokens))
    tokens[1:, ::3] = tokens[:-1, ::3]  # some do not change
    actions = sum(model.radices) + rng.integers(0, 5, (FRAMES, 11))
    return tokens.astype(np.int32), actions.astype(np.int32)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("order", "extra"), [*((name, 0) for name in FAR), ("far-8", 2), ("diagonal-1", 0),
                                              ("diagonal-1", 3), ("rows", 2), ("raster", 0)])  # fmt: skip
def test_forced_decoding_is_the_training_pass(order, extra, policy):
    model = a_model(replace(POLICIES[policy], order=order), extra)
    tokens, actions = a_clip(model)
    given, done = torch.from_numpy(tokens).long()[None], torch.from_numpy(actions).long()[None]
    with torch.no_grad():
        whole = model.hidden(given, done)[0][:, torch.from_numpy(model.layout.queries)].numpy()
    decoder = LabDecoder(model)
    pair = np.stack([tokens, tokens[::-1]]), np.stack([actions, actions[::-1]])  # another session beside it
    decoder.open(pair[0][:, :2], pair[1][:, :1])
    for at in range(2, FRAMES):
        drawn, hidden = decoder.decode(pair[1][:, at - 1], Sampler(), 0, at, forced=pair[0][:, at])
        assert np.array_equal(drawn, pair[0][:, at])
        np.testing.assert_allclose(hidden[0], whole[at], atol=1e-4)
    decoder.open(tokens[None, :5], actions[None, :4])  # opened in one go: the same
    _, hidden = decoder.decode(actions[None, 4], Sampler(), 0, 0, forced=tokens[None, 5])
    np.testing.assert_allclose(hidden[0], whole[5], atol=1e-4)


@pytest.mark.parametrize(("order", "extra"), [("far-8", 0), ("far-8", 3), ("diagonal-1", 3), ("raster", 0)])
def test_every_token_is_asked_for_once_and_then_seen(order, extra):
    layout = lab_layout(Blocks(order=order), ROWS, COLUMNS, extra)
    assert sorted(layout.places[layout.queries]) == list(range(ROWS * COLUMNS + extra))
    seen = layout.carried[layout.seen(Blocks(order=order), 1)]
    assert set(seen[seen >= 0]) == set(range(ROWS * COLUMNS + extra))
    assert len(layout.rank) == layout.length == len(layout.coordinates)
    for slot, source in enumerate(layout.sources):  # what a row is fed was asked for in an earlier pass
        if source >= 0:
            asked = layout.queries[layout.places[layout.queries] == source][0]
            assert layout.rank[asked] < layout.rank[slot]


def test_far_groups_lie_far_apart_and_old_rows_are_fewer():
    layout = lab_layout(Blocks(order="far-8"), 7, 12, 0)
    assert layout.order.passes == 8
    for group in layout.order.groups:
        places = np.array([divmod(place, 12) for place in group])
        between = np.abs(places[:, None] - places[None]).max(-1) + 9 * np.eye(len(places))
        assert between.min() >= 2
    old = {name: lab_layout(blocks, 7, 12, 0).seen(blocks, 3).sum() for name, blocks in POLICIES.items()}
    assert old["summary"] == 2
    assert old["lattice"] < old["all"]


def test_farthest_vectors_are_chosen():
    vectors = torch.tensor([[0.0, 0], [0.1, 0], [10, 0], [10, 0.1], [0, 9]])
    chosen = farthest(vectors, 3)
    assert chosen.sum() == 3
    assert chosen[4]
    assert chosen[2] != chosen[3]
    assert chosen[0] != chosen[1]


def test_a_cut_context_sees_the_nearest_frames_alone():
    model = a_model(Blocks(any_length=True))
    tokens, actions = (torch.from_numpy(part).long()[None] for part in a_clip(model))
    other = tokens.clone()
    other[:, :4] = (other[:, :4] + 1) % CODES  # frame 6 attends to 5, 4 and 2
    with torch.no_grad():
        all_ = [model.hidden(given, actions)[:, 6] for given in (tokens, other)]
    assert not torch.allclose(all_[0], all_[1], atol=1e-4)
    # Through frames 4 and 5, that saw the earlier ones, all is seen: a single layer sees none of it.
    single = replace(SMALL, layers=1)
    model = LabTransformer(world_config((ROWS, COLUMNS), (CODES,), single), (CODES,), False, False, Blocks())
    with torch.no_grad():
        near = [model.hidden(given, actions, nearest=1)[:, 6] for given in (tokens, other)]
    torch.testing.assert_close(near[0], near[1])


def test_the_doubted_tokens_alone_are_drawn_again():
    model = a_model(Blocks(order="far-8", redo=3))
    tokens, actions = a_clip(model)
    once = LabDecoder(a_model(Blocks(order="far-8")))
    once.model.load_state_dict(model.state_dict(), strict=False)
    twice = LabDecoder(model)
    made = []
    for decoder in (once, twice):
        decoder.open(tokens[None, :2], actions[None, :1])
        made.append(decoder.decode(actions[None, 1], Sampler(top_p=1.0), 0, 0)[0][0])
    assert 1 <= (made[0] != made[1]).sum() <= 3
    # The next frame sees the frame as it was left.
    _, hidden = twice.decode(actions[None, 2], Sampler(), 0, 1, forced=tokens[None, 3])
    clip = torch.from_numpy(np.stack([tokens[0], tokens[1], made[1], tokens[3]])).long()[None]
    with torch.no_grad():
        whole = model.hidden(clip, torch.from_numpy(actions[:4]).long()[None])[0, -1].numpy()
    np.testing.assert_allclose(hidden[0], whole[model.layout.queries], atol=1e-4)


def test_the_plain_blocks_are_those_of_the_one_decode_path():
    model = a_model(Blocks())
    tokens, actions = a_clip(model)
    plain = VisualActionTransformer(model.config).eval()
    plain.load_state_dict({**model.state_dict(), "lm_head.weight": model.head.out[0].weight}, strict=False)
    given, done = (torch.from_numpy(part).long()[None] for part in (tokens, actions))
    with torch.no_grad():
        nats = plain.nats(plain(given, done), given[:, 1:, torch.from_numpy(plain.layout.places)])
        torch.testing.assert_close(model.loss(given, done, given), nats)
    one, other = FrameDecoder(model.config, InputTables.of(plain), EagerBackend(plain)), LabDecoder(model)
    one.open(list(tokens[:3]), list(actions[:2]))
    other.open(tokens[None, :3], actions[None, :2])
    for at in range(3, 6):
        drawn = one.decode(actions[at - 1], Sampler(), 3, at)[0]
        assert np.array_equal(drawn, other.decode(actions[None, at - 1], Sampler(), 3, at)[0][0])


def test_a_judge_learns_from_the_model_s_own_draws():
    model = a_model(Blocks(order="far-4", redo=2))
    tokens, actions = (torch.from_numpy(part).long()[None] for part in a_clip(model))
    drawn = own_draws(model, tokens, actions, torch.Generator().manual_seed(0))
    assert torch.equal(drawn[:, 0], tokens[:, 0])
    assert 0 < (drawn != tokens).float().mean() < 2 * JUDGED
    doubts, places = model.doubts(model.hidden(drawn, actions))
    assert doubts.shape == (1, FRAMES, len(places))
    assert set(places) == {place for group in model.layout.order.groups[:-1] for place in group}


def stored_clip(frames) -> StoredClip:
    steps = len(frames)
    camera = np.zeros((steps, 2), np.float32)
    camera[:, 0] = 30
    return StoredClip("a", frames, np.zeros((steps, len(BUTTONS)), bool), camera, np.zeros(steps, np.int32))


@pytest.mark.parametrize("packing", [Packing(), Packing(fuse=2), Packing(states=("pitch", "light", "slot", "outline"))])
def test_packed_tokens_come_back_and_noise_is_near(packing):
    rng = np.random.default_rng(0)
    quantizer = Codes((SubCode(levels=(4, 3)),)).eval()
    clip = stored_clip(rng.integers(0, 255, (5, 48, 96, 3), dtype=np.uint8))
    codes = rng.integers(0, 12, (5, 18))
    packed = packing.pack(codes, clip, 12)
    assert packed.shape == (5, 18 // packing.fuse + packing.extra)
    assert np.array_equal(packing.unpack(packed, 12), codes)
    near = Packed(quantizer, packing).neighbours(torch.from_numpy(packed).long()).numpy()
    assert np.array_equal(near[:, : packing.extra], packed[:, : packing.extra])
    changed = packing.unpack(near, 12) != codes
    assert changed.sum() == 5 * 18 // packing.fuse
    if packing.states:
        assert packed[:, 0].tolist() == [8, 10, 13, 15, 15]  # 30 degrees a step, up to 90
        assert packed[:, 2].max() < 9


def test_thinned_codes_change_where_the_picture_does():
    frames = np.zeros((4, 32, 32, 3), np.uint8)
    frames[2:, :16, :16] = 200
    codes = np.arange(16).reshape(4, 4)
    thin = Packing(still=2.0).thinned(codes, stored_clip(frames), (2, 2))
    assert thin.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3], [8, 1, 2, 3], [8, 1, 2, 3]]
    assert Packing().thinned(codes, stored_clip(frames), (2, 2)).tolist() == codes.tolist()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="old is one of"):
        Blocks(old="none")
    with pytest.raises(ValueError, match="have a number"):
        Blocks(old="summary")
    with pytest.raises(ValueError, match="content rows"):
        Blocks(redo=8)
    with pytest.raises(ValueError, match="states are"):
        Packing(states=("weather",))
    with pytest.raises(ValueError, match="fused"):
        Packing(fuse=2).table((3, 5))
