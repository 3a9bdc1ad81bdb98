"""The commands that make and measure worlds: found by name, explained, and told what is wrong before any long work."""

import argparse
import importlib
import json
import signal
import subprocess
import sys
import types
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import tyro
from clips import stored_clip, token_clip
from conftest import ROOT, vpt_line, write_clip

from client import making
from client.cli import main
from kernels.sampling import Sampler
from worldmodel.settings import SamplingOptions
from worldmodel.training.run import common
from worldmodel.training.run.common import RunLog
from worldmodel.training.starts import pick_starts

SCRIPTS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))
OPTIONS = ("Arguments", "Run", "Table", "Plots")


def options_of(module):
    return [getattr(module, name) for name in OPTIONS if hasattr(module, name)]


@pytest.mark.parametrize("name", [*(f"client.making.{door.module}" for door in making.DOORS.values()),
                                  *(f"scripts.{name}" for name in SCRIPTS)])  # fmt: skip
def test_every_option_is_explained_beside_it(name):
    for kind in options_of(importlib.import_module(name)):
        for action in tyro.extras.get_parser(kind)._actions:
            if not isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
                words = (action.help or "").replace("(required)", "").partition("(default")[0]
                assert len(words.strip()) > 5, f"{name}: {action.option_strings or action.dest}"


WIDER = """
import json
from dataclasses import dataclass
from importlib import import_module
import tyro
from worldmodel import settings

@dataclass(frozen=True, slots=True)
class Wider(settings.SamplingOptions):
    sharpness: float | None = None

settings.SamplingOptions = Wider  # before any command is imported
from client import making, options

kinds = {name: getattr(options, name) for name in ("Play", "Serve", "Replay", "Bench", "Import", "Web")}
kinds |= {name: import_module(f"client.making.{door.module}").Arguments for name, door in making.DOORS.items()}
kinds |= {name: import_module(f"scripts.{name}").Arguments for name in ("evaluate_against_game", "ship_checkpoint")}
parsers = {name: tyro.extras.get_parser(kind) for name, kind in kinds.items()}
took = {name: sum((own.option_strings for own in parser._actions), []) for name, parser in parsers.items()}
print(json.dumps(took))
"""


def test_a_new_option_of_the_sampler_is_declared_once_and_every_command_takes_it():
    done = subprocess.run([sys.executable, "-c", WIDER], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    took = json.loads(done.stdout)
    draws = {name for name, options in took.items() if "--top-p" in options}
    assert draws == {"Play", "Serve", "evaluate", "evaluate_against_game", "ship_checkpoint"}
    assert {name for name, options in took.items() if "--sharpness" in options} == draws


def test_whatever_the_sampler_knows_is_an_option():
    assert {own.name for own in fields(SamplingOptions)} == {own.name for own in fields(Sampler)}


def test_a_command_is_found_by_its_words():
    assert making.find(["train", "world", "--out", "x"]) == "train world"
    assert making.find(["evaluate"]) == "evaluate"
    assert making.find(["train"]) is None
    assert making.find(["play", "train"]) is None


@pytest.mark.parametrize("words", [["train"], []])
def test_what_there_is_is_listed(words, capsys):
    with pytest.raises(SystemExit) as left:
        main([*words, "--help"])
    assert left.value.code == 0
    told = capsys.readouterr().out
    for name in ("tokenizer", "world", "idm") if words else ("play", "train", "evaluate", "sweep", "record"):
        assert f"• {name}" in told


def test_a_shell_completes_the_options_of_every_command(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--tyro-print-completion", "bash"])
    assert not left.value.code
    told = capsys.readouterr().out
    for option in ("--headless", "--stop-after-minutes", "--freeze-encoder", "--temperatures", "--viewing-range"):
        assert option in told


def test_a_folder_that_is_not_there_is_named_before_anything_is_decoded(tmp_path, capsys):
    write_clip(tmp_path / "train/a", [vpt_line() for _ in range(8)])
    given = ["--data", str(tmp_path / "train"), "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    assert main(["train", "tokenizer", *given, "--val", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'nowhere'} is not a folder")
    assert not list((tmp_path / "cache").rglob("*.npy"))
    given = ["--data", "--val", str(tmp_path / "train"), "--out", str(tmp_path / "out")]
    assert main(["train", "tokenizer", *given]) == 2
    assert capsys.readouterr().err == "error: no folder of clips is given for train\n"


def test_a_script_is_the_door_of_its_command():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/train_world.py", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "usage: worldmodel train world" in done.stdout


def test_start_scenes_are_spread_over_the_clips_and_none_is_black():
    clip, tokens = stored_clip(200), token_clip(200)
    clip.frames[:] = (70, 120, 40)
    clip.frames[:60] = 0  # nothing can be seen
    tokens.tokens[:, 0] = np.arange(200)
    scenes = pick_starts([(clip, tokens)], 3)
    assert len(scenes) == 10
    assert all(scene.tokens.shape == (3, 15) and scene.actions.shape == (2, 11) for scene in scenes)
    at = [int(scene.tokens[0, 0]) for scene in scenes]
    assert at == sorted(at)
    assert np.diff(at).min() > 0
    assert sum(start >= 60 for start in at) == 7  # the first three parts are black all over
    assert len(pick_starts([(stored_clip(5), token_clip(5))], 3)) == 3


def test_the_log_goes_to_tensorboard_where_it_is_installed(tmp_path, monkeypatch):
    written = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            written.append((Path(folder).name, purge_step))

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def flush(self):
            pass

    monkeypatch.setattr(common, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=SummaryWriter))
    RunLog(tmp_path / "log.jsonl", 7).write(8, loss=0.5, parts={"a": 1})
    assert written == [("tensorboard", 7), ("loss", 0.5, 8)]
    assert json.loads((tmp_path / "log.jsonl").read_text())["parts"] == {"a": 1}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_command_that_says_how_to_go_on(monkeypatch, capsys, number):
    module = importlib.import_module("client.making.sweep")
    monkeypatch.setattr(module, "main", lambda args: signal.raise_signal(number))
    assert main(["sweep", "--checkpoints", "a", "--data", "b", "--out", "c"]) == 128 + number
    assert capsys.readouterr().err == "stopped; run it again to go on\n"
