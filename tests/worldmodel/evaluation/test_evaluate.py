"""`worldmodel evaluate` on a tiny world: what it leaves, that it goes on, that its control differs, what it refuses."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, vpt_line, write_clip
from PIL import Image

from client.making import evaluate as evaluate_script
from worldmodel.data.frames import StoredClip
from worldmodel.data.hud import items_told, read_slot
from worldmodel.data.tokens import TokenClip
from worldmodel.evaluation.following.episodes import pick_episodes
from worldmodel.evaluation.following.hotbar import hotbar_kept, slots_followed
from worldmodel.evaluation.metrics.codes import token_entropy
from worldmodel.readers.idm import IDMConfig, InverseDynamicsModel, save_idm
from worldmodel.types import Step, WorldModelError

SMALL = IDMConfig(height=48, width=80, around=1, channels=(8, 16, 16), pair=32, features=16)


@pytest.fixture(scope="module")
def idm(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("idm")
    save_idm(folder, InverseDynamicsModel(SMALL), SMALL)
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "a", [vpt_line(dx=index % 7) for index in range(80)])
    return folder


def evaluate(*arguments):
    command = [sys.executable, ROOT / "scripts/evaluate.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_stretches_in_which_nothing_can_be_seen_are_passed_over():
    frames = np.full((60, 48, 80, 3), 90, np.uint8)
    frames[14] = 1
    frames[14, 44:] = 200  # the hotbar is always to be seen
    played = np.zeros((60, 11), np.int32), np.zeros(60, np.int32)
    pictures = StoredClip("a", frames, np.zeros((60, 23), bool), np.zeros((60, 2), np.float32), played[1])
    stored = TokenClip("a", np.zeros((60, 15), np.uint16), *played)
    assert [episode.start for episode in pick_episodes([(pictures, stored)], 6, 10)] == [0, 15, 20, 30, 40, 50]
    frames[:] = 0  # then there is no better one
    assert [episode.start for episode in pick_episodes([(pictures, stored)], 2, 10)] == [0, 50]


def test_a_report_that_goes_on_after_a_kill(tiny_folder, idm, clips, tmp_path):
    out = tmp_path / "out"
    arguments = [
        "--checkpoint",
        tiny_folder,
        "--data",
        clips,
        "--out",
        out,
        "--idm",
        idm,
        "--cache",
        tmp_path / "cache",
    ]
    arguments += ["--clips", 3, "--frames", 4, "--context", 2, "--drift", 1, "--drift-frames", 100, "--engine", "eager"]
    arguments += ["--timed", 3, "--kept", 2]
    run = evaluate(*arguments)
    assert run.returncode == 0, run.stderr
    scores = json.loads((out / "scores.json").read_text())
    assert set(scores["following"]) == {"real", "reconstructed", "model", "shuffled"}
    assert scores["following"]["model"]["steps"] == 12
    assert len(scores["picture"]["psnr_model"]) == 4
    assert scores["settings"]["order"] == "diagonal-1"
    assert len(scores["settings"]["weights_sha256"]) == 64
    assert scores["drift"][0]["frames"] == [1, 100]
    assert scores["hotbar_kept"].items() >= {"rollouts": 2, "frames": 100}.items()
    assert scores["speed"]["fps"] > 0
    assert {"commit", "cpu", "date"} <= set(scores["provenance"])
    rows = list(csv.DictReader((out / "frames.csv").open()))
    assert len(rows) == 12
    made = [float(row["psnr_model"]) for row in rows if row["frame"] == "2"]
    assert scores["picture"]["psnr_model"][1] == pytest.approx(np.mean(made), abs=1e-3)
    page = (out / "page.html").read_text()
    assert "<svg" in page
    assert "Over 100 frames without a hotbar key" in page
    assert "data:image/jpeg" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    kept = sorted((out / "rollouts").glob("*.npy"))
    assert len(kept) == 9 + 16
    assert [row["seconds"] for row in scores["opposites"]] == [5]  # of 100 frames at 10 Hz
    assert "mouse up, mouse down" in page
    kept[0].unlink()  # as if it had been killed before that one
    before = {path: path.stat().st_mtime_ns for path in kept[1:]}
    again = evaluate(*arguments)
    assert again.returncode == 0, again.stderr
    assert json.loads((out / "scores.json").read_text())["following"] == scores["following"]
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    with pytest.raises(WorldModelError, match="holds another evaluation"):
        evaluate_script.check_folder(out, {**scores["settings"], "seeds": 2})


def test_mistakes_are_told_before_any_long_work(tiny_folder, idm, clips, tmp_path):
    def refused(says, data=clips, **options):
        arguments = evaluate_script.Arguments(tiny_folder, (data,), tmp_path / "out", **{"idm": idm, **options})
        with pytest.raises(WorldModelError, match=says):
            evaluate_script.main(arguments)
        assert not (tmp_path / "out").exists()

    refused("the longest clip has 40", frames=999)
    refused("is not a folder", data=tmp_path / "none")
    refused("no clips in", data=idm)
    refused("holds no inverse dynamics model", idm=tiny_folder)
    refused("--clips must be at least 1", clips=0)
    refused("--kept must be at least 0, got -1", kept=-1)
    refused("no file of published weights", lpips=tmp_path / "nowhere.pth")
    large = IDMConfig(channels=(8, 16, 16), pair=8, features=8)
    save_idm(tmp_path / "large", InverseDynamicsModel(large), large)
    refused("reads frames of 192x112", idm=tmp_path / "large")
    run = evaluate("--checkpoint", tmp_path, "--data", clips, "--idm", idm, "--out", tmp_path / "out")
    assert run.returncode == 2
    assert "is no checkpoint" in run.stderr
    assert "Traceback" not in run.stderr


def test_the_slot_is_read_from_the_shipped_start_scenes():
    """The start scenes' pictures show different slots; their highlight is where the reader says."""
    sheet = np.asarray(Image.open(ROOT / "worldmodel/pretrained/nano/starts.png").convert("RGB"))
    frames = np.concatenate(
        [row.reshape(112, -1, 192, 3).swapaxes(0, 1) for row in sheet.reshape(-1, 112, *sheet.shape[1:])]
    )
    slots = read_slot(frames)
    assert len(set(slots.tolist())) > 2
    for frame, slot in zip(frames, slots, strict=True):
        below = frame[109:111].mean((0, 2))
        left = round((0.1578 + 0.0756 * slot) * 192)
        assert below[left : left + 15].mean() > 1.2 * np.median(below)


def test_the_item_in_hand_is_told_by_its_icon():
    rng = np.random.default_rng(0)
    real = rng.integers(0, 120, (6, 112, 192, 3), np.uint8)
    for number, frame in enumerate(real):
        left = round((0.1578 + 0.0756 * number) * 192)
        frame[109:111, left : left + 15] = 220
    noisy = (real * 0.8 + rng.integers(0, 20, real.shape)).astype(np.uint8)
    assert items_told(noisy, real).all()
    other = real.copy()
    other[:, 90:109] = np.roll(other[:, 90:109], 15, 2)  # every slot shows its neighbour's icon
    assert not items_told(other, real).any()


def test_token_entropy():
    assert token_entropy(np.zeros((4, 8), np.int32)) == 0
    assert token_entropy(np.arange(32).reshape(4, 8)) == pytest.approx(np.log(32))


class Hotbar:
    """A world whose picture is a hotbar: slot keys work, but for the broken ones."""

    name, frame_shape, tick_rate, starts = "hotbar", (112, 192), 10.0, 9

    def __init__(self, broken=()):
        self.broken, self.slot = broken, 0

    def reset(self, start=0, seed=0):
        self.slot = start
        return self._step()

    def step(self, action):
        for button in action.buttons:
            slot = int(button.removeprefix("hotbar.")) - 1
            self.slot = self.slot if slot in self.broken else slot
        return self._step()

    def close(self):
        pass

    def _step(self):
        frame = np.full((112, 192, 3), 60, np.uint8)
        left = round((0.1578 + 0.0756 * self.slot) * 192)
        frame[109:111, left : left + 15] = 220
        return Step(frame)


def test_what_is_kept_of_the_hotbar():
    """Rollouts of a hotbar with nine icons: one stays, one selects another slot for a frame, one shows another item."""
    icons = np.random.default_rng(0).integers(0, 200, (9, 20, 15, 3), np.uint8)

    def rollout(slots, shown=tuple(range(9))):
        frames = np.full((len(slots), 112, 192, 3), 60, np.uint8)
        for place in range(9):
            left = round((0.1578 + 0.0756 * place) * 192)
            frames[:, 89:109, left : left + 15] = icons[place]
            frames[1:, 89:109, left : left + 15] = icons[shown[place]]
        for frame, slot in zip(frames, slots, strict=True):
            left = round((0.1578 + 0.0756 * slot) * 192)
            frame[109:111, left : left + 15] = 220
        return frames

    stays, moves, changes = rollout([3, 3, 3]), rollout([3, 4, 3]), rollout([3, 3, 3], (0, 1, 2, 5, 4, 5, 6, 7, 8))
    assert hotbar_kept([stays, moves]) == {"rollouts": 2, "frames": 2, "slot": 1, "item": 2}
    assert hotbar_kept([changes]) == {"rollouts": 1, "frames": 2, "slot": 1, "item": 0}


def test_slots_followed():
    assert slots_followed(Hotbar(), range(3)) == [True] * 24
    hits = slots_followed(Hotbar(broken={4, 7}), range(3))
    assert (len(hits), sum(hits)) == (24, 18)
