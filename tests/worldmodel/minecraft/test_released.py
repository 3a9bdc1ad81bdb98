"""MineWorld's weights: read, compared with the libraries they were made with, and decoded as its own code does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kernels.sampling import Sampler, sample
from tests.conftest import random_steps, tiny_transformer
from tests.released import (
    CHANNELS,
    CODES,
    DIM,
    HEAD_DIM,
    HEADS,
    HEIGHT,
    HIDDEN,
    KV_HEADS,
    LAYERS,
    MLP,
    WIDTH,
    released_config,
    tokenizer_tensors,
    transformer_tensors,
    write_files,
)
from worldmodel.checkpoint import CheckpointError, read_config
from worldmodel.config import ImageTokenizerConfig
from worldmodel.decode_order import parse_order
from worldmodel.engine.host.eager_sequences import EagerSequences
from worldmodel.engine.released import ReleasedDecoder
from worldmodel.minecraft.released_sizes import Reading
from worldmodel.minecraft.weights import Files, import_weights
from worldmodel.model.loading import load_config, load_world_model
from worldmodel.model.released import angles
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.training.world import targets_of

READING = Reading(order="released-raster", height=HEIGHT, width=WIDTH, keep=2)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("mineworld"))


@pytest.fixture(scope="module")
def imported(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("imported")
    import_weights(
        Files(files["model.ckpt"], files["vae.ckpt"], files["config.json"], files["model.yaml"]), READING, out
    )
    return out


# The libraries


def test_the_image_tokenizer_is_that_of_diffusers(imported):
    diffusers = pytest.importorskip("diffusers", reason="the diffusers library is not installed")
    theirs = diffusers.VQModel(
        down_block_types=("DownEncoderBlock2D",) * 5,
        up_block_types=("UpDecoderBlock2D",) * 5,
        block_out_channels=CHANNELS,
        layers_per_block=2,
        latent_channels=DIM,
        num_vq_embeddings=CODES,
        norm_num_groups=32,
        mid_block_add_attention=False,
        lookup_from_codebook=True,
    ).eval()
    theirs.load_state_dict(tokenizer_tensors())  # strict: these are its names and shapes
    ours = load_world_model(imported).tokenizer
    pixels = torch.rand(3, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(5)) * 2 - 1
    with torch.inference_mode():
        latents = theirs.encode(pixels).latents
        codes = theirs.quantize(latents)[2][2].view(3, -1)
        picture = theirs.decode(codes, force_not_quantize=True, shape=(3, HEIGHT // 16, WIDTH // 16, DIM)).sample
        assert len(codes.unique()) > 5
        assert torch.equal(ours.encode(pixels), codes)
        torch.testing.assert_close(ours.decode(codes), picture, atol=1e-4, rtol=0)
    assert picture.std() > 0.1


def test_the_transformer_is_that_of_transformers(imported):
    transformers = pytest.importorskip("transformers", reason="the transformers library is not installed")
    sizes = transformers.LlamaConfig(
        vocab_size=CODES + 70,
        hidden_size=HIDDEN,
        intermediate_size=MLP,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=HEAD_DIM,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        max_position_embeddings=104,
        tie_word_embeddings=False,
        attn_implementation="eager",
    )
    theirs = transformers.LlamaForCausalLM(sizes).eval()
    theirs.load_state_dict(transformer_tensors())
    model = load_world_model(imported)
    tokens, actions = random_steps(model.config, 4, 2)
    sequence = np.concatenate([np.concatenate([t, a]) for t, a in zip(tokens, actions, strict=True)])
    with torch.inference_mode():
        logits = theirs(torch.from_numpy(sequence).long()[None]).logits[0, :, :CODES].view(4, 26, CODES)
        ours = model.transformer(torch.from_numpy(tokens).long()[None], torch.from_numpy(actions).long()[None])[0]
    wanted = torch.cat([logits[:-1, -1:], logits[1:, :14]], 1)  # read off the token before
    torch.testing.assert_close(ours, wanted, atol=1e-4, rtol=0)
    assert wanted.std() > 0.1


# The files


def test_what_is_imported_is_an_ordinary_checkpoint(files, imported):
    config = load_config(imported)
    assert config == released_config(legacy_camera=True)
    assert read_config(imported)["sampling"] == {"temperature": 1.0, "top_p": 0.8}
    model = load_world_model(imported)
    tensors = transformer_tensors()
    assert torch.equal(model.transformer.layers[1].down_proj.weight, tensors["model.layers.1.mlp.down_proj.weight"])
    assert torch.equal(model.transformer.lm_head.weight, tensors["lm_head.weight"][:CODES])
    assert torch.equal(model.tokenizer.quantizer.codebook, tokenizer_tensors()["quantize.embedding.weight"])


def test_the_shapes_tell_what_no_file_does(files, tmp_path):
    sizes = {"hidden": HIDDEN, "mlp": MLP, "layers": LAYERS}
    with pytest.raises(CheckpointError, match=r"down_blocks\.0\.resnets\.0\.norm1\.weight \(32,\) instead of \(128,\)"):
        import_weights(Files(files["model.ckpt"], config=files["model.yaml"]), READING, tmp_path)
    config = import_weights(
        Files(files["model.ckpt"], None, files["config.json"], files["model.yaml"]), READING, tmp_path
    )
    assert {name: getattr(config.transformer, name) for name in sizes} == sizes


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.pop("transformer.model.norm.weight"), "1 missing tensors: transformer.model.norm.weight"),
        (
            lambda s: s.update({"tokenizer.loss.logvar": torch.zeros(1)}),
            r"1 extra tensors: tokenizer.loss.logvar \(--drop-extra leaves them out\)",
        ),
        (
            lambda s: s.update({"transformer.model.layers.1.mlp.up_proj.weight": torch.zeros(3, HIDDEN)}),
            rf"1 misshapen tensors: transformer.model.layers.1.mlp.up_proj.weight \(3, 32\) instead of \({MLP}, 32\)",
        ),
        (lambda s: s.update({"transformer.lm_head.weight": torch.zeros(110, HIDDEN, dtype=torch.int64)}), "int64"),
        (lambda s: s.update({"transformer.model.norm.weight": torch.full((HIDDEN,), torch.nan)}), "not finite"),
        (lambda s: s.pop("tokenizer.model.quantize.embedding.weight"), "is it MineWorld's file"),
        (lambda s: s.update({"transformer.model.embed_tokens.weight": torch.zeros(9, HIDDEN)}), "vocabulary of 9"),
    ],
    ids=["missing", "extra", "misshapen", "whole numbers", "nan", "another file", "vocabulary"],
)
def test_tensors_that_are_not_the_models(files, tmp_path, change, told):
    state = torch.load(files["model.ckpt"], weights_only=True)["state_dict"]
    change(state)
    torch.save({"state_dict": state}, tmp_path / "odd.ckpt")
    given = Files(tmp_path / "odd.ckpt", None, files["config.json"], files["model.yaml"])
    with pytest.raises(CheckpointError, match=told):
        import_weights(given, READING, tmp_path / "out")
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_extra_tensors_can_be_left_out(files, imported, tmp_path):
    state = torch.load(files["model.ckpt"], weights_only=True)["state_dict"]
    torch.save({"state_dict": {**state, "loss.weight": torch.zeros(2)}}, tmp_path / "more.ckpt")
    given = Files(tmp_path / "more.ckpt", None, files["config.json"], files["model.yaml"])
    import_weights(given, READING, tmp_path / "out", drop_extra=True)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (imported / "model.safetensors").read_bytes()


class Hostile:
    def __reduce__(self):
        return (print, ("run!",))


def test_a_file_that_asks_to_run_something_is_refused(files, tmp_path, capsys):
    torch.save({"state_dict": {}, "hyper_parameters": Hostile()}, tmp_path / "hostile.ckpt")
    with pytest.raises(CheckpointError, match="not a file of weights alone"):
        import_weights(Files(tmp_path / "hostile.ckpt"), READING, tmp_path / "out")
    assert "run!" not in capsys.readouterr().out


# A billion of them, once it is printed.
LAUGHS = (
    "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    + "model: {params: {transformer_config: {params: {hidden_size: *a8}}}}\n"
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model: !!python/object/apply:os.system ['true']", "not plain YAML"),
        ("model: {params: {}}", "no model.params.transformer_config in it"),
        ("[" * 2000, "not plain YAML"),
        (
            "model: {params: {transformer_config: {params: {hidden_size: [1]}}}}",
            r"hidden_size must be a number above 0",
        ),
        ("model: {params: {transformer_config: {params: {hidden_size: 64}}}}", "hidden is 64, but the weights have 32"),
        ("model: {params: {transformer_config: {params: {hidden_size: .nan}}}}", "hidden_size must be a number"),
        (LAUGHS, "an alias, which stands for another place, is not read"),
        (f"model: 1{':59' * 500}.5", "not plain YAML"),
        (f"model: !!python/{'9' * 5000} 1", "not plain YAML"),
    ],
    ids=["object", "another", "deep", "list", "size", "nan", "laughs", "sexagesimal", "long"],
)
def test_a_yaml_that_cannot_be_used(files, tmp_path, text, told):
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(CheckpointError, match=told) as refused:
        import_weights(Files(files["model.ckpt"], config=tmp_path / "odd.yaml"), READING, tmp_path / "out")
    assert len(str(refused.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"act_fn": "relu"}, 'act_fn is "relu", only "silu" is read'),
        ({"mid_block_add_attention": True}, "mid_block_add_attention is true"),
        ({"latent_channels": 4}, f"latent_channels is 4, but the weights have {DIM}"),
        ({"block_out_channels": [32, 64]}, "pyramid must have 5 resolutions"),
    ],
)
def test_a_tokenizer_that_is_built_otherwise(files, tmp_path, values, told):
    import json

    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(files["config.json"].read_text()), **values}))
    with pytest.raises(Exception, match=told):
        import_weights(Files(files["model.ckpt"], None, path, files["model.yaml"]), READING, tmp_path / "out")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_importing_takes_no_second_copy(tmp_path):
    """Peak memory below 1.3 times the file, over what the program itself takes."""
    import subprocess
    import sys

    script = """
import sys
from pathlib import Path
from worldmodel.minecraft.released_sizes import Reading
from worldmodel.minecraft.weights import Files, import_weights

def memory(what):  # of this process alone: ru_maxrss begins with that of the one which started it
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) * 1024

folder = Path(sys.argv[1])
given = Files(folder / "model.ckpt", None, folder / "config.json", folder / "model.yaml")
import_weights(given, Reading(height=48, width=80), folder / "small")  # what the program itself takes
Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
before = memory("VmRSS")
import_weights(Files(folder / "big.ckpt", None, folder / "config.json"), Reading(height=48, width=80), folder / "out")
print(memory("VmHWM") - before)
"""
    paths = write_files(tmp_path)
    state = torch.load(paths["model.ckpt"], weights_only=True)["state_dict"]
    state |= {f"transformer.{name}": tensor for name, tensor in transformer_tensors(layers=5).items()}
    wide = {}
    for name, tensor in state.items():  # a hidden size of 1024, of which all matrices have their share
        shape = [{HIDDEN: 1024, MLP: 1536, KV_HEADS * HEAD_DIM: 256}.get(n, n) for n in tensor.shape]
        wide[name] = torch.zeros(shape) if name.startswith("transformer.") else tensor
    torch.save({"state_dict": wide}, tmp_path / "big.ckpt")
    size = (tmp_path / "big.ckpt").stat().st_size
    assert size > 150e6  # beside which what any import takes is little
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True, timeout=120
    )
    assert size / 2 < int(done.stdout) < 1.3 * size


# The orders


def test_a_released_order_needs_plain_inputs():
    config = released_config()
    with pytest.raises(ValueError, match="plain token inputs"):
        replace(config, transformer=replace(config.transformer, place_embedding=True))
    with pytest.raises(ValueError, match="keep must be at most half of the context's 4 frames"):
        released_config(keep=3)
    with pytest.raises(ValueError, match="unknown decode order"):
        parse_order("released-rows", 3, 5)


def eager_of(model):
    return ReleasedDecoder(model.config, EagerSequences(model))


class Restated:
    """The published algorithm, plainly: one array of keys and values a layer, zeros at first, filled token by token or
    diagonal by diagonal; thrown away when its frames are full, and filled again with the last `keep`."""

    def __init__(self, model, stand_in):
        self.model, self.stand_in, self.config = model, stand_in, model.config
        self.order = model.config.decode_order()
        self.width, self.P = self.order.width, self.order.tokens

    def reset(self, frames, actions):
        t = self.config.transformer
        self.frames, self.actions = list(frames), list(actions)
        self.cache = torch.zeros(t.layers, 2, t.window * (self.P + 11), t.kv_heads, t.head_dim)
        sequence = []
        for index, tokens in enumerate(frames):
            sequence += ([*actions[index - 1]] if index else []) + [*tokens]
        for position, token in enumerate(sequence[:-1]):
            self.feed([token], [position])
        self.waiting, self.at = sequence[-1], len(sequence) - 1

    def feed(self, tokens, positions):
        t = self.config.transformer
        cos, sin = angles(self.config, t.window * (self.P + 11), torch.device("cpu"))
        x = self.model.embed_tokens.weight[torch.as_tensor(np.asarray(tokens, np.int64))]

        def turn(v):
            a, b = v.chunk(2, -1)
            c, s = cos[positions][:, None], sin[positions][:, None]
            return torch.cat([a * c - b * s, b * c + a * s], -1)

        for number, layer in enumerate(self.model.layers):
            h = layer.input_layernorm(x)
            q = turn(layer.q_proj(h).view(len(x), t.heads, t.head_dim))
            self.cache[number, 0, positions] = turn(layer.k_proj(h).view(len(x), t.kv_heads, t.head_dim))
            self.cache[number, 1, positions] = layer.v_proj(h).view(len(x), t.kv_heads, t.head_dim)
            out = torch.zeros(len(x), t.heads, t.head_dim)
            for row, position in enumerate(positions):
                for head in range(t.heads):
                    keys, values = self.cache[number, :, : position + 1, head // (t.heads // t.kv_heads)]
                    share = torch.softmax(keys @ q[row, head] / t.head_dim**0.5, 0)
                    out[row, head] = share @ values
            x = x + layer.o_proj(out.flatten(1))
            h = layer.post_attention_layernorm(x)
            x = x + layer.down_proj(F.silu(layer.gate_proj(h)) * layer.up_proj(h))
        return self.model.lm_head(self.model.norm(x))

    def decode(self, action, draw):
        if len(self.frames) == self.config.transformer.window:
            keep = self.config.keep
            self.reset(self.frames[-keep:], self.actions[-(keep - 1) :] if keep > 1 else [])
        base = self.at + 12  # of the frame's first token
        logits = self.feed([self.waiting, *action], list(range(self.at, base)))[-1:]
        known = {0: draw(logits, [0])[0]}
        row_starts = range(self.width, self.P, self.width)
        step = 1
        k = 10**9 if self.order.name.endswith("raster") else int(self.order.name.rpartition("-")[2])
        while len(known) < self.P:
            if k == 10**9:
                places = [len(known)]
            else:
                places = [
                    r * self.width + step - r * k for r in range(self.order.height) if 0 <= step - r * k < self.width
                ]
            fed = []
            for place in places:
                if place - 1 in known:
                    fed.append(known[place - 1])
                elif self.stand_in == "frame-before":
                    assert place in row_starts
                    fed.append(self.frames[-1][place - 1])
                else:
                    fed.append(fed[-1])
            if places:
                logits = self.feed(fed, [base + place - 1 for place in places])
                known |= dict(zip(places, draw(logits, places), strict=True))
            step += 1
        tokens = np.array([known[place] for place in range(self.P)], np.int32)
        self.frames.append(tokens)
        self.actions.append(action)
        self.waiting, self.at = tokens[-1], base + self.P - 1
        return tokens


@pytest.mark.parametrize(
    ("order", "stand_in", "keep"),
    [
        ("released-raster", "frame-before", 2),
        ("released-diagonal-1", "frame-before", 2),
        ("released-diagonal-1", "last-input", 1),
        ("released-diagonal-2", "last-input", 2),
        ("released-diagonal-7", "frame-before", 1),
    ],
)
@torch.inference_mode()
def test_decoding_is_that_of_the_published_algorithm(order, stand_in, keep):
    """Over three contexts: with the stand-ins and the zero keys, and a cache that is filled again at their ends."""
    config = released_config(order, window=4, keep=keep, stand_in=stand_in)
    model = tiny_transformer(config)
    tokens, actions = random_steps(config, 10, 3)
    decoder, plain = eager_of(model), Restated(model, stand_in)
    decoder.open(list(tokens[:2]), list(actions[:1]))
    plain.reset(list(tokens[:2]), list(actions[:1]))
    sampler = Sampler(temperature=0.8, top_p=0.9)
    for number in range(1, 8):

        def draw(logits, places, number=number):
            return sample(logits.numpy(), sampler, 7, number, np.asarray(places))

        wanted = plain.decode(actions[number], draw)
        made, _ = decoder.decode(actions[number], sampler, 7, number)
        assert made.tolist() == wanted.tolist(), f"frame {number}"


@torch.inference_mode()
def test_raster_decoding_is_exact():
    """With the true tokens forced, the logits are those of one pass over the whole clip."""
    config = released_config(window=4)
    model = tiny_transformer(config)
    tokens, actions = random_steps(config, 4, 4)
    whole = model(torch.from_numpy(tokens).long()[None], torch.from_numpy(actions).long()[None])[0]
    decoder = eager_of(model)
    decoder.open([tokens[0]], [])
    for number in range(1, 4):
        _, logits = decoder.decode(actions[number - 1], Sampler(), 0, number, forced=tokens[number])
        torch.testing.assert_close(torch.from_numpy(logits), whole[number - 1], atol=1e-4, rtol=0)
    assert targets_of(torch.from_numpy(tokens)[None], model)[0, 0].tolist() == tokens[1].tolist()


def test_no_frame_costs_more_than_the_others():
    """Two caches in turns: at the end of a context nothing is read again."""
    config = released_config(window=4, keep=2)
    model = tiny_transformer(config)
    decoder = eager_of(model)
    tokens, actions = random_steps(config, 12, 5)
    decoder.open(list(tokens[:2]), list(actions[:1]))
    rows, run = [], decoder.backend._run

    def counted(given):
        rows[-1].append(len(given.tokens))
        return run(given)

    decoder.backend._run = counted
    for number in range(10):
        rows.append([])
        decoder.decode(actions[number], Sampler(), 0, number)
    assert len({sum(r) for r in rows[2:]}) <= 2
    assert max(sum(r) for r in rows) <= 12 + 14 + 12 + 14


def test_tiny_pyramid_trains():
    image = ImageTokenizerConfig(
        height=32, width=32, quantizer="nearest", vq_codes=16, vq_dim=4, pyramid=(32,) * 5, pyramid_blocks=(1, 1)
    )
    torch.manual_seed(0)
    tokenizer = ImageTokenizer(image).train()
    pixels = torch.rand(2, 3, 32, 32) * 2 - 1
    picture, codes, loss = tokenizer(pixels, perturb=0.5, perturbed_share=1.0)
    (picture.square().mean() + loss).backward()
    assert codes.shape == (2, 4)
    assert tokenizer.encoder.stem.weight.grad.abs().sum() > 0
