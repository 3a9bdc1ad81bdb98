"""MineWorld's scenes, its lines of actions, and `worldmodel import-mineworld` from files to play."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from client.cli import main
from tests.conftest import vpt_line, write_clip
from tests.released import HEIGHT, WIDTH, write_files
from worldmodel.checkpoint import read_config
from worldmodel.data.video import ClipError
from worldmodel.evaluation.following.mineworld import Transitions, protocol, vpt_bins
from worldmodel.minecraft.lines import action_of, read_action_lines, read_literal
from worldmodel.minecraft.scenes import find_scenes, likelier_lead, read_scene
from worldmodel.model.loading import load_config, load_starts, load_world_model
from worldmodel.readers.idm import IDMConfig, InverseDynamicsModel, save_idm
from worldmodel.types import BUTTONS, Action
from worldmodel.worlds.neural import NeuralWorld


def dictionary(**held) -> dict:
    return {**dict.fromkeys(BUTTONS, 0), "camera": [0.0, 0.0], **held}


def write_scene(folder, name: str, actions: list[dict], frames: int | None = None, plain: bool = False):
    path = write_clip(folder / name, [], len(actions) if frames is None else frames)
    text = "".join((repr(action) if plain else json.dumps(action)) + "\n" for action in actions)
    path.with_suffix(".jsonl").write_text(text)
    return path


@pytest.mark.parametrize("plain", [False, True], ids=["json", "literal"])
def test_lines_are_actions(tmp_path, plain):
    actions = [dictionary(forward=1, camera=[1.5, -3.0]), dictionary(attack=1), {"jump": 1}]
    path = write_scene(tmp_path, "a_1", actions, plain=plain)
    wanted = [Action(frozenset({"forward"}), 1.5, -3.0), Action(frozenset({"attack"})), Action(frozenset({"jump"}))]
    assert read_action_lines(path.with_suffix(".jsonl")) == wanted
    scene = read_scene(path, HEIGHT, WIDTH)
    assert scene.frames.shape == (3, HEIGHT, WIDTH, 3)
    assert (scene.leading(0), scene.leading(1)) == (wanted[:2], wanted[1:])


def test_one_list_and_vpts_lines_are_read_too(tmp_path):
    (tmp_path / "list.json").write_text(json.dumps([dictionary(back=1), dictionary()]))
    assert read_action_lines(tmp_path / "list.json") == [Action(frozenset({"back"})), Action()]
    write_clip(tmp_path / "vpt", [vpt_line(dx=10.0, keys=["key.keyboard.w"]), vpt_line()])
    assert read_action_lines(tmp_path / "vpt.jsonl") == [Action(frozenset({"forward"}), 0.0, 1.5), Action()]


@pytest.mark.parametrize(
    "text",
    [
        "{'camera': array([0., 1.])}",
        "__import__('os').getcwd()",
        "{'a': " * 10 + "1" + "}" * 10,
        "{'a': 10**10**10}",
        "{" + " " * 20000 + "}",
        "{'a': (lambda: 1)()}",
        "'\\x00'",
        "{'a': ",
    ],
)
def test_what_is_no_literal_is_refused(text):
    with pytest.raises(ClipError, match=r"here:1: (neither JSON nor a plain dictionary|a literal of more)"):
        read_literal(text, "here:1")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"fly": 1}, "unknown buttons"),
        ({"jump": 2}, "jump must be 0 or 1, got 2"),
        ({"camera": [1.0]}, r"camera must be \[pitch, yaw\]"),
        ({"camera": [0.0, float("nan")]}, "camera must be"),
        ({"camera": [0.0, 181.0]}, "within 180"),
        ([1], "an action is a dictionary"),
    ],
)
def test_what_is_no_action(values, told):
    with pytest.raises(ClipError, match=told):
        action_of(values, "a.jsonl:3")


def test_too_few_lines(tmp_path):
    scene = read_scene(write_scene(tmp_path, "a_1", [dictionary()] * 3), HEIGHT, WIDTH)
    assert len(scene.leading(1)) == 2
    short = read_scene(write_scene(tmp_path, "b_1", [dictionary()] * 2, frames=3), HEIGHT, WIDTH)
    with pytest.raises(ClipError, match="3 pictures need 3 lines of actions, it has 2"):
        short.leading(1)
    with pytest.raises(ClipError, match="nowhere is no folder of scenes"):
        find_scenes(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ClipError, match="no scenes in"):
        find_scenes(tmp_path / "empty")


def test_files_become_a_world_that_plays(tmp_path, capsys):
    """From the released files to frames, by two commands; from a scene, from a grey picture, and from a clip."""
    files = write_files(tmp_path / "files")
    rng = np.random.default_rng(0)
    for number in range(2):
        actions = [dictionary(forward=int(rng.integers(2)), camera=[0.0, float(rng.integers(9))]) for _ in range(4)]
        write_scene(tmp_path / "scenes", f"scene_{number}", actions)
    size = ["--height", str(HEIGHT), "--width", str(WIDTH), "--keep", "2"]
    given = [
        *("--model", str(files["model.ckpt"]), "--tokenizer", str(files["vae.ckpt"])),
        *("--tokenizer-config", str(files["config.json"]), "--config", str(files["model.yaml"])),
    ]
    out = tmp_path / "world"
    scenes = ["--scenes", str(tmp_path / "scenes"), "--scene-frames", "3"]
    assert main(["import-mineworld", *given, *size, *scenes, "--out", str(out)]) == 0
    assert "action lead" in capsys.readouterr().err
    config = load_config(out)
    assert config.order == "released-diagonal-1"
    model = load_world_model(out)
    loaded = [read_scene(path, HEIGHT, WIDTH) for path in find_scenes(tmp_path / "scenes")]
    lead, nats = likelier_lead(model, loaded)
    assert config.action_lead == lead == int(np.argmin(nats))
    starts = load_starts(out, config)
    assert [start.tokens.shape for start in starts] == [(3, 15), (3, 15)]
    told = [config.action_tokenizer().encode(action) for action in loaded[0].leading(lead)[:2]]
    assert np.array_equal(starts[0].actions, told)

    report = tmp_path / "report.json"
    clip = str(tmp_path / "scenes" / "scene_1.mp4")
    for start in ("1", clip):
        played = ["play", "--world", str(out), "--headless", "--frames", "3", "--start", start, "--report", str(report)]
        assert main([*played, "--threads", "1"]) == 0
        assert json.loads(report.read_text())["engine"] == "native"
    assert main(["import-mineworld", *given, *size, "--order", "released-raster", "--out", str(tmp_path / "grey")]) == 0
    assert "grey picture" in capsys.readouterr().err
    world = NeuralWorld(tmp_path / "grey")
    first = world.reset(0, 3)
    again = [world.step(Action(frozenset({"forward"}))).tokens.tolist() for _ in range(3)]
    world.reset(0, 3)
    assert again == [world.step(Action(frozenset({"forward"}))).tokens.tolist() for _ in range(3)]
    assert first.frame.shape == (HEIGHT, WIDTH, 3)
    assert read_config(tmp_path / "grey")["model"]["action_lead"] == 0


def test_it_is_recorded_and_verified_and_says_what_it_cannot(tmp_path, capsys):
    files = write_files(tmp_path / "files")
    out, record = tmp_path / "world", tmp_path / "a.wms"
    size = ["--height", str(HEIGHT), "--width", str(WIDTH), "--keep", "2", "--config", str(files["model.yaml"])]
    given = ["--model", str(files["model.ckpt"]), "--tokenizer-config", str(files["config.json"])]
    assert main(["import-mineworld", *given, *size, "--out", str(out)]) == 0
    played = ["play", "--world", str(out), "--headless", "--threads", "1"]
    assert main([*played, "--frames", "4", "--record", str(record)]) == 0
    assert main(["replay", str(record), "--verify", "--threads", "1"]) == 0
    assert main([*played, "--frames", "1", "--engine", "openvino"]) == 2
    assert "decoded by --engine native or eager, not openvino" in capsys.readouterr().err
    assert main([*played, "--frames", "9", "--guidance", "1", "--actions", "random"]) == 2
    assert "cannot be guided" in capsys.readouterr().err


def test_its_scores_are_those_of_the_definition():
    held = np.zeros((6, len(BUTTONS)), bool)
    read = held.copy()
    forward, drop, use = (BUTTONS.index(name) for name in ("forward", "drop", "use"))
    held[:4, forward] = read[2:5, forward] = True  # of four, two are read, and one that is none
    held[0, drop] = True  # never read
    degrees = np.array([[0.0, 0.0], [0.0, 10.0], [-3.2, 1.0], [0.0, 45.0], [0.0, -10.0], [0.0, 0.0]])
    told = vpt_bins(degrees)
    assert told[:, 1].tolist() == [5, 10, 6, 10, 0, 5]
    parts = [Transitions(held[:3], read[:3], told[:3], told[:3] * 0 + 5)]
    found = protocol([*parts, Transitions(held[3:], read[3:], told[3:], told[3:])])
    moved = found["groups"]["forward/back"]
    assert moved["precision"] == pytest.approx((1 / 3 + 2 / 3) / 2)  # none: 1 of 3; forward: 2 of 3
    assert moved["recall"] == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert moved["micro_f1"] == pytest.approx(3 / 6)
    assert found["groups"]["drop"]["recall"] == pytest.approx(0.5)
    assert found["groups"]["use"]["f1"] == 1.0
    assert found["f1"] == pytest.approx(np.mean([group["f1"] for group in found["groups"].values()]))
    assert found["camera_bins_off"] == pytest.approx((abs(told[:3] - 5)).sum() / 12)
    assert read[:, use].sum() == 0


def test_its_clips_are_evaluated(tmp_path, capsys):
    """From released files and clips to a table: `import-mineworld`, then `evaluate --protocol mineworld`."""
    torch.manual_seed(0)
    small = IDMConfig(height=HEIGHT, width=WIDTH, around=1, channels=(8, 16, 16), pair=32, features=16)
    save_idm(tmp_path / "idm", InverseDynamicsModel(small), small)
    files = write_files(tmp_path / "files")
    size = ["--height", str(HEIGHT), "--width", str(WIDTH), "--keep", "2", "--config", str(files["model.yaml"])]
    given = ["--model", str(files["model.ckpt"]), "--tokenizer-config", str(files["config.json"])]
    assert main(["import-mineworld", *given, *size, "--out", str(tmp_path / "world")]) == 0
    for number in range(2):
        write_scene(tmp_path / "val", f"clip_{number}", [dictionary(forward=1, camera=[0.0, 3.0])] * 4, plain=True)
    write_scene(tmp_path / "val", "unnumbered", [dictionary()] * 4)
    asked = ["evaluate", "--checkpoint", str(tmp_path / "world"), "--data", str(tmp_path / "val")]
    asked += ["--protocol", "mineworld", "--out", str(tmp_path / "out"), "--idm", str(tmp_path / "idm")]
    asked += ["--frames", "3", "--drift", "0", "--timed", "1"]
    assert main(asked) == 0
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert (scores["episodes"], scores["settings"]["context"], scores["settings"]["sampler"]["top_p"]) == (2, 1, 0.8)
    table = scores["mineworld"]["model"]
    assert table["steps"] == 6
    assert table["groups"]["forward/back"]["support"] == 6
    assert "as MineWorld scores" in capsys.readouterr().out
    write_scene(tmp_path / "val", "short_1", [dictionary()] * 2)
    assert main([*asked, "--out", str(tmp_path / "other")]) == 2
    assert "short_1.mp4: 2 pictures, 4 are needed" in capsys.readouterr().err
