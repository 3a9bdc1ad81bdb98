"""compare.py and sweep.py: rows that come from the evaluations, reference rows, what they refuse, going on."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from conftest import vpt_line, write_clip

from client.making import sweep
from scripts import compare
from worldmodel.evaluation.following.bars import bar_rows
from worldmodel.evaluation.following.comparison import HEAD, OTHER_DATA, comparison, drift_ratio
from worldmodel.evaluation.following.scores import count, score
from worldmodel.readers.idm import IDMConfig, InverseDynamicsModel, save_idm
from worldmodel.settings import EngineOptions
from worldmodel.types import BUTTONS, WorldModelError


def evaluation(wrong=0):
    """Scores as `worldmodel evaluate` writes them: of 10 steps of play, `wrong` of which the model did not follow."""
    held = np.zeros((10, len(BUTTONS)), bool)
    held[:5, BUTTONS.index("attack")] = True
    read = held.copy()
    read[:wrong, BUTTONS.index("attack")] = False
    bins = np.full((10, 2), 10)
    sources = {}
    for name, seen in (("real", held), ("reconstructed", held), ("model", read), ("shuffled", ~held & False)):
        result = score(count(held, seen, bins, bins + (name == "model")))
        sources[name] = {**asdict(result), "interval95": {"f1": (0.1, 0.9)}}
    return {
        "checkpoint": "nano", "provenance": {"cpu": "a CPU"}, "episodes": 2, "following": sources,
        "settings": {"weights_sha256": "ab" * 32, "order": "diagonal-1", "data": ["val"], "frames": 15},
        "speed": {"frames": 5, "fps": 12.34},
        "picture": {"psnr_model": [20, 22], "psnr_repeat": [18, 19], "ssim_model": [0.5]},
        "drift": [
            {"f1": 0.5, "sharpness": 10.0, "token_entropy": 8.0},
            {"f1": 0.4, "sharpness": 9.0, "token_entropy": 7.0},
        ],
    }  # fmt: skip


def test_rows_are_the_evaluations_and_the_published_figures_marked_as_other_data():
    perfect, worse = (dict(zip(HEAD, row, strict=True)) for row in comparison([evaluation(), evaluation(5)])[:2])
    assert perfect["F1 (95%)"] == "1.000 (0.100 to 0.900)"
    assert perfect["of F1 on real / reconstructed frames"] == "100% / 100%"
    assert (
        worse["of F1 on real / reconstructed frames"] == "33% / 33%"
    )  # attack never read: F1 of none 2/3, of attack 0
    assert worse["PSNR"] == "21.00"
    assert worse["over repeating"] == "+2.50"
    assert worse["camera off, bins / degrees"].startswith("1.00 / ")
    assert worse["F1, last of first 100"] == "80%"
    rest = comparison([evaluation()])[1:]
    assert len(rest) == 4
    assert all(row[1] == OTHER_DATA for row in rest)
    assert drift_ratio({"drift": []}) is None


def test_the_script_writes_a_table_and_a_page(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scores.json").write_text(json.dumps(evaluation()))
    compare.main(compare.Arguments((tmp_path / "a", tmp_path / "b"), tmp_path / "out"))
    assert "MineWorld 300M" in capsys.readouterr().out
    assert (tmp_path / "out/compare.md").read_text().count("\n| nano") == 2
    assert (tmp_path / "out/page.html").read_text().count("<svg") == 2
    with pytest.raises(WorldModelError, match="holds no evaluation"):
        compare.main(compare.Arguments((tmp_path,), tmp_path / "out"))


def test_a_sweep_has_a_row_for_each_setting_and_goes_on(tiny_folder, tmp_path):
    torch.manual_seed(0)
    config = IDMConfig(height=48, width=80, around=1, channels=(8, 16, 16), pair=8, features=8)
    save_idm(tmp_path / "idm", InverseDynamicsModel(config), config)
    write_clip(tmp_path / "clips/a", [vpt_line(dx=index % 7) for index in range(40)])
    arguments = sweep.Arguments(
        (tiny_folder,), (tmp_path / "clips",), tmp_path / "out", temperatures=(1.0,), top_ps=(0.5, 1.0),
        idm=tmp_path / "idm", clips=2, frames=3, context=2, drift=1, drift_frames=150, timed=2,
        engine=EngineOptions("eager"), cache=tmp_path / "cache",
    )  # fmt: skip
    sweep.main(arguments)
    found = json.loads((tmp_path / "out/sweep.json").read_text())
    assert [row["sampler"]["top_p"] for row in found["rows"]] == [0.5, 1.0]
    assert all(row["speed"]["fps"] > 0 for row in found["rows"])
    assert len({row["validation"]["loss_nats_per_token"] for row in found["rows"]}) == 1  # of the weights alone
    first, last = zip(*(row["token_entropy"] for row in found["rows"]), strict=True)
    assert 0 < first[0] < first[1]  # the colder, the fewer codes
    assert 0 < last[0] < last[1]
    assert (tmp_path / "out/sweep.png").exists()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.npy")}
    sweep.main(arguments)
    assert json.loads((tmp_path / "out/sweep.json").read_text())["rows"] == found["rows"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.npy")} == kept
    with pytest.raises(WorldModelError, match="the longest clip has 20"):
        sweep.main(
            sweep.Arguments((tiny_folder,), (tmp_path / "clips",), tmp_path / "x", idm=tmp_path / "idm", frames=99)
        )


def test_bars_are_told_as_met_or_missed():
    scores = evaluation(5) | {"tokenizer": {"psnr": 29.5, "slots_read": 0.9, "edges_kept": 0.9, "sharpness": 10.0}}
    play = {"fps": 16.2, "latency_ms": {"p95": 81.2}}
    rows = {row[0]: row[1:] for row in bar_rows([scores, scores], play, [], 35.3)}
    assert rows["tokenizer PSNR, dB"] == ["at least 29.00", "29.50", "29.50"]
    assert rows["hotbar slot read from the tokenizer's pictures"][1] == "90.0% (missed)"
    assert rows["macro F1, of its ceiling"][1] == "33.3% (missed)"
    assert rows["token entropy in the last 100 of 1,800 frames, of that in the first"][1] == "87.5% (missed)"
    assert rows["weights, MB"] == ["at most 45.0", "35.3", "35.3"]
    assert rows["frames a second, two cores"] == ["at least 15.0", "16.2", "16.2"]
    assert rows["... input to picture, p95, ms"] == ["at most 80", "81 (missed)", "81 (missed)"]
    stays = {"kind": "place", "question": "there", "away_seconds": 2.5, "bar": 0.6}
    game = {"bars": [{**stays, "share": 0.5, "hits": 25, "n": 50, "met": False}]}
    assert bar_rows([scores], play, [game], 1)[-1] == [
        "place: there for 2.5 s",
        "at least 60%",
        "50% (25 of 50) (missed)",
    ]


def test_a_sweep_names_the_option_that_is_out_of_range(tmp_path):
    args = sweep.Arguments((tmp_path,), (tmp_path,), tmp_path, temperatures=(0.7, 11.0), top_ps=(0.0,))
    with pytest.raises(WorldModelError, match=r"^--temperatures must lie in 0\.\.10, got 11\.0; --top-ps must lie in"):
        sweep.samplers(args)
