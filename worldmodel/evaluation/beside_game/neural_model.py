"""A checkpoint as the model that is compared with the real game."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from worldmodel.evaluation.beside_game.measures import Frames
from worldmodel.tokenizers.image import to_pixels
from worldmodel.types import Action, StartScene, Tokens
from worldmodel.worlds.neural import NeuralWorld


class NeuralModel:
    """world: an opened checkpoint; its start scenes are not used."""

    def __init__(self, world: NeuralWorld) -> None:
        self.world = world
        self.frame_shape = world.frame_shape

    @torch.inference_mode()
    def _encode(self, frames: Frames) -> Tokens:
        pixels = to_pixels(torch.from_numpy(np.ascontiguousarray(frames))).to(self.world.device)
        return self.world.model.tokenizer.encode(pixels).cpu().numpy().astype(np.int32)

    def reconstruct(self, frames: Frames) -> Frames:
        return np.stack([self.world.pixels(tokens) for tokens in self._encode(frames)])

    def play(self, frames: Frames, actions: Sequence[Action], script: Sequence[Action], seed: int) -> Frames:
        """The context is the last `window` frames, encoded, and the actions between them."""
        n = min(len(frames), self.world.window)
        between = [self.world.actions.encode(action) for action in actions[len(actions) - (n - 1) :]]
        self.world.open(StartScene(self._encode(frames[-n:]), np.array(between, np.int32)), seed)
        return np.stack([self.world.step(action).frame for action in script])
