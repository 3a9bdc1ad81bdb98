"""Lanes: each gives what a decoder of its own would, whoever plays beside it."""

import threading

import numpy as np
import pytest
from conftest import random_steps, tiny_config, tiny_transformer, with_detail
from test_native import eager_of, needs_compiler

from kernels.sampling import GREEDY, Sampler
from worldmodel.engine.host.native import NativeDecoder, NativeLanes
from worldmodel.engine.lanes import Gather, LaneDecoder, LaneStep, Turns
from worldmodel.types import NO_ACTION, Action

SAMPLERS = [Sampler(0.9, 0, 0.9, 0.6), GREEDY, Sampler(1.1, 4), Sampler(guidance=0.8)]
FRAMES = 12


def play_of(config, lane):
    """(context tokens, context actions, steps): lanes differ in all that a lane has of its own."""
    tokens, actions = random_steps(config, 30, lane)
    encode = config.action_tokenizer().encode
    for index in range(lane % 3, len(actions), 3):
        actions[index] = encode(NO_ACTION if lane % 2 else Action(frozenset({"use", "forward"})))
    first = 1 + lane % 4
    steps = [LaneStep(actions[10 + i], SAMPLERS[lane % len(SAMPLERS)], 7 * lane - 3, i) for i in range(FRAMES)]
    return list(tokens[:first]), list(actions[: first - 1]), steps


def alone(decoder, context, actions, steps):
    decoder.open(context, actions)
    return [decoder.decode(step.action, step.sampler, step.seed, step.frame)[0] for step in steps]


@needs_compiler
@pytest.mark.parametrize("int8", [True, False])
@pytest.mark.parametrize("count", [2, 5, 19])
def test_a_lane_gives_the_tokens_of_a_decoder_of_its_own(count, int8):
    config = with_detail(tiny_config("diagonal-2", (1, 2, 5)))
    model = tiny_transformer(config)
    plays = [play_of(config, lane) for lane in range(count)]
    lanes = NativeLanes(model, count, threads=2, int8=int8)
    for lane, (context, actions, _) in enumerate(plays):
        lanes.open(lane, context, actions)
    made = [[] for _ in plays]
    turn = 0
    while any(len(done) < FRAMES for done in made):
        turn += 1
        # Not all of them move every time.
        moving = [lane for lane in range(count) if (turn + lane) % 4 and len(made[lane]) < FRAMES]
        for lane, (tokens, scores) in lanes.decode({i: plays[i][2][len(made[i])] for i in moving}).items():
            assert scores is None
            made[lane].append(tokens)
    for lane, play in enumerate(plays):
        assert (np.stack(alone(NativeDecoder(model, 1, int8=int8), *play)) == made[lane]).all()
        assert lanes.filled(lane) == config.transformer.window
        assert (np.stack(lanes.frames(lane)) == made[lane][-config.transformer.window :]).all()


@needs_compiler
def test_lanes_may_be_forced_beside_others_and_opened_again():
    config = tiny_config()
    model = tiny_transformer(config)
    plays = [play_of(config, lane) for lane in range(3)]
    tokens, actions = random_steps(config, 4, 9)
    lanes, single = NativeLanes(model, 3, 1), NativeDecoder(model, 1)
    for lane, (context, before, _) in enumerate(plays):
        lanes.open(lane, context, before)
    lanes.open(1, list(tokens[:3]), list(actions[:2]))
    forced = LaneStep(actions[2], SAMPLERS[0], 0, 0, forced=tokens[3])
    made = lanes.decode({0: plays[0][2][0], 1: forced, 2: plays[2][2][0]})
    single.open(list(tokens[:3]), list(actions[:2]))
    given, scores = single.decode(actions[2], SAMPLERS[0], 0, 0, tokens[3])
    assert (made[1][0] == given).all()
    assert made[1][1].tobytes() == scores.tobytes()
    for lane in (0, 2):
        assert (alone(single, *plays[lane][:2], plays[lane][2][:1])[0] == made[lane][0]).all()


def test_without_a_batch_the_lanes_take_turns():
    config = tiny_config()
    model = tiny_transformer(config)
    plays = [play_of(config, lane) for lane in range(2)]
    lanes = Turns([eager_of(model), eager_of(model)])
    for lane, (context, actions, _) in enumerate(plays):
        lanes.open(lane, context, actions)
    for index in range(3):
        made = lanes.decode({lane: play[2][index] for lane, play in enumerate(plays)})
    for lane, (context, actions, steps) in enumerate(plays):
        assert (alone(eager_of(model), context, actions, steps[:3])[-1] == made[lane][0]).all()
        assert lanes.filled(lane) == min(3 + len(context), config.transformer.window)


@needs_compiler
def test_players_in_threads_share_calls_and_disturb_nobody():
    config = tiny_config()
    model = tiny_transformer(config)
    plays = [play_of(config, lane) for lane in range(6)]
    lanes = NativeLanes(model, 6, 2)
    gather, made = Gather(lanes), {}

    def player(lane):
        made[lane] = alone(LaneDecoder(gather, lane), *plays[lane])

    threads = [threading.Thread(target=player, args=(lane,), daemon=True) for lane in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for lane, play in enumerate(plays):
        assert (np.stack(alone(NativeDecoder(model, 1), *play)) == made[lane]).all()


def test_what_waits_together_is_one_call_and_an_error_reaches_all_of_it():
    started, go, calls = threading.Event(), threading.Event(), []

    class Slow:
        config, window, count = tiny_config(), 3, 3

        def decode(self, steps):
            calls.append(sorted(steps))
            started.set()
            assert go.wait(30)
            if len(steps) > 1:
                raise ValueError("broken")
            return {lane: (np.full(1, step.seed, np.int32), None) for lane, step in steps.items()}

    gather, results = Gather(Slow()), {}

    def player(lane):
        try:
            results[lane] = LaneDecoder(gather, lane).decode(np.zeros(11, np.int32), GREEDY, lane, 0)[0][0]
        except ValueError as error:
            results[lane] = str(error)

    threads = [threading.Thread(target=player, args=(lane,), daemon=True) for lane in range(3)]
    threads[0].start()
    assert started.wait(30)
    for thread in threads[1:]:
        thread.start()
    while len(gather._waiting) < 2:
        pass
    go.set()
    for thread in threads:
        thread.join(30)
    assert calls == [[0], [1, 2]]
    assert results == {0: 0, 1: "broken", 2: "broken"}
