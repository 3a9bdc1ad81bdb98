"""How a training ends before its time: by a signal or as planned, saved; it goes on from there to the same weights."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from clips import stored_clip, token_clip
from conftest import ROOT, TINY_TOKENIZER, tiny_config, vpt_line, write_clip
from test_training import OPTIONS, losses, run

from worldmodel.checkpoint import CheckpointError, config_to_dict, write_checkpoint
from worldmodel.ending import Ended, Held, Signals
from worldmodel.model.loading import load_world_model
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.torch_files import STATE_FILE, load_state
from worldmodel.training import world
from worldmodel.training.run.common import Pace, RunLog
from worldmodel.training.run.loop import Run
from worldmodel.training.world import train_world

SMALL_TOKENIZER = (
    "--height", "48", "--width", "80", "--levels", "4", "4", "--encoder-channels", "16", "16", "--encoder-blocks", "1",
    "1", "--decoder-channels", "16", "16", "--decoder-blocks", "1", "1", "--no-bf16", "--batch", "2",
)  # fmt: skip
SMALL_WORLD = (
    "--hidden", "32", "--mlp", "48", "--layers", "1", "--heads", "2", "--kv-heads", "1", "--head-dim", "16",
    "--offsets", "1", "2", "--clip", "4", "--rollouts", "1", "--rollout-frames", "2", "--context", "2",
    "--no-bf16", "--batch", "2",
)  # fmt: skip


def test_a_signal_waits_while_something_is_done_whole():
    done = []

    def work():
        with Held() as held:
            signal.raise_signal(signal.SIGTERM)
            done.append(held.number)

    with Signals() as signals, pytest.raises(Ended):
        work()
    assert done == [signal.SIGTERM]
    assert signals.ended is not None
    assert signals.ended.number == signal.SIGTERM


def test_a_signal_in_a_step_saves_it_and_the_rest_is_as_if_nothing_had_been(tmp_path, monkeypatch):
    assert run(tmp_path / "whole")

    def write(self, step, **values):
        RunLog.write(self, step, **values)
        if step == 20 and "loss" in values:
            signal.raise_signal(signal.SIGHUP)

    monkeypatch.setattr(world, "RunLog", type("Hung", (RunLog,), {"write": write}))
    with Signals(), pytest.raises(Ended) as ended:
        run(tmp_path / "cut")
    monkeypatch.undo()
    assert ended.value.__notes__ == ["step 21"]
    assert load_state(tmp_path / "cut" / STATE_FILE)["step"] == 21
    assert run(tmp_path / "cut")
    whole, cut = (load_world_model(tmp_path / name).transformer.state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_a_signal_in_the_validation_does_not_wait_for_its_end(tmp_path, monkeypatch):
    def validation(*_):
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("it went on")

    monkeypatch.setattr(world, "validation_loss", validation)
    clip = token_clip()
    with Signals(), pytest.raises(Ended):
        train_world(
            tiny_config(), replace(OPTIONS, eval_steps=2), ImageTokenizer(TINY_TOKENIZER).eval(), [clip],
            [(stored_clip(), clip)], tmp_path,
        )  # fmt: skip
    assert load_state(tmp_path / STATE_FILE)["step"] == 2


@pytest.mark.parametrize("damage", ["half", "noise", "empty", "zip", "list"])
def test_a_state_that_cannot_be_read_is_one_sentence_with_the_way_out(tmp_path, damage):
    assert not run(tmp_path, 1e-9)
    path = tmp_path / STATE_FILE
    whole = path.read_bytes()
    if damage == "list":
        torch.save([1, 2], path)
    else:
        path.write_bytes({"half": whole[: len(whole) // 2], "noise": b"\x80\x02" + whole[::-1], "empty": b"",
                          "zip": whole[:400] + bytes(400) + whole[800:]}[damage])  # fmt: skip
    with pytest.raises(CheckpointError, match=r"state\.pt is .*(--init|start again)") as told:
        run(tmp_path)
    assert "\n" not in str(told.value)


def test_the_state_of_another_model_is_named(tmp_path):
    model = torch.nn.Linear(2, 3)
    Run("a", tmp_path, Pace(3, 0), {"model": model}).go(lambda *_: None, torch.device("cpu"), 1.0)
    for parts in ({"model": torch.nn.Linear(2, 4)}, {"other": model}):
        with pytest.raises(CheckpointError, match="is the state of another run"):
            Run("a", tmp_path, Pace(3, 0), parts)


def test_a_half_line_of_the_log_does_not_keep_a_run_from_going_on(tmp_path):
    assert not run(tmp_path, 1e-9)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 1, "lo')
    assert run(tmp_path)
    assert losses(tmp_path)[1]["step"] == 30


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def start(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)], cwd=ROOT, env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for split in ("train", "val"):
        write_clip(folder / split / "a", [vpt_line(dx=index % 5) for index in range(40)])
    return "--data", folder / "train", "--val", folder / "val", "--cache", folder / "cache"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_training_that_says_how_to_go_on(clips, tmp_path, number):
    process = start(ROOT / "scripts/train_tokenizer.py", *clips, "--out", tmp_path, "--steps", 10**6, *SMALL_TOKENIZER)
    log, deadline = tmp_path / "log.jsonl", time.monotonic() + 120
    while not (log.exists() and log.read_text()) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number, errors
    step = load_state(tmp_path / STATE_FILE)["step"]
    assert step > 0
    assert errors.splitlines()[-1] == f"stopped at step {step}; run it again to go on"
    assert "Traceback" not in errors


def test_a_planned_stop_is_no_failure_of_any_process(clips, tmp_path):
    tokenizer = ImageTokenizer(TINY_TOKENIZER)
    write_checkpoint(tmp_path / "tok", {"image_tokenizer": config_to_dict(TINY_TOKENIZER)}, {"tokenizer": tokenizer})
    both = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2)
    command = (ROOT / "scripts/train_world.py", *clips, "--tokenizer", tmp_path / "tok", "--out", tmp_path / "world")
    process = start(*both, *command, *SMALL_WORLD, "--steps", 4, "--stop-after-minutes", 1e-9)
    told, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert errors.count("run it again to go on") == 1
    assert load_state(tmp_path / "world" / STATE_FILE)["step"] == 1
    process = start(*both, *command, *SMALL_WORLD, "--steps", 4)
    told, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert told.count("done:") == 1
    assert load_state(tmp_path / "world" / STATE_FILE)["step"] == 4


def test_a_reader_that_has_gone_ends_a_script_quietly():
    process = start(ROOT / "scripts/compare.py", "--help")
    process.stdout.close()
    process.wait(120)
    assert process.stderr.read() == ""
