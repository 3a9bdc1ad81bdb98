"""A recording behind the World protocol: any moment can be shown, and each step shows the next one."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from recordings.check import Shapes, check_session
from recordings.format import Header, RecordingError
from recordings.reader import Session, read_session
from recordings.values import printable
from worldmodel.types import NO_ACTION, Action, Step, Tokens

if TYPE_CHECKING:
    from worldmodel.config import ImageTokenizerConfig
    from worldmodel.tokenizers.action import ActionTokenizer


SHOWN_NAME = 40  # characters of a world's name in a table and a panel


class Playback(ABC):
    """A World that shows what was recorded, whatever the action of `step`. It can go to any position: 0 is the opening,
    the number of its actions the last picture. `Step.action` is what led to a picture."""

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
        return replace(self.show(position), action=self.actions[position - 1] if position else NO_ACTION)

    def rewind(self, back: int) -> Step:
        return self.seek(self.position - back)

    def close(self) -> None:
        return


class ReplayWorld(Playback):
    """A recording, decoded by the image tokenizer alone. RecordingError if its tokens are of another one."""

    def __init__(self, session: Session, folder: Path, threads: int = 0) -> None:
        from worldmodel.engine.choice import painter_of
        from worldmodel.model.loading import load_tokenizer

        header = session.header
        tokenizer = load_tokenizer(folder, header.tokenizer)
        config = tokenizer.config
        shape = (config.height, config.width)
        super().__init__(
            f"replay of {name_of(header)}", shape, header.tick_rate, [step.action for step in session.steps]
        )
        opening = session.opening_of(0)
        first = opening.tokens[-1] if opening is not None else session.steps[0].tokens
        known = (first, *(record.tokens for record in session.steps))
        self._tokens: list[Tokens] = [tokens for tokens in known if tokens is not None]
        assert len(self._tokens) == len(known), "a session that is usable has tokens everywhere"
        self._pixels = painter_of(tokenizer, threads)

    def show(self, position: int) -> Step:
        tokens = self._tokens[position]
        return Step(self._pixels(tokens), tokens)


def open_session(file: Path, world: str | None = None) -> tuple[Session, Path]:
    """The recording, as far as it can be used, and its checkpoint's folder (world: given by the user; else the one that
    its header means).

    RecordingError or WorldModelError. Says on stderr if the file was cut off, or used in part.
    """
    from worldmodel.model.loading import load_config, load_tokenizer
    from worldmodel.worlds.neural import find_checkpoint

    session = read_session(file)
    folder = find_checkpoint(world) if world is not None else checkpoint_of(session, file)
    image = load_tokenizer(folder, session.header.tokenizer).config
    session = usable(session, file, image, load_config(folder).action_tokenizer())
    tell_if_cut(session, file)
    return session, folder


def checkpoint_of(session: Session, file: Path) -> Path:
    """The checkpoint that a recording's header means. WorldModelError if it is not here."""
    from worldmodel.worlds.neural import find_recorded

    header = session.header
    return find_recorded(header.checkpoint, header.world, header.weights, file)


def usable(
    session: Session, file: Path, config: ImageTokenizerConfig, actions: ActionTokenizer | None = None
) -> Session:
    """The recording as far as it fits a model. config: of its image tokenizer; actions: where it is played on, and not
    only shown. RecordingError, with the file's name, if nothing does."""
    from client.sessions.simulation import sampler_from
    from worldmodel.tokenizers.action import TOKENS_PER_ACTION, ActionTokenizer

    codes = config.codebook_size
    known = actions or ActionTokenizer(codes, fine_camera=True)  # the largest vocabulary
    shapes = Shapes(config.tokens_per_frame, codes, TOKENS_PER_ACTION, known.vocabulary)
    try:
        return check_session(session, shapes, sampler_from)
    except RecordingError as error:
        raise RecordingError(f"{file}: {error}") from None


def tell_if_cut(session: Session, file: Path) -> None:
    """On stderr, where a recording ends early, and why."""
    if session.problem is not None:
        print(f"{file}: only its first {len(session.steps)} steps can be used: {session.problem}", file=sys.stderr)
    elif not session.ended:
        whole = f"{len(session.steps)} steps are whole, {session.lost} bytes are lost"
        print(f"{file}: the recording was cut off; {whole}", file=sys.stderr)


def name_of(header: Header) -> str:
    """A recording's world, short enough to be shown."""
    return printable(header.world, SHOWN_NAME)


def date_of(header: Header) -> str:
    """When a recording was made, in local time."""
    try:
        return datetime.fromtimestamp(header.created).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):  # beyond the years that there are
        return "no date"
