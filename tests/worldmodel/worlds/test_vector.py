"""Environments of one neural world that are stepped together, beside environments of their own."""

import copy
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from gymnasium.wrappers.vector import TransformReward

from kernels.sampling import Sampler
from scripts import train_agent
from worldmodel.engine.lanes import Gather
from worldmodel.settings import EngineOptions
from worldmodel.types import WorldModelError
from worldmodel.worlds.gym import WorldEnv
from worldmodel.worlds.neural import NeuralWorld
from worldmodel.worlds.registry import register_worlds
from worldmodel.worlds.vector import NeuralVectorEnv

decode = Gather.decode


def make_envs(folder, count=3, engine="auto", **options):
    world = NeuralWorld(folder, EngineOptions(engine, threads=1), Sampler(guidance=0.5))
    return NeuralVectorEnv(world, count, **options)


def in_a_loop(folder, count=3, engine="auto", limit=10**9, **options):
    """Gymnasium's own way, which is the twin."""

    def make():
        world = NeuralWorld(folder, EngineOptions(engine, threads=1), Sampler(guidance=0.5))
        return TimeLimit(WorldEnv(world), limit)

    return SyncVectorEnv([make] * count, **options)


def same(ours, theirs):
    """Observations, flags and infos, whatever is in them."""
    assert type(ours) is type(theirs)
    if isinstance(ours, dict):
        assert list(ours) == list(theirs)
        for name in ours:
            same(ours[name], theirs[name])
    elif isinstance(ours, tuple):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            same(one, other)
    else:
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        if ours.dtype == object:
            same(tuple(one or {} for one in ours), tuple(other or {} for other in theirs))
        else:
            assert (ours == theirs).all()


def played(envs, steps, **reset):
    """All that is given out; environments differ in what they are told."""
    envs.action_space.seed(3)
    yield envs.reset(**reset)
    for _ in range(steps):
        yield envs.step(envs.action_space.sample())


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_each_is_as_an_environment_of_its_own(tiny_folder, engine):
    ours, theirs = make_envs(tiny_folder, engine=engine), in_a_loop(tiny_folder, engine=engine)
    for name in ("observation_space", "action_space", "single_observation_space", "single_action_space"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.metadata == theirs.metadata
    for one, other in zip(played(ours, 8, seed=5), played(theirs, 8, seed=5), strict=True):
        same(one, other)
    again = list(played(ours, 2, seed=[7, 6, 5]))  # who comes when matters to nobody
    single = WorldEnv(NeuralWorld(tiny_folder, EngineOptions(engine, threads=1), Sampler(guidance=0.5)))
    assert (single.reset(seed=5)[0]["pov"] == again[0][0]["pov"][2]).all()


def test_the_engine_is_called_once_a_step(tiny_folder, monkeypatch):
    calls = []
    monkeypatch.setattr(Gather, "decode", lambda self, steps: calls.append(sorted(steps)) or decode(self, steps))
    envs = make_envs(tiny_folder, 5)
    envs.reset()
    envs.step(envs.idle())
    envs.step(envs.idle())
    assert calls == [[0, 1, 2, 3, 4]] * 2


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_episodes_end_and_begin_as_gymnasiums_do(tiny_folder, mode):
    ours = make_envs(tiny_folder, 2, max_episode_steps=3, autoreset_mode=mode)
    theirs = in_a_loop(tiny_folder, 2, limit=3, autoreset_mode=mode)
    ended = 0
    for one, other in zip(played(ours, 9, seed=[1, 9]), played(theirs, 9, seed=[1, 9]), strict=True):
        same(one, other)
        ended += len(one) > 2 and int(one[3].sum())
    assert ended >= 4


def test_one_that_is_over_may_be_reset_alone(tiny_folder):
    ours, theirs = (make(tiny_folder, 2, autoreset_mode="Disabled") for make in (make_envs, in_a_loop))
    mask = np.array([False, True])
    for envs in (ours, theirs):
        envs.reset(seed=2)
        envs.step(ours.idle())
    answers = [envs.reset(seed=[0, 4], options={"reset_mask": mask, "start": 1}) for envs in (ours, theirs)]
    same(*answers)
    assert answers[0][1]["_start"].tolist() == [False, True]
    same(*(envs.step(ours.idle()) for envs in (ours, theirs)))
    limited = make_envs(tiny_folder, 2, max_episode_steps=1, autoreset_mode="Disabled")
    limited.reset()
    assert limited.step(limited.idle())[3].all()
    with pytest.raises(WorldModelError, match=r"the episodes of 0, 1 are over: call reset\(options="):
        limited.step(limited.idle())
    limited.reset(options={"reset_mask": np.array([True, True])})
    limited.step(limited.idle())


def test_starts_may_differ_and_what_is_given_out_is_the_callers_own(tiny_folder):
    envs = make_envs(tiny_folder)

    def last(damage):
        observations, infos = envs.reset(seed=3, options={"start": [2, 0, 2]})
        assert infos["start"].tolist() == [2, 0, 2]
        assert (observations["pov"][0] == observations["pov"][2]).all()
        moved, *_, told = envs.step(envs.idle())
        if damage:
            for array in (observations["pov"], moved["pov"], told["tokens"], *envs.render()):
                array[:] = 0
            assert all(picture.any() for picture in envs.render())
        return envs.step(envs.idle())[0]["pov"]

    assert (last(False) == last(True)).all()


def test_they_are_made_by_gymnasium_and_wrapped(tiny_folder):
    register_worlds()
    given = {"folder": str(tiny_folder), "threads": 1, "max_episode_steps": 2}
    envs = gymnasium.make_vec("worldmodel/Checkpoint-v0", num_envs=2, **given)
    assert isinstance(envs, NeuralVectorEnv)
    assert gymnasium.spec("worldmodel/nano-v0").vector_entry_point is not None
    rewarded = TransformReward(envs, lambda rewards: rewards + 1)
    rewarded.reset(seed=1)
    _, rewards, terminations, truncations, _ = rewarded.step(envs.action_space.sample())
    assert (rewards.tolist(), terminations.any(), truncations.any()) == ([1.0, 1.0], False, False)
    envs.close()
    envs.close()
    with pytest.raises(WorldModelError, match="these environments are closed"):
        envs.step(envs.idle())
    with pytest.raises(WorldModelError, match="these environments are closed: make new ones"):
        envs.reset()


def test_they_are_pickled_and_copied_before_the_first_reset(tiny_folder):
    envs = make_envs(tiny_folder, 2)
    others = [pickle.loads(pickle.dumps(envs)), copy.deepcopy(envs)]
    first = list(played(envs, 2, seed=1))
    for other in others:
        for one, two in zip(first, played(other, 2, seed=1), strict=True):
            same(one, two)
    with pytest.raises(WorldModelError, match="is being played: it can be pickled and copied before that"):
        pickle.dumps(envs)


def test_what_they_cannot_take_is_one_sentence_and_moves_nobody(tiny_folder):
    envs = make_envs(tiny_folder)
    for what in (lambda: envs.step(envs.idle()), envs.render):
        with pytest.raises(WorldModelError, match=r"call reset\(\) before"):
            what()
    some = np.array([True, False, False])
    for options, sentence in (
        ({"start": [0, 1]}, "start needs a value for each of the 3 environments, got 2"),
        ({"start": [0, 1, 3]}, r"start must be a whole number in 0\.\.2, got 3"),
        ({"go": 1}, "unknown options go"),
        ({"reset_mask": some}, "the first reset is of all environments"),
        ({"reset_mask": [1, 0, 0]}, r"reset_mask must be bool \(3,\) with at least one True"),
    ):
        with pytest.raises(WorldModelError, match=sentence):
            envs.reset(options=options)
    for seed in (-1, 1.5, [1, 2, "3"]):
        with pytest.raises(WorldModelError, match="a seed is a whole number from 0, or None, got"):
            envs.reset(seed=seed)
    envs.reset(seed=1)
    idle = envs.idle()
    for actions, sentence in (
        ([idle] * 3, "actions are one dictionary of arrays, as envs.idle"),
        (idle | {"jump": 1}, "jump needs a value for each of the 3 environments, got one value"),
        (idle | {"camera": np.zeros((2, 2))}, "camera needs a value for each of the 3 environments, got 2"),
        (idle | {"jump": [0, 0, 2]}, "jump must be 0 or 1, got 2"),
        (idle | {"fly": [0, 0, 0]}, r"see fly\)"),
    ):
        with pytest.raises(WorldModelError, match=sentence):
            envs.step(actions)
    moved = envs.step(idle)[0]["pov"]
    envs.reset(seed=1)
    assert (envs.step(idle)[0]["pov"] == moved).all()
    world = NeuralWorld(tiny_folder)
    for options, sentence in (
        ({"num_envs": 0}, "num_envs must be a whole number above 0, got 0"),
        ({"max_episode_steps": 0}, "max_episode_steps must be a whole number above 0, got 0"),
        ({"autoreset_mode": "never"}, "autoreset_mode is one of 'NextStep', 'SameStep', 'Disabled', got 'never'"),
        ({"render_mode": "human"}, 'render_mode is "rgb_array" or None'),
    ):
        with pytest.raises(WorldModelError, match=sentence):
            NeuralVectorEnv(world, **options)


def test_the_examples_agent_is_paid_for_what_it_faces(monkeypatch):
    sky = (150, 195, 240)
    pictures = np.zeros((3, 112, 192, 3), np.uint8)
    pictures[0, :, :96] = sky
    pictures[1] = np.subtract(sky, 20)
    assert train_agent.shares(pictures, sky).tolist() == [0.5, 1.0, 0.0]
    patches = train_agent.seen(pictures).reshape(3, 7, 12, 3)
    assert np.allclose(patches[0, :, :6], np.divide(sky, 255))
    assert not patches[0, :, 6:].any()
    actions = train_agent.told(np.array([0, 2, 3]))
    assert actions["camera"].tolist() == [[0, 0], [0, 10], [-10, 0]]
    assert actions.keys() == WorldEnv.idle().keys()
    monkeypatch.setattr(train_agent, "find_spec", lambda name: None)
    with pytest.raises(WorldModelError, match=r"needs stable-baselines3: pip install -e '.\[agent\]'"):
        train_agent.main(train_agent.Arguments())
