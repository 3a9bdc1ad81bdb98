"""Plays on a native engine that watches its own memory, then makes it read outside of it, as no player can. What the
engine does wrong ends the process, and says where. test_native_sanitized.py runs it, the sanitizers' library first:

    python tests/sanitized.py PATH
"""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import torch
from conftest import random_steps, tiny_config, tiny_tokenizer, tiny_transformer, with_detail, with_signs
from released import released_config

import kernels.native
from kernels.native_build import SANITIZERS, build
from kernels.sampling import GREEDY, Sampler
from worldmodel.engine.host import native, native_pictures, native_sequences
from worldmodel.engine.host.native import NativeLanes
from worldmodel.engine.host.native_pictures import NativePainter
from worldmodel.engine.host.native_sequences import NativeSequences
from worldmodel.engine.lanes import LaneStep
from worldmodel.engine.released import ReleasedDecoder

SHAPES = (
    with_detail(tiny_config("diagonal-2", (1, 3), layers=1)),
    tiny_config("diagonal-1", (1,), hidden=36, mlp=50, heads=3, kv_heads=1, head_dim=10, layers=2),
    with_signs(tiny_config("rows", (1, 2), hidden=80, layers=1)),
)
RELEASED = released_config("released-diagonal-1", window=3, keep=1, stand_in="last-input")
SAMPLERS = (GREEDY, Sampler(guidance=0.5), Sampler(0.7, 5, 1.0, 0.5), Sampler(2.0, 3, 0.9))


def play(model, int8, players=2, frames=5):
    """Until the ring has rolled, all players together and apart, drawn and forced."""
    tokens, actions = random_steps(model.config, frames + 1)
    lanes = NativeLanes(model, players, threads=2, int8=int8)
    for lane in range(players):
        lanes.open(lane, list(tokens[: lane + 1]), list(actions[:lane]))
    for index in range(frames):
        forced = tokens[index] if index % 3 == 2 else None
        step = LaneStep(actions[index], SAMPLERS[index % len(SAMPLERS)], 7, index, forced)
        for made, _ in lanes.decode({lane: step for lane in range(players) if lane <= index}).values():
            assert 0 <= made.min() <= made.max() < model.codes, "image tokens"


def play_released(model, int8, players=2, frames=6):
    """The same of a released order, until the caches have changed places."""
    tokens, actions = random_steps(model.config, frames + 2)
    backend = NativeSequences(model, players, threads=2, int8=int8)
    decoders = [ReleasedDecoder(model.config, backend, player) for player in range(players)]
    for decoder in decoders:
        decoder.open(list(tokens[:2]), list(actions[:1]))
    for index in range(frames):
        forced = tokens[index] if index % 3 == 2 else None
        for decoder in decoders:
            made, _ = decoder.decode(actions[index], (GREEDY, Sampler(0.7, 5, 0.9))[index % 2], 7, index, forced)
            assert 0 <= made.min() <= made.max() < model.codes, "image tokens"


def mutate(model, seed: int, share: float) -> None:
    """Gives a share of the weights random bits: numbers of any size, and what is no number."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        bits = torch.randint(-(2**31), 2**31, parameter.shape, generator=generator, dtype=torch.int64).to(torch.int32)
        hit = torch.rand(parameter.shape, generator=generator) < share
        parameter.copy_(torch.where(hit, bits.view(torch.float32), parameter))


def paint(tokenizer, int8: bool) -> None:
    tokens = np.arange(tokenizer.config.tokens_per_frame) % tokenizer.config.codebook_size
    NativePainter(tokenizer, 2, int8)(tokens)


def read_outside(model) -> None:
    """What the engine's own checks would refuse: an action whose row is the first behind a table's end."""
    lanes = NativeLanes(model, 1, threads=1)
    tokens, actions = random_steps(model.config, 2)
    lanes._first_action += 1
    lanes._last_action += 1
    lanes.open(0, list(tokens), [np.full_like(actions[0], model.config.action_tokenizer().vocabulary - 1)])


def main(path: str) -> None:
    torch.set_num_threads(1)
    kernels.native.build = partial(build, extra=SANITIZERS)
    for module in (native, native_pictures, native_sequences):
        module.best_path = lambda: path
    with np.errstate(all="ignore"):
        for config in SHAPES:
            for int8 in (True, False):
                play(tiny_transformer(config), int8)
        for int8 in (True, False):
            play_released(tiny_transformer(RELEASED), int8)
        for seed, share in enumerate((1e-3, 0.1, 1.0)):
            model, released = tiny_transformer(SHAPES[seed]), tiny_transformer(RELEASED)
            mutate(model, seed, share)
            mutate(released, seed, share)
            for int8 in (True, False):
                play(model, int8)
                play_released(released, int8)
        for share in (0.0, 1e-3, 0.1, 1.0):
            tokenizer = tiny_tokenizer(decoder_channels=(40, 24), height=32, width=112)
            mutate(tokenizer.decoder, 1, share)
            for int8 in (True, False):
                paint(tokenizer, int8)
    print("clean", flush=True)
    read_outside(tiny_transformer(SHAPES[0]))
    print("nothing was seen")


if __name__ == "__main__":
    main(sys.argv[1])
