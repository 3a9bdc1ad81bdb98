"""The compiled attention of training is the dense mask's, forward and backward, whatever the processor has."""

import shutil

import numpy as np
import pytest
import torch
from clips import stored_clip, token_clip
from conftest import TINY_TOKENIZER, random_steps, tiny_config, tiny_transformer

from kernels.clip_attention import ClipMask, clip_attention
from kernels.native import compiled
from kernels.native_build import COMPILERS, own_paths
from worldmodel.model import compiled_attention
from worldmodel.model.compiled_attention import CompiledAttention
from worldmodel.model.transformer import WindowAttention
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.training import world
from worldmodel.training.world import WorldTraining, train_world
from worldmodel.types import WorldModelError

needs_compiler = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="needs a C++ compiler")
PATHS = [path for path in ("amx", "portable") if path in own_paths()]
SIZES = {"heads": 4, "kv_heads": 2, "head_dim": 32}


def near(made, wanted, share):
    assert (made.float() - wanted).norm() < share * wanted.norm()


@needs_compiler
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("offsets", "frames", "clips"), [((1, 3), 5, 2), ((1, 2, 4), 3, 1), ((1,), 4, 3), ((1,), 1, 1)]
)
def test_it_gives_what_the_dense_mask_gives_and_its_gradients(path, offsets, frames, clips):
    model = tiny_transformer(tiny_config("diagonal-2", offsets, **SIZES))
    layout, device = model.layout, torch.device("cpu")
    generator = torch.Generator().manual_seed(0)
    q, k, v, gradient = (
        torch.randn(clips, frames * layout.length, heads, 32, generator=generator, requires_grad=True)
        for heads in (4, 2, 2, 4)
    )
    seen, kept = np.ascontiguousarray(layout.mask, np.uint8), np.ones(layout.length, np.uint8)
    kept[1::3] = 0
    dense = WindowAttention(model, frames, device)
    hidden = torch.from_numpy(np.concatenate([*[kept == 0] * (dense.attended - 1), np.zeros(layout.length, np.bool_)]))
    dense.bias = dense.bias.masked_fill(hidden, -1e9)
    mask = ClipMask(frames, np.asarray([offset for offset in offsets if offset < frames], np.int32), seen, kept)
    wanted = dense(q, k, v)
    made = clip_attention(compiled(path), mask, q, k, v)
    near(made, wanted, 0.01)
    ours, theirs = (torch.autograd.grad(x, (q, k, v), gradient.to(x.dtype)) for x in (made, wanted))
    for own, its in zip(ours, theirs, strict=True):
        near(own, its, 0.01)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    again = clip_attention(compiled(path), mask, q, k, v)
    torch.set_num_threads(threads)
    assert torch.equal(again, made)


@needs_compiler
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("times", [30, 1000])
def test_shares_are_right_where_an_older_frame_outweighs_the_own_by_far(path, times):
    model = tiny_transformer(tiny_config("diagonal-2", (1, 2), **SIZES))
    layout, device = model.layout, torch.device("cpu")
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(1, 3 * layout.length, heads, 32, generator=generator) for heads in (4, 2, 2))
    k[:, : layout.length] *= times  # the others' shares are nothing, whatever the own frame's scores
    mask = ClipMask(3, np.asarray((1, 2), np.int32), layout.mask.astype(np.uint8), np.ones(layout.length, np.uint8))
    q, k, v = (x.bfloat16().float().requires_grad_() for x in (q, k, v))
    made, wanted = clip_attention(compiled(path), mask, q, k, v), WindowAttention(model, 3, device)(q, k, v)
    near(made, wanted, 0.01)
    ours, theirs = (torch.autograd.grad(x.float().sum(), (q, k, v)) for x in (made, wanted))
    near(ours[2], theirs[2], 0.01)
    assert all(gradient.isfinite().all() for gradient in ours)


@needs_compiler
def test_a_model_learns_the_same_with_it(monkeypatch):
    monkeypatch.setattr(compiled_attention, "tile_library", lambda: compiled("portable"))
    config = tiny_config("diagonal-2", (1, 3), **SIZES)
    tokens, actions = (torch.from_numpy(np.asarray(x, np.int64))[None] for x in random_steps(config, 5))

    def gradients(whole_clips):
        model = tiny_transformer(config).requires_grad_(True)
        model.whole_clips = whole_clips
        logits = model(tokens, actions)
        model.nats(logits, world.targets_of(tokens, model)).mean().backward()
        return logits, model.layers[0].q_proj.weight.grad, model.embed_tokens.weight.grad

    for made, wanted in zip(gradients(CompiledAttention), gradients(WindowAttention), strict=True):
        near(made, wanted.detach(), 0.03)


@pytest.mark.parametrize("tiles", [True, False])
def test_it_is_taken_where_it_can_be_had(monkeypatch, tiles, tmp_path):
    monkeypatch.setattr(compiled_attention, "tile_library", lambda: object() if tiles else None)
    monkeypatch.setattr(world, "computes_bf16", lambda _: True)
    config, cpu = tiny_config(**SIZES), torch.device("cpu")

    def taken(**options):
        return world.attention_of(WorldTraining(**options), config, cpu)

    assert taken() is (CompiledAttention if tiles else WindowAttention)
    assert taken(bf16=False) is taken(attention="dense") is WindowAttention
    with pytest.raises(WorldModelError, match="in bf16 on a CPU alone"):
        taken(bf16=False, attention="compiled")
    if not tiles:
        options = WorldTraining(steps=1, clip=5, attention="compiled")
        arguments = config, options, ImageTokenizer(TINY_TOKENIZER), [token_clip()], [(stored_clip(), token_clip())]
        with pytest.raises(WorldModelError, match=r"has no tiles.*leave --attention at auto"):
            train_world(*arguments, tmp_path / "run")
