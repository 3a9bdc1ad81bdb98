"""The script for a GPU machine, tried on the CPU: parts are kept, failures cost only themselves, tables are filled."""

import json

import pytest
from conftest import tiny_config

from scripts import gpu_check, write_tables
from worldmodel.types import WorldModelError


@pytest.fixture
def tiny_presets(monkeypatch):
    monkeypatch.setattr("worldmodel.measure.bench.PRESETS", {"tiny": tiny_config(), "other": tiny_config("rows")})
    monkeypatch.setattr("worldmodel.measure.roofline.COPY_BYTES", {"cpu": 1 << 20})
    monkeypatch.setattr("worldmodel.measure.roofline.MATRIX_SIZE", {"cpu": 64})


def test_parts_are_written_one_by_one_and_resumed(tiny_presets, tmp_path, capsys, monkeypatch):
    out = tmp_path / "benchmarks" / "gpu.json"
    args = gpu_check.Arguments(out, frames=2, presets=("tiny", "missing"), device="cpu")
    gpu_check.main(args)
    first = json.loads(out.read_text())
    assert first["device"]
    assert first["parts"]["tiny/engine"]["frames"] == 2
    assert first["parts"]["tiny/engine"]["baseline"]["times_slower"] > 0
    assert "no preset 'missing'" in first["parts"]["missing/engine"]["failed"]
    capsys.readouterr()
    gpu_check.main(gpu_check.Arguments(out, frames=2, presets=("tiny", "other"), device="cpu"))
    second = json.loads(out.read_text())
    assert second["parts"]["tiny/engine"] == first["parts"]["tiny/engine"]  # not done again
    assert second["parts"]["other/engine"]["order"] == "rows"
    assert "tiny/engine" not in capsys.readouterr().out
    monkeypatch.setattr(write_tables, "BENCHMARKS", out.parent)
    assert "other/engine" in write_tables.gpu_speed()
    gpu_check.main(gpu_check.Arguments(out, presets=("tiny",), device="cpu", again=True, limit=-1))
    assert "left for the next run" in capsys.readouterr().out
    assert json.loads(out.read_text()) == second


def test_another_device_does_not_mix_into_the_file(tiny_presets, tmp_path):
    out = tmp_path / "gpu.json"
    out.write_text(json.dumps({"device": "another one", "parts": {}}))
    with pytest.raises(WorldModelError, match="was measured on another one"):
        gpu_check.main(gpu_check.Arguments(out, presets=("tiny",), device="cpu"))


def test_without_a_gpu_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(WorldModelError, match="no CUDA device here"):
        gpu_check.main(gpu_check.Arguments(tmp_path / "gpu.json"))


def test_what_is_not_measured_is_not_claimed(tmp_path, monkeypatch):
    monkeypatch.setattr(write_tables, "BENCHMARKS", tmp_path)
    assert "not yet measured" in write_tables.gpu_speed()
