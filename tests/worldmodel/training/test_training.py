"""Training the world model: it learns, resumes to the same curve, and refuses what cannot work."""

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clips import stored_clip, token_clip
from conftest import ROOT, TINY_TOKENIZER, tiny_config, tiny_transformer, vpt_line, with_detail, with_signs, write_clip
from released import released_config

from client.cli import main
from worldmodel.checkpoint import CheckpointError, config_to_dict, load_fitting, write_checkpoint
from worldmodel.data.clips import ClipError
from worldmodel.data.tokens import WindowSampler, build_token_store
from worldmodel.model.loading import load_config, load_starts, load_tokenizer, load_world_model, save_world_model
from worldmodel.model.parts import split as parts_of
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.script import main_with_errors
from worldmodel.tokenizers.action import ACTION_VOCABULARY, FINE_VOCABULARY, YAW_BASE
from worldmodel.tokenizers.image import ImageTokenizer, to_pixels
from worldmodel.training.corruption import add_noise, make_stale
from worldmodel.training.guided import GuidedTeacher
from worldmodel.training.run import common, stopping
from worldmodel.training.run.common import autocast, cosine_lr, split_file
from worldmodel.training.world import WorldTraining, start_from, targets_of, train_world
from worldmodel.types import NO_ACTION, Action, WorldModelError

OPTIONS = WorldTraining(
    steps=30, batch=2, clip=5, learning_rate=5e-3, warmup=3, bf16=False, eval_steps=1000, rollouts=1, rollout_frames=2,
    context=2, val_clips=2, average_decay=0.5,
)  # fmt: skip


def losses(out):
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row], rows[-1]


def run(out, minutes=None, options=OPTIONS):
    torch.manual_seed(0)
    tokenizer = ImageTokenizer(TINY_TOKENIZER).eval()
    clip = token_clip()
    return train_world(tiny_config(), options, tokenizer, [clip], [(stored_clip(), clip)], out, minutes)


def test_it_learns_and_resumes_to_the_same_weights(tmp_path):
    assert run(tmp_path / "whole")
    curve, last = losses(tmp_path / "whole")
    assert curve[-1] < 0.6 * curve[0]
    assert last["val_loss"] < 0.6 * curve[0]
    assert (tmp_path / "whole" / "rollout_000030.png").exists()
    assert not run(tmp_path / "cut", 1e-9)  # stops after one step
    assert run(tmp_path / "cut")
    whole, cut = (load_world_model(tmp_path / name).transformer.state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert losses(tmp_path / "cut")[0] == curve


@pytest.mark.parametrize("config", [tiny_config(), with_detail(tiny_config()), with_signs(tiny_config())])
def test_what_another_predicts_is_learned_part_by_part(config):
    """One that is sure of a token is as good as the token, and of two that predict alike nothing is to be learned."""
    model = tiny_transformer(config)
    tokens = torch.randint(math.prod(model.parts), (2, 3), generator=torch.Generator().manual_seed(0))
    logits = torch.randn(2, 3, sum(model.parts), generator=torch.Generator().manual_seed(1)).requires_grad_()
    digits = parts_of(tokens, model.parts)
    sure = torch.cat([F.one_hot(one, size) * 100.0 for one, size in zip(digits, model.parts, strict=True)], -1)
    torch.testing.assert_close(model.nats(logits, tokens, sure), model.nats(logits, tokens))
    (alike,) = torch.autograd.grad(model.nats(logits, tokens, logits.detach()).sum(), logits)
    (true,) = torch.autograd.grad(model.nats(logits, tokens).sum(), logits)
    assert abs(alike).max() < 1e-5 < abs(true).max()


def guided_logits(model, tokens, actions, strength):
    """Of whole passes: one with the true actions, for each step one without its action."""
    idle = torch.from_numpy(model.config.action_tokenizer().encode(NO_ACTION)).long()
    made = model(tokens, actions)
    for step in range(actions.shape[1] - 1):
        without = actions.clone()
        without[:, step] = idle
        if not torch.equal(without, actions):
            made[:, step] += strength * (made[:, step] - model(tokens, without)[:, step])
    return made


def test_guided_play_can_be_learned(tmp_path):
    """Of weights in which actions tell, from the logits that guidance makes of them."""
    teacher = tiny_transformer(tiny_config())
    teacher.embed_tokens.weight.data[teacher.first_action :] *= 10
    save_world_model(tmp_path / "taught", teacher.config, ImageTokenizer(TINY_TOKENIZER), teacher)
    options = replace(OPTIONS, guidance=2.0, init=tmp_path / "taught", noise=0.0)
    assert run(tmp_path / "learned", options=options)
    learned = load_world_model(tmp_path / "learned").transformer
    clip = token_clip()
    tokens, actions = (torch.from_numpy(part[None, 3:9]).long() for part in (clip.tokens, clip.actions))
    actions[:, 2] = torch.from_numpy(teacher.config.action_tokenizer().encode(NO_ACTION))  # which is not guided
    with torch.no_grad():
        wanted, own = guided_logits(teacher, tokens, actions, 2.0), teacher(tokens, actions)
        torch.testing.assert_close(GuidedTeacher(teacher, 2.0).logits(tokens, actions), wanted, rtol=0, atol=2e-4)
        assert abs(own - wanted).max() > 0.01  # the test can fail
        before, after, least = (
            teacher.nats(logits, targets_of(tokens, teacher), wanted).mean()
            for logits in (own, learned(tokens, actions), wanted)
        )
    assert after - least < 0.5 * (before - least)


def test_guided_play_is_learned_of_a_like_checkpoint_alone(tmp_path):
    guided = replace(OPTIONS, guidance=0.7)
    with pytest.raises(WorldModelError, match="is learned from a checkpoint's guided play: name"):
        run(tmp_path / "out", options=guided)
    other = tiny_transformer(tiny_config(offsets=(1, 3)))
    save_world_model(tmp_path, other.config, ImageTokenizer(TINY_TOKENIZER), other)
    with pytest.raises(WorldModelError, match=rf"is learned from {tmp_path}, whose transformer is another: leave"):
        run(tmp_path / "out", options=replace(guided, init=tmp_path))
    with pytest.raises(WorldModelError, match="cannot be had with the order 'released-raster': leave it at 0"):
        train_world(released_config(), guided, ImageTokenizer(TINY_TOKENIZER), [], [], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_finished_run_goes_on_to_more_steps(tmp_path):
    assert run(tmp_path, options=replace(OPTIONS, steps=2))
    assert run(tmp_path, options=replace(OPTIONS, steps=4))
    assert losses(tmp_path)[1]["step"] == 4


def test_short_clips_are_refused_before_any_work(tmp_path):
    with pytest.raises(ClipError, match="windows of 5 steps are needed, the longest has 4"):
        WindowSampler([token_clip(4)], 5)
    assert not (tmp_path / "out").exists()


def test_windows_stay_inside_a_segment():
    clip = token_clip(20)
    clip.segments[8:] = 1
    sampler = WindowSampler([clip], 6)
    assert {start for _, start in sampler.starts} == {0, 1, 2, *range(8, 15)}


def test_balanced_windows_show_rare_buttons():
    """One press of a key in 200 steps: a balanced draw shows it in half of the windows that it balances."""
    config = tiny_config()
    encode = config.action_tokenizer().encode
    actions = [encode(Action(frozenset({"forward"}))) for _ in range(200)]
    actions[120] = encode(Action(frozenset({"hotbar.7"})))
    clip = replace(token_clip(200), actions=np.stack(actions))
    rare = int(actions[120][3])

    def share(balance):
        sampler = WindowSampler([clip], 5, balance)
        drawn = sampler.draw(400, np.random.default_rng(0))[1]
        return (drawn[:, :-1] == rare).any((1, 2)).float().mean().item()  # the last action leads out of the window

    assert share(0.0) < 0.06
    assert share(0.5) == pytest.approx(0.25, abs=0.08)
    assert share(1.0) == pytest.approx(0.5, abs=0.08)  # two buttons occur


def test_training_starts_from_a_checkpoint(tmp_path):
    """The first validation of a run that starts from a trained model is as good as that model."""
    torch.manual_seed(0)
    tokenizer, clip = ImageTokenizer(TINY_TOKENIZER).eval(), token_clip()
    val = [(stored_clip(), clip)]
    train_world(tiny_config(), OPTIONS, tokenizer, [clip], val, tmp_path / "first")
    again = replace(OPTIONS, steps=1, learning_rate=0.0, init=tmp_path / "first")
    train_world(tiny_config(), again, tokenizer, [clip], val, tmp_path / "second")
    first, second = (losses(tmp_path / name)[1]["val_loss"] for name in ("first", "second"))
    assert second == pytest.approx(first, rel=1e-4)


def test_training_starts_from_a_checkpoint_of_other_tokens(tmp_path, capsys):
    """What has the same shape is taken over, and the actions' embeddings; a model of which nothing fits is refused."""
    old, new = VisualActionTransformer(tiny_config()), VisualActionTransformer(with_signs(tiny_config()))
    tokenizer = ImageTokenizer(TINY_TOKENIZER)
    save_world_model(tmp_path, old.config, tokenizer, old)
    start_from(tmp_path, new)
    assert torch.equal(new.layers[1].down_proj.weight, old.layers[1].down_proj.weight)
    told, known = new.embed_tokens.weight[40:], old.embed_tokens.weight[-ACTION_VOCABULARY:]
    assert torch.equal(told[:ACTION_VOCABULARY], known)
    assert len(told) == FINE_VOCABULARY
    quarter = told[new.config.action_tokenizer().camera_ids[1, 8 * 12 + 2]]  # between bins 12 and 13
    assert torch.allclose(quarter, 0.75 * known[YAW_BASE + 12] + 0.25 * known[YAW_BASE + 13], atol=1e-6)
    assert (
        "its transformer is taken over but for chain, embed_tokens.weight, lm_head.weight, which"
        in capsys.readouterr().out
    )
    signs = ImageTokenizer(with_signs(tiny_config()).image_tokenizer)
    left = load_fitting(tmp_path, "tokenizer", signs)
    assert set(left) == {"encoder.to_latent.weight", "encoder.to_latent.bias", "decoder.from_latent.weight"}
    assert torch.equal(signs.decoder.to_pixels.weight, tokenizer.decoder.to_pixels.weight)
    wide = VisualActionTransformer(tiny_config(hidden=64, mlp=96, heads=2, head_dim=20))
    with pytest.raises(CheckpointError, match="nothing of its transformer has the shape"):
        start_from(tmp_path, wide)


def test_a_model_that_is_told_the_camera_finely_starts_from_one_that_is_not(tmp_path, capsys):
    """It is the same model, its image tokens' embeddings included: a move to a bin's centre gives the same logits."""
    config = tiny_config()
    assert not config.fine_camera
    old, new = VisualActionTransformer(config), VisualActionTransformer(replace(config, fine_camera=True))
    save_world_model(tmp_path, config, ImageTokenizer(TINY_TOKENIZER), old)
    start_from(tmp_path, new)
    assert "are new" not in capsys.readouterr().out
    bins, fine = config.action_tokenizer(), new.config.action_tokenizer()
    moves = [Action(frozenset({"forward"})), *(bins.decode(bins.encode(Action(yaw=yaw))) for yaw in (3.0, -20.0, 9.0))]
    tokens = torch.randint(40, (1, len(moves), 15), generator=torch.Generator().manual_seed(0))

    def logits(model, told):
        with torch.no_grad():
            return model.eval()(tokens, torch.from_numpy(np.stack([told.encode(move) for move in moves])[None]))

    assert torch.allclose(logits(old, bins), logits(new, fine), atol=1e-6)


def test_stale_frames_begin_like_the_frame_before():
    tokens = torch.arange(20)[None, :, None].repeat(3, 1, 15)  # every frame is another number
    order = torch.randperm(15, generator=torch.Generator().manual_seed(1))
    stale = make_stale(tokens, order, 0.5, torch.Generator().manual_seed(0))
    changed = (stale != tokens)[..., order]
    assert ((stale == tokens) | (stale == tokens - 1)).all()
    assert not changed[:, 0].any()
    assert (changed[..., :-1] >= changed[..., 1:]).all()  # a beginning, in decode order
    assert 0.3 < changed[:, 1:].any(-1).float().mean() < 0.7
    assert changed[..., 0].float().mean() > changed[..., -1].float().mean() > 0
    assert torch.equal(make_stale(tokens, order, 0.0, torch.Generator().manual_seed(0)), tokens)


def test_noise_is_near_and_bounded():
    tokenizer = ImageTokenizer(TINY_TOKENIZER)
    tokens = torch.zeros(4, 50, 15, dtype=torch.long)
    noisy = add_noise(tokens, tokenizer, 0.2, torch.Generator().manual_seed(0))
    share = (noisy != tokens).float().mean().item()
    assert share == pytest.approx(0.1, abs=0.03)
    assert set(noisy.unique().tolist()) == {0, 1, 4}  # one level up in either channel


def test_cosine_schedule():
    assert cosine_lr(0, 100, 10) == pytest.approx(0.1)
    assert cosine_lr(10, 100, 10) == pytest.approx(1)
    assert cosine_lr(100, 100, 10) == pytest.approx(0.02)


def test_whoever_encodes_alike_shares_the_tokens_and_nobody_else(tmp_path, monkeypatch):
    """A second run with the tokenizer encodes nothing; another tokenizer, another camera, a clip whose frames are newer
    than its tokens do."""
    clip, config, cpu = stored_clip(6), tiny_config(), torch.device("cpu")
    torch.manual_seed(0)
    mine, other = (ImageTokenizer(TINY_TOKENIZER).eval() for _ in range(2))
    encoded = []
    encode = ImageTokenizer.encode
    monkeypatch.setattr(ImageTokenizer, "encode", lambda self, pixels: encoded.append(self) or encode(self, pixels))
    (built,) = build_token_store([clip], mine, config, tmp_path, cpu)
    assert (built.tokens.shape, built.actions.shape) == ((6, 15), (6, 11))
    (again,) = build_token_store([clip], mine, config, tmp_path, cpu)
    assert encoded == [mine]
    np.testing.assert_array_equal(again.tokens, built.tokens)
    (theirs,) = build_token_store([clip], other, config, tmp_path, cpu)
    assert not np.array_equal(theirs.tokens, built.tokens)
    build_token_store([clip], mine, replace(config, fine_camera=not config.fine_camera), tmp_path, cpu)
    assert encoded == [mine, other, mine]
    source = tmp_path / f"{clip.name}.actions.npz"  # where a frame store has it
    source.touch()
    os.utime(source, (time.time() + 60,) * 2)
    build_token_store([clip], mine, config, tmp_path, cpu)
    assert encoded == [mine, other, mine, mine]


def test_tokens_are_stored_whole(tmp_path):
    """A token of 20 signs takes more than 16 bits."""
    clip, config, cpu = stored_clip(6), with_signs(tiny_config()), torch.device("cpu")
    tokenizer = ImageTokenizer(config.image_tokenizer).eval()
    (built,) = build_token_store([clip], tokenizer, config, tmp_path, cpu)
    frames = to_pixels(torch.from_numpy(np.array(clip.frames)))
    np.testing.assert_array_equal(built.tokens, tokenizer.encode(frames))
    assert built.tokens.max() >= 1 << 16


def script(*arguments, cwd):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def test_the_scripts_train_from_clips_to_a_world(tmp_path):
    """Both scripts, as a user calls them, on two small clips, and on a session besides."""
    for split in ("train", "val"):
        write_clip(tmp_path / split / "a", [vpt_line(dx=index % 5) for index in range(40)])
    common = ["--device", "cpu", "--no-bf16", "--batch", "2"]
    model = ["--height", "48", "--width", "80", "--levels", "4", "4", "--encoder-channels", "16", "16"]
    model += ["--encoder-blocks", "1", "1", "--decoder-channels", "16", "16", "--decoder-blocks", "1", "1"]
    data = ["--data", tmp_path / "train", "--val", tmp_path / "val"]
    first = script(
        ROOT / "scripts/train_tokenizer.py", *data, "--out", tmp_path / "tok", "--cache", tmp_path / "frames",
        "--steps", "3", *model, *common, cwd=tmp_path,
    )  # fmt: skip
    assert first.returncode == 0, first.stderr
    assert json.loads((tmp_path / "tok/scores.json").read_text())["bits_per_frame"] == 60
    further = script(
        ROOT / "scripts/train_tokenizer.py", *data, "--out", tmp_path / "further", "--cache", tmp_path / "frames",
        "--steps", "1", "--init", tmp_path / "tok", "--freeze-encoder", *common, cwd=tmp_path,
    )  # fmt: skip
    assert further.returncode == 0, further.stderr
    assert load_tokenizer(tmp_path / "further").config == load_tokenizer(tmp_path / "tok").config
    assert json.loads((tmp_path / "further/scores.json").read_text())["training"]["init"] == str(tmp_path / "tok")
    sessions = tmp_path / "sessions"
    assert main(["import", str(tmp_path / "val"), "--world", str(tmp_path / "tok"), "--out", str(sessions)]) == 0
    data = ["--data", tmp_path / "train", sessions, "--val", tmp_path / "val"]
    arguments = [ROOT / "scripts/train_world.py", *data, "--tokenizer", tmp_path / "tok", "--cache", tmp_path]
    sizes = ["--hidden", "32", "--mlp", "48", "--layers", "2", "--heads", "2", "--kv-heads", "1", "--head-dim", "16"]
    sizes += ["--offsets", "1", "2", "--order", "diagonal-2"]
    common += ["--steps", "2", "--clip", "4", "--rollouts", "1", "--rollout-frames", "2", "--context", "2"]
    second = script(*arguments, "--out", tmp_path / "world", *sizes, *common, cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert len(list((tmp_path / "frames/train").glob("tokens-*/sessions.val.a.tokens.npy"))) == 1
    assert load_world_model(tmp_path / "world").config.transformer.hidden == 32
    assert len(load_starts(tmp_path / "world", load_config(tmp_path / "world"))) == 10
    played = ["--world", str(tmp_path / "world"), "--start", "9", "--frames", "2", "--engine", "eager"]
    assert main(["play", "--headless", *played, "--report", str(tmp_path / "report.json")]) == 0
    guided = ["--init", tmp_path / "world", "--guidance", "0.5"]
    assert script(*arguments, "--out", tmp_path / "guided", *guided, *common, cwd=tmp_path).returncode == 0
    assert load_config(tmp_path / "guided") == load_config(tmp_path / "world")
    third = script(*arguments, "--out", tmp_path / "other", "--clip", "999", cwd=tmp_path)
    assert third.returncode != 0
    assert "windows of 999 steps are needed, the longest has 20" in third.stderr
    assert "Traceback" not in third.stderr


def test_a_tokenizer_alone_is_no_world(tmp_path):
    tokenizer = ImageTokenizer(TINY_TOKENIZER)
    write_checkpoint(tmp_path, {"image_tokenizer": config_to_dict(TINY_TOKENIZER)}, {"tokenizer": tokenizer})
    with pytest.raises(Exception, match="image tokenizer alone"):
        load_world_model(tmp_path)


def test_a_missing_extra_is_named_before_any_work(monkeypatch, capsys):
    monkeypatch.setattr(stopping, "TRAIN_EXTRA", {"matplotlib": "matplotlib", "no_such_module": "its-package"})
    with pytest.raises(SystemExit) as stopped:
        main_with_errors(lambda _: pytest.fail("it began"), object, extra=True)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: this needs more packages: pip install its-package\n"


def test_a_file_in_pieces_is_the_same_file(tmp_path):
    (tmp_path / "w").write_bytes(bytes(range(256)) * 10)
    pieces = split_file(tmp_path / "w", tmp_path, 1000)
    assert [piece.name for piece in pieces] == ["w.000", "w.001", "w.002"]
    assert max(piece.stat().st_size for piece in pieces) == 1000
    assert b"".join(piece.read_bytes() for piece in pieces) == (tmp_path / "w").read_bytes()


@pytest.mark.parametrize("there", [True, False])
def test_bf16_is_used_where_the_processor_computes_in_it(monkeypatch, there):
    """Elsewhere it is emulated, tens of times as slowly as float32."""
    monkeypatch.setattr(common, "computes_bf16", lambda device: there)
    x = torch.ones(2, 2)
    with autocast(torch.device("cpu"), True):
        assert (x @ x).dtype == (torch.bfloat16 if there else torch.float32)
    with autocast(torch.device("cpu"), False):
        assert (x @ x).dtype == torch.float32
