"""Other real games behind the World protocol, recorded as clips, and our worlds among Gymnasium's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from conftest import ROOT
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from client.cli import main
from tests import minerl_from_pypi
from tests.conftest import write_clip
from tests.fakes import FakeWorld
from worldmodel.data.clips import read_clip
from worldmodel.data.ticks import read_actions
from worldmodel.games import game_of, make_game
from worldmodel.games.clip_recorder import ClipRecorder, record_clips
from worldmodel.games.gymnasium_world import GymnasiumWorld, keys_of
from worldmodel.games.minerl import MineRLWorld
from worldmodel.games.minerl import make_env as make_minerl
from worldmodel.types import BUTTONS, NO_ACTION, Action, WorldModelError
from worldmodel.worlds.gym import WorldEnv
from worldmodel.worlds.registry import register_worlds


def test_games_by_name():
    assert game_of("nano") is None
    assert game_of("vizdoom") == ("vizdoom", "")
    assert game_of("gym:ALE/Pong-v5") == ("gym", "ALE/Pong-v5")
    with pytest.raises(WorldModelError, match="no game 'nano'"):
        make_game("nano", (8, 8))


# MineRL


class MineRLDouble:
    """An environment with MineRL 1.0's spaces, signatures and temper."""

    metadata = {}  # noqa: RUF012

    def __init__(self, fail_at: int = -1) -> None:
        self.action_space = spaces.Dict(
            {**{name: spaces.Discrete(2) for name in BUTTONS}, "camera": spaces.Box(-180.0, 180.0, (2,), np.float32)}
        )
        self.observation_space = spaces.Dict({"pov": spaces.Box(0, 255, (360, 640, 3), np.uint8)})
        self.seeded: int | None = None
        self.told: list[dict] = []
        self.fail_at, self.steps = fail_at, 0

    def seed(self, number: int) -> None:
        assert isinstance(number, int)
        self.seeded = number

    def reset(self):
        assert self.seeded is not None, "seed before every reset"
        self.rng = np.random.default_rng(self.seeded)
        self.seeded, self.steps = None, 0
        return {"pov": self.rng.integers(0, 256, (360, 640, 3), dtype=np.uint8)}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.told.append(action)
        self.steps += 1
        done = bool(action["ESC"]) or self.steps == 30
        info = {"error": "Minecraft has gone"} if self.steps == self.fail_at else {}
        return {"pov": self.rng.integers(0, 256, (360, 640, 3), dtype=np.uint8)}, 0.0, done, info

    def close(self) -> None:
        pass


def test_minerl_is_seeded_before_every_reset_and_told_in_its_own_units():
    env = MineRLDouble()
    world = MineRLWorld(env, "double", (224, 384))
    first = world.reset(1, 5).frame
    assert first.shape == (224, 384, 3)
    assert np.array_equal(first, world.reset(1, 5).frame)
    assert not np.array_equal(first, world.reset(2, 5).frame)
    world.step(Action(frozenset({"forward", "hotbar.3", "ESC"}), -2.5, 200.0))
    told = env.told[-1]
    assert {name for name in BUTTONS if told[name]} == {"forward", "hotbar.3"}  # Escape would end the episode
    assert told["camera"].tolist() == [-2.5, 180.0]
    assert world.tick_rate == 20


def test_minerls_failures_are_one_sentence():
    world = MineRLWorld(MineRLDouble(fail_at=2), "double", (90, 160))
    with pytest.raises(WorldModelError, match="call reset"):
        world.step(NO_ACTION)
    world.reset()
    world.step(NO_ACTION)
    with pytest.raises(WorldModelError, match="the game failed: Minecraft has gone"):
        world.step(NO_ACTION)
    over = MineRLWorld(MineRLDouble(), "double", (90, 160))
    over.reset()
    steps = [over.step(NO_ACTION) for _ in range(31)]
    assert steps[-1].status.notes == (("episode", "over: start again"),)
    assert np.array_equal(steps[-1].frame, steps[-2].frame)


def test_minerl_that_is_not_installed_says_how(capsys):
    try:
        import minerl  # noqa: F401
    except ImportError:
        with pytest.raises(WorldModelError, match=r"pip install git\+https.*Java 8"):
            make_minerl("MineRLHumanSurvival-v0")
        assert main(["play", "--world", "minerl", "--headless", "--frames", "1"]) == 2
        assert "MineRL is not installed" in capsys.readouterr().err
    else:
        pytest.skip("MineRL is installed here")


def test_pypis_older_minerl_is_played_too():
    folder = os.environ.get(minerl_from_pypi.FOLDER)
    if not folder:
        pytest.skip("PyPI's minerl is not here: see tests/minerl_from_pypi.py")
    path = os.pathsep.join([*minerl_from_pypi.paths(Path(folder)), str(ROOT)])
    command = [sys.executable, "-W", "ignore", "-c", minerl_from_pypi.PLAY]
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)
    assert "played 3" in done.stdout, done.stderr


# Clips


def test_what_is_played_is_recorded_as_clips(tmp_path):
    """Of worlds of 10 and of 20 steps a second: the same actions come back, each with the picture it was taken on."""
    played = [Action(frozenset({"forward"}), 0.0, 3.0), Action(frozenset({"hotbar.4"})), Action(yaw=-1.5), NO_ACTION]
    world = FakeWorld((112, 192), tick_rate=10.0)
    recorder = ClipRecorder(world, tmp_path, "a")
    frames = [recorder.reset(0, 1).frame]
    frames += [recorder.step(action).frame for action in played]
    recorder.reset(1, 1)
    recorder.close()
    (clip,) = recorder.written
    steps = list(read_clip(clip, 112, 192))
    assert [step.action for step in steps] == played
    assert len(steps) == 4
    for step, frame in zip(steps, frames, strict=False):
        assert abs(step.frame.astype(int) - frame).mean() < 6  # video loses a little
    fast = ClipRecorder(FakeWorld((112, 192), tick_rate=20.0), tmp_path, "b")
    fast.reset()
    for action in played:
        fast.step(action)
    fast.close()
    assert len(fast.written[0].with_suffix(".jsonl").read_text().splitlines()) == 4
    assert read_actions(fast.written[0].with_suffix(".jsonl"))[0].yaw == 3.0
    assert not [path for path in tmp_path.iterdir() if "tmp" in path.name]


def test_clips_that_are_there_are_left_alone(tmp_path):
    write_clip(tmp_path / "fake-3-0000.mp4", [], 2)
    made = list(record_clips(FakeWorld(), tmp_path, 2, 4, 3, "fake"))
    assert [path.name for path in made] == ["fake-4-0000.mp4"]


# Gymnasium


class KeyedEnv(gymnasium.Env):
    """A light that is moved; it names its keys as Atari's environments do."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012
    action_space = spaces.Discrete(4)
    observation_space = spaces.Box(-100, 100, (2,), np.float32)

    def __init__(self, render_mode="rgb_array"):
        self.render_mode = render_mode

    def get_keys_to_action(self):
        return {(ord("w"),): 1, (1073741903,): 2, (ord("w"), 1073741903): 3, "x": 0}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.integers(0, 5, 2)
        return self.place.astype(np.float32), {}

    def step(self, action):
        self.place = self.place + [(0, 0), (1, 0), (0, 1), (1, 1)][action]
        return self.place.astype(np.float32), 0.0, bool(self.place.max() > 20), False, {}

    def render(self):
        picture = np.zeros((40, 60, 3), np.uint8)
        picture[tuple(self.place)] = 255
        return picture


def test_an_environment_with_keys_is_a_world():
    world = GymnasiumWorld(KeyedEnv())
    assert keys_of(world.env) == {
        frozenset({"forward"}): 1,
        frozenset({"right"}): 2,
        frozenset({"forward", "right"}): 3,
    }
    assert (world.frame_shape, world.tick_rate) == ((40, 60), 20.0)
    first = np.argwhere(world.reset(0, 3).frame[..., 0])[0]
    held = (({"forward"}, [1, 0]), ({"right", "attack"}, [1, 1]), ({"forward", "right"}, [2, 2]), (set(), [2, 2]))
    for buttons, moved in held:
        place = np.argwhere(world.step(Action(frozenset(buttons))).frame[..., 0])[0]
        assert (place - first).tolist() == moved
    assert np.array_equal(world.reset(0, 3).frame, world.reset(0, 3).frame)
    with pytest.raises(WorldModelError, match='render_mode="rgb_array"'):
        GymnasiumWorld(KeyedEnv(render_mode=None))


def test_an_environment_that_names_no_keys_needs_a_function():
    env = KeyedEnv()
    env.get_keys_to_action = None
    with pytest.raises(WorldModelError, match=r"does not say how its actions \(Discrete\) are played"):
        GymnasiumWorld(env)
    world = GymnasiumWorld(env, lambda action: int("jump" in action.buttons))
    first = np.argwhere(world.reset().frame[..., 0])[0]
    assert (np.argwhere(world.step(Action(frozenset({"jump"}))).frame[..., 0])[0] - first).tolist() == [1, 0]


def test_our_own_environment_is_a_world_again(tiny_folder):
    """Dict actions with MineRL's names: there and back."""
    register_worlds()
    env = gymnasium.make("worldmodel/Checkpoint-v0", folder=str(tiny_folder), engine="eager", threads=1)
    world = GymnasiumWorld(env)
    world.reset(0, 1)
    told = world._to_action(Action(frozenset({"forward"}), 1.0, -2.0))
    assert env.action_space.contains(told)
    assert world.step(Action(frozenset({"forward"}), 1.0, -2.0)).frame.shape == (48, 80, 3)
    assert world.frame_shape == (48, 80)


def test_worlds_are_registered(tiny_folder):
    register_worlds()
    env = gymnasium.make("worldmodel/Checkpoint-v0", folder=str(tiny_folder), engine="eager", threads=1)
    check_env(env.unwrapped, skip_render_check=True)
    assert "worldmodel/nano-v0" in gymnasium.registry
    given = {"folder": str(tiny_folder), "engine": "eager", "threads": 1}
    envs = gymnasium.make_vec("worldmodel/Checkpoint-v0", num_envs=2, vectorization_mode="sync", **given)
    observations, _ = envs.reset(seed=3)
    assert observations["pov"].shape == (2, 48, 80, 3)
    actions = envs.action_space.sample()
    actions["camera"] = np.zeros((2, 2), np.float32)
    assert envs.step(actions)[0]["pov"].shape == (2, 48, 80, 3)
    envs.close()


def test_keys_of_our_own_environment():
    env = WorldEnv(FakeWorld())
    keys = env.get_keys_to_action()
    assert keys[()].keys() == env.action_space.spaces.keys()
    assert keys[("a", "w")]["forward"] == keys[("a", "w")]["left"] == 1
    assert keys[("l",)]["camera"].tolist() == [0.0, 6.0]
    assert all(env.action_space.contains(action) for action in keys.values())
    assert ("s", "w") not in keys


# ViZDoom


def test_vizdoom_is_played_recorded_and_trained_on(tmp_path):
    """The README's three commands, small."""
    pytest.importorskip("vizdoom", reason="ViZDoom is not installed: pip install vizdoom")
    assert (
        main(["play", "--world", "vizdoom:basic", "--headless", "--frames", "3", "--clips", str(tmp_path / "own")]) == 0
    )
    assert len(list((tmp_path / "own").glob("*.mp4"))) == 1
    size = ["--height", "48", "--width", "80"]
    recorded = ["record-game", "--world", "vizdoom:my_way_home", "--out", str(tmp_path / "clips"), "--clips", "1"]
    assert main([*recorded, "--frames", "14", *size]) == 0
    small = ["--hidden", "16", "--mlp", "16", "--layers", "1", "--heads", "2", "--kv-heads", "1", "--head-dim", "8"]
    from tests.conftest import tiny_config, tiny_transformer
    from worldmodel.model.loading import save_world_model
    from worldmodel.tokenizers.image import ImageTokenizer

    config = tiny_config()
    save_world_model(tmp_path / "tiny", config, ImageTokenizer(config.image_tokenizer), tiny_transformer(config))
    clips = str(tmp_path / "clips")
    given = ["train", "world", "--data", clips, "--val", clips, "--tokenizer", str(tmp_path / "tiny")]
    given += [
        "--out",
        str(tmp_path / "world"),
        "--cache",
        str(tmp_path / "cache"),
        "--rollouts",
        "1",
        "--val-clips",
        "1",
    ]
    assert (
        main(
            [
                *given,
                *small,
                "--offsets",
                "1",
                "2",
                "--steps",
                "2",
                "--clip",
                "5",
                "--batch",
                "1",
                "--rollout-frames",
                "2",
            ]
        )
        == 0
    )


def test_vizdoom_follows_the_player():
    pytest.importorskip("vizdoom", reason="ViZDoom is not installed: pip install vizdoom")
    world = make_game("vizdoom:my_way_home", (112, 192))
    try:
        first = world.reset(0, 3).frame
        assert np.array_equal(first, world.reset(0, 3).frame)
        assert first.std() > 10
        still = abs(world.step(NO_ACTION).frame.astype(int) - first).mean()
        before = world.step(NO_ACTION).frame
        right = world.step(Action(yaw=20.0)).frame.astype(int)
        back = world.step(Action(yaw=-20.0)).frame.astype(int)
        assert abs(right - before).mean() > 2 * abs(back - before).mean() + still
        # What was on the right is now further left, by about 20 of 90 degrees of the width.
        shifts = range(-80, 81, 4)
        off = [abs(np.roll(before.astype(int), -shift, 1) - right)[20:70, 90:102].mean() for shift in shifts]
        assert shifts[int(np.argmin(off))] > 8
        up = world.step(Action(pitch=-15.0)).frame.astype(int)
        off = [abs(np.roll(back, shift, 0) - up)[40:60].mean() for shift in range(-36, 37, 4)]
        assert range(-36, 37, 4)[int(np.argmin(off))] > 0  # looking up, the scene sinks
    finally:
        world.close()
    with pytest.raises(WorldModelError, match="no scenario 'nowhere'"):
        make_game("vizdoom:nowhere", (8, 8))
