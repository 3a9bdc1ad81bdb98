"""The neural world on a tiny checkpoint, and the gymnasium wrapper."""

import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import tiny_config, tiny_transformer
from gymnasium.utils.env_checker import check_env

from kernels.sampling import GREEDY, Sampler
from worldmodel.checkpoint import CheckpointError
from worldmodel.engine.choice import pick_device
from worldmodel.engine.cuda.frame_step import FrameStep
from worldmodel.engine.cuda.graph import GraphDecoder
from worldmodel.model.loading import load_sampler, save_world_model
from worldmodel.settings import EngineOptions, SamplingOptions
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.types import Action, World, WorldModelError
from worldmodel.worlds.gym import WorldEnv
from worldmodel.worlds.neural import NeuralWorld, find_checkpoint


@pytest.fixture
def world(tiny_folder):
    return NeuralWorld(tiny_folder, EngineOptions(threads=1))


def test_it_is_a_world(world):
    assert isinstance(world, World)
    assert world.engine in ("native", "openvino")  # as there is a compiler or none
    assert world.starts == 3
    step = world.reset(1, seed=5)
    assert step.frame.shape == (48, 80, 3)
    assert step.frame.dtype == np.uint8
    step = world.step(Action(frozenset({"forward"}), 2.0, -3.0))
    assert step.tokens is not None
    assert step.tokens.dtype == np.int32
    assert set(step.timings) == {"decode", "pixels"}


def test_start_scenes_wrap_around_and_seeds_matter(world):
    assert (world.reset(0).tokens == world.reset(3).tokens).all()
    assert (world.reset(0).tokens != world.reset(1).tokens).any()

    def play(seed):
        world.reset(0, seed)
        return np.stack([world.step(Action()).tokens for _ in range(4)])

    assert (play(1) == play(1)).all()
    assert (play(1) != play(2)).any()


def test_engines_of_one_precision_make_the_same_frames(tiny_folder):
    frames = {}
    for engine in ("eager", "openvino"):
        world = NeuralWorld(tiny_folder, EngineOptions(engine, "cpu", 1), GREEDY)
        world.reset(2)
        frames[engine] = np.stack([world.step(Action(yaw=5.0)).frame for _ in range(5)])
    assert abs(frames["eager"].astype(int) - frames["openvino"]).mean() < 0.5  # one paints in int8


def test_users_mistakes_are_one_sentence(world, tiny_folder, tmp_path):
    with pytest.raises(WorldModelError, match="no world 'nowhere'"):
        find_checkpoint("nowhere")
    assert find_checkpoint(str(tiny_folder)) == tiny_folder
    with pytest.raises(WorldModelError, match="unknown engine 'warp'"):
        NeuralWorld(tiny_folder, EngineOptions("warp"))
    with pytest.raises(WorldModelError, match="unknown device"):
        pick_device("abacus")
    with pytest.raises(WorldModelError, match=r"\(10, 10\), the model's frames are \(48, 80\)"):
        world.scene_of(np.zeros((10, 10, 3), np.uint8))
    config = tiny_config()
    save_world_model(tmp_path, config, ImageTokenizer(config.image_tokenizer), tiny_transformer(config))
    with pytest.raises(WorldModelError, match="no start scenes"):
        NeuralWorld(tmp_path, EngineOptions(threads=1)).reset()


def test_gymnasium_env_passes_the_check(world):
    env = WorldEnv(world)
    check_env(env, skip_render_check=True)
    _first, info = env.reset(seed=4, options={"start": 2})
    assert info["start"] == 2
    moved = env.step({**env.idle(), "camera": [0.0, 8.0], "forward": 1})
    env.reset(seed=4, options={"start": 2})
    again = env.step({**env.idle(), "camera": [0.0, 8.0], "forward": 1})
    assert (moved[0]["pov"] == again[0]["pov"]).all()
    assert moved[1:4] == (0.0, False, False)


def test_what_an_env_gives_out_is_the_callers_own(world):
    env = WorldEnv(world, "rgb_array")

    def second(damage):
        first, _ = env.reset(seed=3, options={"start": 0})
        observation, *_, info = env.step(env.idle())
        if damage:
            for array in (first["pov"], observation["pov"], info["tokens"], world.opening.tokens, env.render()):
                array[:] = 0
            assert env.render().any()
        return env.step(env.idle())[0]["pov"]

    first = second(False)
    assert (second(True) == first).all()
    step = world.reset(0, 5)
    step.tokens[:] = 0
    assert (second(False) == first).all()  # the start scene itself is whole


def test_an_env_is_rendered_at_the_rate_of_its_world(world):
    assert WorldEnv(world, "rgb_array").metadata["render_fps"] == world.tick_rate == 10
    assert "render_fps" not in WorldEnv.metadata  # one world's is not another's
    with pytest.raises(WorldModelError, match="render_mode is \"rgb_array\" or None, got 'human'"):
        WorldEnv(world, "human")


def test_what_an_env_cannot_take_is_one_sentence(world):
    env = WorldEnv(world)
    for what in (lambda: env.step(env.idle()), env.render):
        with pytest.raises(WorldModelError, match=r"call reset\(\) before"):
            what()
    for start in (-1, 3, 10**30, 1.5, "1", [0]):
        with pytest.raises(WorldModelError, match=r"start must be a whole number in 0\.\.2, got"):
            env.reset(options={"start": start})
    with pytest.raises(WorldModelError, match='unknown options seed: there is "start" alone'):
        env.reset(options={"start": 0, "seed": 3})
    assert env.reset(options={"start": np.int64(2)})[1] == {"start": 2}
    idle = env.idle()
    for action, sentence in (
        ({}, "an action has the keys of env.idle"),
        ([0, 1], r"see list\)"),
        (idle | {"fly": 1}, r"see fly\)"),
        (idle | {"camera": [0, 181]}, r"each within 180, got \[0, 181\]"),
        (idle | {"camera": [float("nan"), 0]}, "camera must be"),
        (idle | {"camera": 3}, "camera must be"),
        (idle | {"jump": 2}, "jump must be 0 or 1, got 2"),
        (idle | {"jump": 0.5}, "jump must be 0 or 1, got 0.5"),
    ):
        with pytest.raises(WorldModelError, match=sentence):
            env.step(action)
    env.step(idle | {"jump": np.True_, "camera": np.array([180, -180])})


def test_an_env_is_pickled_and_copied_before_its_first_reset(world):
    env = WorldEnv(world, "rgb_array")
    world.sampler = GREEDY
    others = [pickle.loads(pickle.dumps(env)), copy.deepcopy(env)]
    pictures = []
    for one in (env, *others):
        one.reset(seed=1, options={"start": 1})
        pictures.append(one.step(one.idle())[0]["pov"])
    assert others[0].metadata == env.metadata
    assert (pictures[0] == pictures[1]).all()
    assert (pictures[0] == pictures[2]).all()
    with pytest.raises(WorldModelError, match="is being played: it can be pickled and copied before that"):
        copy.deepcopy(env)


# Two processes, in a fresh interpreter: this one has run a model. argv: checkpoint, whether the parent plays first.
VECTOR = """
import sys
from pathlib import Path
import torch
from gymnasium.vector import AsyncVectorEnv
from worldmodel.types import WorldModelError
from worldmodel.worlds.gym import WorldEnv
from worldmodel.settings import EngineOptions
from worldmodel.worlds.neural import NeuralWorld
torch.set_num_threads(2)
torch.randn(512, 512).exp().sum()  # a policy's: PyTorch has threads before the fork
def make():
    return WorldEnv(NeuralWorld(Path(sys.argv[1]), EngineOptions(threads=1)))
if sys.argv[2] == "plays":
    make().reset()
envs = AsyncVectorEnv([make, make], context="fork")
try:
    envs.reset(seed=[1, 2], options={"start": 1})
    observation, *_ = envs.step(envs.action_space.sample())
    print(observation["pov"].shape)
except WorldModelError as error:
    print(error)
envs.close(terminate=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(
    ("before", "answer"), [("nothing", "(2, 48, 80, 3)"), ("plays", 'AsyncVectorEnv(..., context="spawn")')]
)
def test_envs_in_forked_processes_work_or_say_what_to_do(tiny_folder, before, answer):
    command = [sys.executable, "-W", "ignore", "-c", VECTOR, str(tiny_folder), before]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert answer in done.stdout, done.stdout + done.stderr


def test_the_screen_says_what_the_engine_is_doing(tiny_folder):
    world = NeuralWorld(tiny_folder, EngineOptions(threads=1))
    decoder = GraphDecoder(FrameStep(world.model.transformer, world.model.tokenizer), graph=False)
    world._built = replace(world._built, decoder=decoder, pixels=decoder.pixels)
    world.reset(1, seed=2)
    step = world.step(Action(yaw=5.0))
    assert step.status.notes == (("engine", "eager"),)
    assert (step.frame == world.pixels(step.tokens)).all()


def test_an_engine_that_cannot_run_here_says_so(tiny_folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(WorldModelError, match=r"no cuda device here .*; use --device cpu"):
        NeuralWorld(tiny_folder, EngineOptions(device="cuda"))
    with pytest.raises(WorldModelError, match="the cuda engine runs on a CUDA device, not on cpu"):
        NeuralWorld(tiny_folder, EngineOptions("cuda"))
    with pytest.raises(WorldModelError, match="fp8 weights are for the cuda engine, not for openvino"):
        NeuralWorld(tiny_folder, EngineOptions("openvino", weights="fp8"))


def test_a_checkpoint_says_how_its_tokens_are_drawn_and_options_change_it(tiny_folder, tmp_path):
    folder = tmp_path / "guided"
    shutil.copytree(tiny_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    assert NeuralWorld(folder, EngineOptions(threads=1)).sampler == Sampler()

    def write(sampling):
        (folder / "config.json").write_text(json.dumps(config | {"sampling": sampling}))

    write({"top_p": 0.9, "guidance": 0.5})
    own = NeuralWorld(folder, EngineOptions(threads=1)).sampler
    assert own == Sampler(1.0, 0, 0.9, 0.5)
    assert SamplingOptions().over(own) == own
    assert SamplingOptions(temperature=0.3, guidance=0.0).over(own) == Sampler(0.3, 0, 0.9, 0.0)
    with pytest.raises(WorldModelError, match=r"--temperature must lie in .*; --top-p must lie in"):
        SamplingOptions(temperature=11, top_p=0).over(own)
    write({"top_p": 0.9, "walk_guidance": 0.9, "work_temperature": 0.4})
    with pytest.raises(CheckpointError, match="work_temperature and walk_guidance: there is one guidance"):
        load_sampler(folder)
    write({"top_p": 0.9, "work_temperature": None, "move_guidance": 0.0})
    assert load_sampler(folder) == Sampler(1.0, 0, 0.9)
    write({"guidance": -1})
    with pytest.raises(CheckpointError, match=r"guidance must lie in 0\.\.10, got -1"):
        load_sampler(folder)
    write({"guidance": None})
    with pytest.raises(CheckpointError, match="guidance must be a finite number, got null"):
        load_sampler(folder)
    write({"magic": 1})
    with pytest.raises(CheckpointError, match="unknown Sampler fields"):
        load_sampler(folder)
