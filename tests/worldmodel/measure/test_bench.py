"""`worldmodel bench`: what it prints, what it refuses, and that its baseline and its roofline are the real thing."""

import json
import re
from dataclasses import fields

import numpy as np
import pytest
import torch
from conftest import random_steps, tiny_config, tiny_transformer

from client.cli import main
from kernels.sampling import GREEDY
from worldmodel.config import PRESETS
from worldmodel.engine import choice, memory
from worldmodel.engine.choice import KV_CACHES, WEIGHTS, engine_flags, engine_name
from worldmodel.engine.decoder import FrameDecoder, InputTables
from worldmodel.engine.host.eager import EagerBackend
from worldmodel.engine.memory import count_parameters
from worldmodel.measure import bench as module
from worldmodel.measure.baseline import BaselineBackend
from worldmodel.measure.bench import bench
from worldmodel.measure.random_play import fill_context, random_transformer
from worldmodel.measure.roofline import PassCost, Roofline, pass_costs
from worldmodel.settings import BenchOptions, EngineOptions
from worldmodel.types import WorldModelError


def decoder_of(model, backend):
    return FrameDecoder(model.config, InputTables.of(model), backend(model))


@pytest.fixture
def small_roofline(monkeypatch):
    """The device's limits, measured on little."""
    monkeypatch.setattr("worldmodel.measure.roofline.COPY_BYTES", {"cpu": 1 << 20})
    monkeypatch.setattr("worldmodel.measure.roofline.MATRIX_SIZE", {"cpu": 128})


def test_the_command_measures_a_checkpoint_against_the_baseline(tiny_folder, capsys, small_roofline):
    arguments = ["bench", "--checkpoint", str(tiny_folder), "--frames", "4", "--threads", "1", "--baseline"]
    assert main([*arguments, "--engine", "eager", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["engine"] == "eager"
    assert result["frames"] == result["baseline"]["frames"] == 4
    times = result["frame_ms"]
    assert 0 < times["p50"] <= times["p95"] <= times["p99"]
    assert result["context"] == "rolled 3 times by playing"
    assert result["roofline"]["reached"] > 0
    assert result["first_picture_s"] >= result["load_s"]
    ratio = result["baseline"]["frame_ms"]["p50"] / times["p50"]
    assert result["baseline"]["times_slower"] == pytest.approx(ratio, abs=0.05)
    assert main([*arguments[:-1], "--order", "rows"]) == 0
    printed = capsys.readouterr().out
    assert "rows (3 passes)" in printed
    assert "roofline" in printed


def test_the_baseline_computes_what_the_eager_engine_does():
    config = tiny_config()
    model = tiny_transformer(config)
    tokens, actions = random_steps(config, 14)
    made = []
    for backend in (EagerBackend, BaselineBackend):
        decoder = decoder_of(model, backend)
        decoder.open(list(tokens[:2]), list(actions[:1]))
        made.append([decoder.decode(action, GREEDY, 0, i)[0] for i, action in enumerate(actions)])
    assert (np.stack(made[0]) == np.stack(made[1])).all()


def test_a_filled_context_costs_what_a_played_one_does():
    """The same number of entries is attended to as after playing, and decoding goes on from it."""
    config = tiny_config()
    tokens, actions = random_steps(config, 12)
    played, filled = (decoder_of(tiny_transformer(config), EagerBackend) for _ in range(2))
    played.open(list(tokens[:1]), [])
    for index, action in enumerate(actions[:9]):
        played.decode(action, GREEDY, 0, index)
    fill_context(filled, np.random.default_rng(0))
    assert filled.filled == played.filled == 3
    assert filled._visible().sum() == played._visible().sum()
    assert filled.decode(actions[10], GREEDY, 0, 0)[0].shape == tokens[0].shape


def test_the_roofline_counts_every_weight_once_a_pass():
    config = PRESETS["mineworld-300m"]
    costs = pass_costs(config, 2, 2)
    assert len(costs) == 37
    weights = count_parameters(config) - config.action_tokenizer().vocabulary * config.transformer.hidden
    cache = 16 * 361 * 2 * 20 * 4 * 64  # frames x (336 places, 14 tail, 11 action) x keys and values
    assert costs[5].bytes == pytest.approx(2 * (weights + cache), rel=1e-3)
    assert PassCost(10.0, 1000.0).seconds(Roofline(5.0, 1000.0)) == 2
    assert PassCost(10.0, 9000.0).seconds(Roofline(5.0, 1000.0)) == 9


def test_random_weights_are_seeded_and_finite():
    config = tiny_config()
    a, b = (random_transformer(config, torch.device("cpu"), torch.float32) for _ in range(2))
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q)
        assert p.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "mineworld-7b"}, "known are nano, mineworld-300m"),
        ({"order": "spiral"}, "unknown decode order"),
        ({"frames": 0}, "--frames must be at least 1"),
        ({"threads": -1}, "--threads"),
        ({"weights": "int8", "device": "cpu"}, "int8 weights are for the cuda engine"),
        ({"weights": "int2", "device": "cpu"}, "unknown weights"),
        ({"kv_cache": "int8", "device": "cpu"}, "int8 cache is for the cuda engine"),
        ({"device": "cuda"}, "no cuda device here"),
    ],
)
def test_bad_options_are_one_sentence(options, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    names = [own.name for own in fields(EngineOptions)]
    engine = EngineOptions(**{name: value for name, value in options.items() if name in names})
    asked = BenchOptions(**{name: value for name, value in options.items() if name not in names}, engine=engine)
    with pytest.raises(WorldModelError, match=message):
        bench(asked)


def test_play_goes_on_with_the_cpu_where_the_gpu_will_not_do(monkeypatch, tmp_path):
    """A GPU too small for the model, and one that PyTorch cannot use: a sentence each; asked for by name, an error."""
    config = PRESETS["mineworld-300m"]
    parameters, free = count_parameters(config), {"cuda": 500_000_000, "cpu": 64_000_000_000}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(memory, "free_bytes", lambda device: free[device.type])
    device, notices = choice.choose_device(config, parameters, EngineOptions())
    assert (device.type, len(notices)) == ("cpu", 1)
    assert re.fullmatch(r"the model needs 0\.\d GB of memory on cuda, 0\.5 GB are free; the CPU plays", notices[0])
    for asked in (EngineOptions(device="cuda"), EngineOptions(engine="cuda")):
        with pytest.raises(WorldModelError, match="GB are free: close other programs"):
            choice.choose_device(config, parameters, asked)
    free["cuda"] = 80_000_000_000
    assert choice.choose_device(config, parameters, EngineOptions()) == (torch.device("cuda"), ())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(choice, "NVIDIA_DRIVER", tmp_path)  # it exists
    device, notices = choice.choose_device(config, parameters, EngineOptions())
    assert device.type == "cpu"
    assert notices[0].startswith("the NVIDIA GPU cannot be used (")
    monkeypatch.setattr(choice, "NVIDIA_DRIVER", tmp_path / "none")
    assert choice.choose_device(config, parameters, EngineOptions()) == (torch.device("cpu"), ())


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("kv_cache", KV_CACHES)
def test_an_engines_name_says_how_to_choose_it_again(weights, kv_cache):
    flags = engine_flags(engine_name("cuda", weights, kv_cache)).split()
    given = dict(zip(flags[::2], flags[1::2], strict=True))
    expected = {"--engine": "cuda", "--weights": weights, "--kv-cache": kv_cache}
    assert given == {flag: value for flag, value in expected.items() if value != "auto"}


def test_too_little_memory_is_said_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2_000_000_000)
    monkeypatch.setattr(module, "_model", lambda *args: pytest.fail("loaded"))
    with pytest.raises(WorldModelError, match=r"needs 5\.\d GB of memory on cpu, 2\.0 GB are free"):
        bench(BenchOptions(preset="mineworld-1200m", engine=EngineOptions("eager", device="cpu")))
