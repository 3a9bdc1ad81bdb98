"""A recording behind the World protocol: any moment can be shown, and each step shows the next one."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from recordings.reader import Session, read_session
from worldmodel.types import NO_ACTION, Action, Step, Tokens, WorldModelError


class Playback(ABC):
    """A World that shows what was recorded, whatever the action of `step`. It can go to any position: 0 is the opening,
    the number of its actions the last picture. `Step.info["action"]` is what led to a picture."""

    starts = 1

    def __init__(self, name: str, frame_shape: tuple[int, int], tick_rate: float, actions: Sequence[Action]) -> None:
        self.name, self.frame_shape, self.tick_rate = name, frame_shape, tick_rate
        self.actions = tuple(actions)
        self.position = 0

    @abstractmethod
    def show(self, position: int) -> Step:
        """The picture after `position` steps."""

    @property
    def length(self) -> int:
        """Steps that can be rewound: all those that have been shown."""
        return self.position

    def seek(self, position: int) -> Step:
        """Goes to a position, or to the nearest one that there is."""
        self.position = max(0, min(len(self.actions), position))
        return self.peek(0)

    def reset(self, start: int = 0, seed: int = 0) -> Step:
        return self.seek(0)

    def step(self, action: Action) -> Step:
        return self.seek(self.position + 1)

    def peek(self, back: int) -> Step:
        """The picture `back` positions ago, without going there."""
        position = max(0, self.position - back)
        step = self.show(position)
        step.info["action"] = self.actions[position - 1] if position else NO_ACTION
        return step

    def rewind(self, back: int) -> Step:
        return self.seek(self.position - back)

    def close(self) -> None:
        return


class ReplayWorld(Playback):
    """A recording, decoded by the image tokenizer alone. WorldModelError if its tokens are of another one."""

    def __init__(self, session: Session, folder: Path, threads: int = 0) -> None:
        from worldmodel.engine.choice import pixel_decoder
        from worldmodel.model.loading import load_tokenizer

        header = session.header
        tokenizer = load_tokenizer(folder, header.tokenizer)
        config = tokenizer.config
        shape = (config.height, config.width)
        super().__init__(f"replay of {header.world}", shape, header.tick_rate, [step.action for step in session.steps])
        opening = session.opening_of(0)
        first = [opening.tokens[-1]] if opening is not None else [session.steps[0].tokens]
        self._tokens: list[Tokens] = []
        for tokens in (*first, *(record.tokens for record in session.steps)):
            if tokens is None or len(tokens) != config.tokens_per_frame or tokens.max() >= config.codebook_size:
                raise WorldModelError(f"the recording's tokens do not fit {folder}: give its checkpoint with --world")
            self._tokens.append(tokens)
        self._pixels = pixel_decoder(tokenizer, threads)

    def show(self, position: int) -> Step:
        tokens = self._tokens[position]
        return Step(self._pixels(tokens), tokens)


def open_session(file: Path, world: str | None = None) -> tuple[Session, Path]:
    """The recording and its checkpoint's folder (world: given by the user; else the one in its header).

    RecordingError or WorldModelError. Says on stderr if the file was cut off.
    """
    from worldmodel.worlds.neural import find_checkpoint, find_recorded

    session = read_session(file)
    if not session.steps:
        raise WorldModelError(f"{file} holds no step")
    if not session.ended:
        whole = f"{len(session.steps)} steps are whole, {session.lost} bytes are lost"
        print(f"{file}: the recording was cut off; {whole}", file=sys.stderr)
    if world is not None:
        return session, find_checkpoint(world)
    return session, find_recorded(session.header.checkpoint, session.header.world)
