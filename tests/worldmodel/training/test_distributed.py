"""Training on several processes: the same losses as on one, whatever is spread, and on from what another number of them
has saved."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import ranks
import torch
from conftest import ROOT, tiny_config, tiny_transformer
from torch.nn.attention.flex_attention import create_mask
from torch.utils.flop_counter import FlopCounterMode

from worldmodel.data.tokens import WindowSampler
from worldmodel.model.flex import FlexAttention, seen_rule
from worldmodel.model.loading import load_world_model
from worldmodel.model.transformer import WindowAttention
from worldmodel.training.flops import PASSES, clip_flops, seen_entries
from worldmodel.training.run.state import VALUES
from worldmodel.types import WorldModelError

CPU = torch.device("cpu")


def on_two(folder, *asked):
    """Runs of ranks.py on two processes. Returns the exit code and what they said."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(ROOT / "tests/ranks.py"), str(folder), *asked], env=environment, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


def losses(folder):
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row], rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One process's run, one that it broke off, and those of two processes; the last of these is killed."""
    folder = tmp_path_factory.mktemp("runs")
    assert ranks.run(folder / "one")
    assert not ranks.run(folder / "one-cut", stop=True)
    code, said = on_two(
        folder,
        "ddp:",
        "fsdp:parallel=fsdp,micro_batch=1,recompute=1",
        "muon:parallel=fsdp,optimizer=muon",
        f"guided:parallel=fsdp,guidance=0.7,init={folder / 'one'}",
        "cut:parallel=fsdp,stop=1",
        "killed:parallel=fsdp,save_minutes=0,killed=1",
    )
    assert code != 0
    assert "SIGKILL" in said
    return folder


def assert_same(folder, name):
    """A run has the losses and leaves the weights of the one process."""
    torch.testing.assert_close(losses(folder / name)[0], losses(folder / "one")[0], rtol=1e-4, atol=1e-5)
    left, right = (load_world_model(folder / which).transformer.state_dict() for which in (name, "one"))
    for key, tensor in right.items():
        torch.testing.assert_close(left[key], tensor, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_two_processes_give_the_losses_of_one(folder, name):
    assert len(losses(folder / name)[0]) == ranks.STEPS
    assert_same(folder, name)


def test_muon_works_on_matrices_that_are_spread(folder, tmp_path):
    ranks.run(tmp_path, optimizer="muon")  # whose products are in bf16
    np.testing.assert_allclose(losses(folder / "muon")[0], losses(tmp_path)[0], rtol=0.02)


def test_guided_play_is_learned_by_a_model_that_is_spread(folder, tmp_path):
    ranks.run(tmp_path, guidance=0.7, init=folder / "one")
    np.testing.assert_allclose(losses(folder / "guided")[0], losses(tmp_path)[0], rtol=1e-4)


def test_one_process_goes_on_with_what_two_have_saved(folder):
    assert (folder / "cut" / "state-1" / VALUES).is_file()
    assert not (folder / "cut" / "state.pt").exists()
    assert ranks.run(folder / "cut")
    assert_same(folder, "cut")
    assert not list((folder / "cut").glob("state-*"))


def test_a_killed_run_goes_on_and_two_go_on_with_what_one_has_saved(folder):
    assert [path.parent.name for path in (folder / "killed").glob(f"state-*/{VALUES}")] == ["state-4"]
    assert len(losses(folder / "killed")[0]) >= 4
    code, said = on_two(folder, "killed:parallel=fsdp", "one-cut:parallel=fsdp")
    assert code == 0, said
    for name in ("killed", "one-cut"):
        assert_same(folder, name)
        assert [path.name for path in (folder / name).glob("state*")] == [f"state-{ranks.STEPS}"]


def test_a_state_of_several_processes_that_does_not_fit_is_one_sentence(folder, tmp_path):
    kept = tmp_path / f"state-{ranks.STEPS}"
    shutil.copytree(folder / "fsdp" / kept.name, kept)
    with pytest.raises(WorldModelError, match=rf"{kept.name} is the state of another run, with other options"):
        ranks.run(tmp_path, optimizer="muon")


def test_every_process_reads_its_share_of_one_batch():
    clip, _ = ranks.data()
    sampler = WindowSampler([clip], 5, 0.5)
    whole, first, second = (sampler.draw(4, np.random.default_rng(7), share) for share in (None, range(2), range(2, 4)))
    assert torch.equal(torch.cat([first.tokens, second.tokens]), whole.tokens)
    assert torch.equal(torch.cat([first.actions, second.actions]), whole.actions)


def test_a_batch_that_cannot_be_shared_alike_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(WorldModelError, match="--batch 4 cannot be shared alike by 3 processes: give a multiple of 3"):
        ranks.run(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_logged_of_the_speed(folder):
    rows = losses(folder / "one")[1]
    assert all(row["tokens_per_second"] > 0 for row in rows if "loss" in row)
    assert not any("mfu" in row for row in rows)  # a CPU's peak is not known


# The mask as a rule


@pytest.mark.parametrize("order", ["raster", "rows", "diagonal-1", "diagonal-2"])
@pytest.mark.parametrize("offsets", [(1, 2), (1, 3, 4)])
def test_the_rule_is_the_dense_mask(order, offsets):
    frames, model = 6, tiny_transformer(tiny_config(order, offsets))
    length = model.layout.length
    rule = create_mask(seen_rule(model, frames, CPU), None, None, frames * length, frames * length, "cpu")[0, 0]
    dense = WindowAttention(model, frames, CPU)
    seen = torch.zeros(frames, length, frames, length, dtype=torch.bool)
    for frame in range(frames):
        columns = (dense.bias[frame] == 0).view(length, dense.attended, length)
        for place, other in enumerate(dense.index[frame].tolist()):
            seen[frame, :, other] |= columns[:, place]
    assert torch.equal(rule, seen.view(frames * length, frames * length))
    assert int(rule.sum()) == seen_entries(model.config, frames)


def test_flex_attention_gives_the_logits_of_the_dense_mask():
    config = tiny_config("diagonal-2", (1, 3))
    model = tiny_transformer(config)
    clip, _ = ranks.data(6)
    tokens, actions = (torch.from_numpy(np.asarray(x, np.int64))[None] for x in (clip.tokens, clip.actions))
    dense = model(tokens, actions)
    model.whole_clips, model._through = FlexAttention, {}
    torch.testing.assert_close(model(tokens, actions), dense, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("order", ["raster", "diagonal-2"])
def test_a_steps_operations_are_those_of_its_products(order):
    """As PyTorch counts them; but of the attention, which multiplies more than is seen, those that are."""
    config = tiny_config(order, (1, 3))
    t, model = config.transformer, tiny_transformer(config).requires_grad_(True)
    clip, _ = ranks.data(6)
    tokens, actions = (torch.from_numpy(np.asarray(x, np.int64))[None] for x in (clip.tokens, clip.actions))
    with FlopCounterMode(display=False) as counter:
        model(tokens, actions).sum().backward()
    products = sum(n for op, n in counter.get_flop_counts()["Global"].items() if "bmm" not in str(op))
    attention = 2 * 2 * t.layers * t.heads * t.head_dim * seen_entries(config, 6)
    assert clip_flops(config, 6) == products + PASSES * attention
