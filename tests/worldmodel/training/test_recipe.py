"""Recipes: the stages of making a model, run by one command that goes on where it stopped."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from math import inf
from pathlib import Path

import pytest
from conftest import ROOT

from scripts import run_recipe
from worldmodel.checks import ConfigError
from worldmodel.training.recipe import Stage, read_recipe

RECIPES = sorted((ROOT / "scripts/recipes").glob("*.toml"))
NOTES = """
import pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index('--out') + 1])
with (out.parent / 'calls').open('a') as calls:
    print(pathlib.Path(sys.argv[0]).name, *sys.argv[3:], file=calls)
"""
RECIPE = """
[clips]
script = "record.py"
frames = 20

[world]
script = "train_world.py"
data = ["{clips}", "{data}"]
offsets = [1, 2]
compile = true
bf16 = false
"""


@cache
def options_of(path: Path) -> str:
    return subprocess.run([sys.executable, path, "--help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_stage_of_a_recipe_is_a_command_that_its_script_takes(path, tmp_path):
    args = run_recipe.Arguments(tmp_path / "out", path, (tmp_path,), tmp_path)
    stages, folders = run_recipe.plan(args)
    for stage in stages:
        known = options_of(ROOT / "scripts" / stage.script).split()
        for option in (part for part in stage.command(folders) if part.startswith("--")):
            assert option in known or f"{option}," in known, (stage.name, option)


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    """A folder of scripts that note how they are called, and a recipe of two stages."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "record.py").write_text(NOTES)
    (scripts / "train_world.py").write_text(f"{NOTES}\nout.mkdir()\n(out / 'done').touch()")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    monkeypatch.setattr(run_recipe, "SCRIPTS", scripts)
    return tmp_path


def make(folder, **given):
    args = run_recipe.Arguments(folder / "out", folder / "recipe.toml", (folder / "a", folder / "b"))
    run_recipe.main(replace(args, **given))
    return (folder / "out/calls").read_text().splitlines()


def test_stages_are_run_in_order_and_once(workshop):
    clips, a, b = workshop / "out/clips", workshop / "a", workshop / "b"
    world = f"train_world.py --data {clips} {a} {b} --offsets 1 2 --compile --no-bf16"
    assert make(workshop) == ["record.py --frames 20", world]
    assert make(workshop) == ["record.py --frames 20", world]


def test_a_failure_ends_it_and_the_same_call_goes_on(workshop):
    record = workshop / "scripts/record.py"
    record.write_text(f"{NOTES}\nsys.exit(2)")
    with pytest.raises(SystemExit) as failed:
        make(workshop)
    assert failed.value.code == 2
    record.write_text(NOTES)
    assert [call.split()[0] for call in make(workshop)] == ["record.py", "record.py", "train_world.py"]


def test_a_stage_is_taken_from_elsewhere_and_an_option_is_changed(workshop):
    calls = make(workshop, done={"clips": workshop / "mine"}, change=("world.offsets=[3]", "world.order=rows"))
    assert calls == [f"train_world.py --data {workshop / 'mine'} {workshop / 'a'} {workshop / 'b'} --offsets 3 "
                     "--compile --no-bf16 --order rows"]  # fmt: skip


def test_a_training_goes_on_where_its_time_was_over(tmp_path):
    """Three calls of a stage that needs two: the whole says with exit code 3 that it goes on, and a stage that has left
    its mark is not run again."""
    script = tmp_path / "stage.py"
    script.write_text(
        "import pathlib, sys\n"
        "calls = pathlib.Path(sys.argv[1]) / 'calls'\n"
        "assert sys.argv[2] == '--stop-after-minutes'\n"
        "calls.write_text(calls.read_text() + sys.argv[3] + '\\n' if calls.exists() else sys.argv[3] + '\\n')\n"
        "(calls.parent / 'done').touch() if calls.read_text().count('\\n') == 2 else None\n"
    )
    command, stage = [str(script), str(tmp_path)], Stage("world", "train_world.py", {})
    for minutes in (0, 0.5):
        with pytest.raises(SystemExit) as stopped:
            run_recipe.run_stage(stage, command, tmp_path / "done", minutes)
        assert stopped.value.code == 3
    run_recipe.run_stage(stage, command, tmp_path / "done", 0.25)
    run_recipe.run_stage(stage, command, tmp_path / "done", 0.25)
    assert (tmp_path / "calls").read_text().split() == ["0.500", "0.250"]


def test_a_signal_reaches_the_stage_which_saves_and_the_same_call_goes_on(workshop):
    """The real script, killed while a stage works."""
    shutil.copy(ROOT / "scripts/run_recipe.py", workshop / "scripts")
    (workshop / "scripts/train_world.py").write_text(
        "import pathlib, signal, sys, time\n"
        "out = pathlib.Path(sys.argv[2])\n"
        "out.mkdir(exist_ok=True)\n"
        "def save(*_):\n"
        "    (out / 'saved').touch()\n"
        "    sys.exit(128 + signal.SIGTERM)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "if not (out / 'saved').exists():\n"
        "    (out / 'begun').touch()\n"
        "    time.sleep(600)\n"
        "(out / 'done').touch()\n"
    )
    command = [sys.executable, workshop / "scripts/run_recipe.py", "--recipe", workshop / "recipe.toml"]
    command += ["--data", workshop, "--out", workshop / "out"]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}) as process:
        while not (workshop / "out/world/begun").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert (workshop / "out/world/saved").exists()
    make(workshop)
    assert (workshop / "out/world/done").exists()


def test_another_stage_is_ended_when_the_time_is_over(tmp_path):
    script = tmp_path / "stage.py"
    script.write_text("import time; time.sleep(600)")
    stage, mark = Stage("evaluation", "evaluate.py", {}), tmp_path / "mark"
    with pytest.raises(SystemExit) as stopped:
        run_recipe.run_stage(stage, [str(script)], mark, 0.001)
    assert stopped.value.code == 3
    assert not mark.exists()
    script.write_text("")
    run_recipe.run_stage(stage, [str(script)], mark, inf)
    assert mark.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("world", "not TOML"),
        ("", "a table for each stage"),
        ("steps = 3", "a table for each stage"),
        ("[world]\nsteps = 3", "needs the name of a script, such as train_world.py, got null"),
        ('[world]\nscript = "../evil.py"', 'got "../evil.py"'),
        ('[world]\nscript = "a.py"\nsteps = {a = 1}', "steps must be a number, a text"),
        ('[world]\nscript = "a.py"\n"--x" = 1', "--x must be a number, a text"),
        ("a = " + "[" * 5000, "not TOML"),
    ],
)
def test_what_is_no_recipe_is_said_in_one_sentence(tmp_path, text, said):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"recipe\.toml") as error:
        read_recipe(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"data": ()}, r"\[world\] needs {data}: give --data"),
        ({"change": ("world.data={later}",)}, r"\[world\] needs {later}: no earlier stage has that name"),
        ({"change": ("steps=3",)}, "--change is STAGE.OPTION=VALUE, with a stage of .* got \"steps=3\""),
        ({"change": ("idm.steps=3",)}, "--change is STAGE.OPTION=VALUE"),
        ({"done": {"idm": Path("x")}}, "--done names stages that .* has not: idm"),
        ({"minutes": -1.0}, "--minutes and --piece-mb must be 0 or more, got -1 and 0"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said_before_anything_is_run(workshop, given, said):
    with pytest.raises(ConfigError, match=said):
        make(workshop, **given)
    assert not (workshop / "out").exists()


def test_a_script_that_is_not_there_is_said_before_anything_is_run(workshop):
    (workshop / "scripts/train_world.py").unlink()
    with pytest.raises(ConfigError, match=r"\[world\] there is no script .*train_world.py"):
        make(workshop)
    assert not (workshop / "out").exists()
