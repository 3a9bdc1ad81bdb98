"""The same actions through two worlds: a recording, and beside it a checkpoint, the real game or another recording."""

from __future__ import annotations

import csv
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from client.sessions.playback import Playback, ReplayWorld, open_session
from client.sessions.simulation import last_stretch, simulate
from recordings.reader import Session
from recordings.writer import reason_of
from worldmodel.games import LISTED, game_of, make_game
from worldmodel.types import Action, Frame, Status, Step, Tokens, WorldModelError

if TYPE_CHECKING:
    from worldmodel.settings import EngineOptions

GAP = 4  # black pixels between the two panels


@dataclass(frozen=True, slots=True)
class Second:
    """What a recording is compared with. steps: called once, gives the opening and then what each action led to;
    close: ends it."""

    name: str
    steps: Callable[[], Iterator[Step]]
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of one picture. psnr: dB, infinite for equal pictures; tokens: share of equal tokens, None where the second world
    has none."""

    psnr: float
    tokens: float | None

    def notes(self) -> tuple[tuple[str, str], ...]:
        """For the panel."""
        psnr = ("PSNR", "equal" if math.isinf(self.psnr) else f"{self.psnr:.1f} dB")
        return (psnr,) if self.tokens is None else (psnr, ("equal tokens", f"{self.tokens:.0%}"))


def agreement(a: Frame, b: Frame, tokens_a: Tokens | None, tokens_b: Tokens | None) -> Agreement:
    """a, b: uint8 (H, W, 3); tokens: int32 (places,)."""
    from worldmodel.evaluation.metrics.picture import psnr

    share = None if tokens_a is None or tokens_b is None else float((tokens_a == tokens_b).mean())
    return Agreement(math.inf if np.array_equal(a, b) else float(psnr(a[None], b[None])[0]), share)


class ComparedWorld(Playback):
    """A recording on the left, the second world on the right, which plays on as far as the user has looked.

    Its pictures are kept in a temporary file, so that one can go back. `agreements[i]`: of position i. WorldModelError
    where that file's disk is full.
    """

    def __init__(self, left: ReplayWorld, second: Second) -> None:
        H, W = left.frame_shape
        super().__init__(f"{left.name} | {second.name}", (H, 2 * W + GAP), left.tick_rate, left.actions)
        self.agreements: list[Agreement] = []
        self._second = second
        self._left, self._steps = left, second.steps()
        # Read and written, not mapped: a full disk under a mapped file kills the process.
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed with the world

    def seek(self, position: int) -> Step:
        """At most one step ahead of what the second world has played: it cannot jump."""
        return super().seek(min(position, len(self.agreements)))

    def show(self, position: int) -> Step:
        left = self._left.show(position)
        if position == len(self.agreements):
            right = next(self._steps)
            self._keep(position, right.frame)
            self.agreements.append(agreement(left.frame, right.frame, left.tokens, right.tokens))
        H = left.frame.shape[0]
        gap = np.zeros((H, GAP, 3), np.uint8)
        both = np.concatenate([left.frame, gap, self._kept(position, left.frame.shape)], 1)
        return Step(both, left.tokens, status=Status(notes=self.agreements[position].notes()))

    def _keep(self, position: int, frame: Frame) -> None:
        data = memoryview(frame.tobytes())
        self._file.seek(position * len(data))
        try:
            while data:  # a raw write may be short
                data = data[self._file.write(data) :]
        except OSError as error:
            folder = tempfile.gettempdir()
            raise WorldModelError(f"{reason_of(error)}: the pictures are kept in {folder} (TMPDIR)") from None

    def _kept(self, position: int, shape: tuple[int, ...]) -> Frame:
        size = math.prod(shape)
        self._file.seek(position * size)
        return np.frombuffer(self._file.read(size), np.uint8).reshape(shape)

    def close(self) -> None:
        self._second.close()
        self._file.close()


@dataclass(frozen=True, slots=True)
class Comparison:
    """session: the part of the recording that is compared; folder: its checkpoint; title: of the second world; note:
    what to know of its start; make: opens it."""

    session: Session
    folder: Path
    title: str
    note: str
    make: Callable[[], Second]

    def world(self, threads: int = 0) -> ComparedWorld:
        """Both side by side. WorldModelError if they do not fit each other."""
        left = ReplayWorld(self.session, self.folder, threads)
        return ComparedWorld(left, self.make())


def plays_checkpoint(against: str) -> bool:
    """Whether what a recording is compared with is a checkpoint: not the real game, nor another recording."""
    return game_of(against) is None and Path(against).suffix != ".wms"


def compare(
    file: Path, against: str, world: str | None = None, options: EngineOptions | None = None, threads: int = 0
) -> Comparison:
    """file: the recording; against: a real game (worldmodel.games), a recording (.wms), or a checkpoint; world: the
    recording's checkpoint; options: how a checkpoint is played; threads: of what shows the recordings.

    WorldModelError where one is missing, or the recordings' actions differ.
    """
    session, folder = open_session(file, world)
    if game_of(against) is not None:
        stretch = last_stretch(session)
        note = "the starts differ: the real game plays the same actions in a land of its own"
        return Comparison(stretch, folder, against, note, lambda: _game(stretch, folder, against))
    if not plays_checkpoint(against):
        other, other_folder = open_session(Path(against))
        length = min(len(session.steps), len(other.steps))
        _check_actions(file, session, Path(against), other, length)
        short, title = _first_steps(session, length), Path(against).name
        note = f"the first {length} steps of both"
        return Comparison(
            short, folder, title, note, lambda: _recording(title, other, other_folder, folder, length, threads)
        )
    from worldmodel.worlds.neural import find_checkpoint

    rival = find_checkpoint(against, LISTED, "a recording")
    note = "the same start, seed and sampler"
    return Comparison(session, folder, rival.name, note, lambda: _checkpoint(session, folder, rival, options))


def _first_steps(session: Session, length: int) -> Session:
    markers = tuple(marker for marker in session.markers if marker.index < length)
    return Session(session.header, session.steps[:length], markers, 0, session.ended)


def _check_actions(file: Path, session: Session, file2: Path, other: Session, length: int) -> None:
    for a, b in zip(session.steps[:length], other.steps[:length], strict=True):
        if a.action != b.action:
            raise WorldModelError(
                f"{file} and {file2} have different actions from step {a.index} on: only recordings of the same "
                "actions can be compared"
            )


def _check_fit(folder: Path, other: Path) -> None:
    """WorldModelError if two checkpoints' frames or tokens cannot be compared. Reads no transformer."""
    from worldmodel.checkpoint import tokenizer_hash
    from worldmodel.model.loading import load_tokenizer

    a, b = load_tokenizer(folder), load_tokenizer(other)
    sizes = [f"{tokenizer.config.width}x{tokenizer.config.height}" for tokenizer in (a, b)]
    if sizes[0] != sizes[1]:
        raise WorldModelError(f"{folder} has frames of {sizes[0]}, {other} of {sizes[1]}: they cannot be compared")
    if tokenizer_hash(a) != tokenizer_hash(b):
        raise WorldModelError(
            f"{folder} and {other} have different image tokenizers ({a.config.codebook_size} and "
            f"{b.config.codebook_size} codes): the tokens of one mean nothing to the other"
        )


def _checkpoint(session: Session, folder: Path, rival: Path, options: EngineOptions | None) -> Second:
    from worldmodel.worlds.neural import NeuralWorld

    _check_fit(folder, rival)
    world = NeuralWorld(rival, options).load()
    opening = session.opening_of(0)

    def steps() -> Iterator[Step]:
        tokens = opening.tokens[-1] if opening is not None else session.steps[0].tokens
        assert tokens is not None, "checked by the replay"
        yield Step(world.pixels(tokens), tokens)
        yield from simulate(session, world)

    return Second(world.name, steps, world.close)


def _recording(title: str, other: Session, other_folder: Path, folder: Path, length: int, threads: int) -> Second:
    _check_fit(folder, other_folder)
    replay = ReplayWorld(other, other_folder, threads)

    def steps() -> Iterator[Step]:
        yield from (replay.show(position) for position in range(length + 1))

    return Second(title, steps)


def _game(session: Session, folder: Path, name: str) -> Second:
    """A real game. One of more steps a second than the recording plays each of its actions that many times, the turn
    shared out."""
    from worldmodel.model.loading import load_tokenizer

    config = load_tokenizer(folder).config
    try:
        game = make_game(name, (config.height, config.width))
    except ValueError as error:
        raise WorldModelError(f"the real game cannot be compared with {folder}: {error}") from None
    times = max(1, round(game.tick_rate / session.header.tick_rate))

    def steps() -> Iterator[Step]:
        yield game.reset(0, session.header.seed)
        for record in session.steps:
            part = Action(record.action.buttons, record.action.pitch / times, record.action.yaw / times)
            for _ in range(times - 1):
                game.step(part)
            yield game.step(part)

    return Second(game.name, steps, game.close)


def write_table(path: Path, agreements: list[Agreement], actions: tuple[Action, ...]) -> None:
    """CSV, a row a picture, the opening first: step, held buttons, pitch, yaw, psnr_db, equal_tokens. OSError."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("step", "buttons", "pitch", "yaw", "psnr_db", "equal_tokens"))
            for position, row in enumerate(agreements):
                action = actions[position - 1] if position else Action()
                held = " ".join(sorted(action.buttons))
                share = "" if row.tokens is None else f"{row.tokens:.4f}"
                rows.writerow((position, held, action.pitch, action.yaw, f"{row.psnr:.3f}", share))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # of a disk that was full


def summary(agreements: list[Agreement]) -> str:
    """Of the steps, without the opening: one sentence."""
    made = agreements[1:]
    equal = sum(math.isinf(row.psnr) for row in made)
    finite = [row.psnr for row in made if not math.isinf(row.psnr)]
    parts = [f"{equal} of {len(made)} pictures are equal"]
    if finite:
        parts.append(f"PSNR of the others {np.mean(finite):.2f} dB on average")
    tokens = [row.tokens for row in made if row.tokens is not None]
    if tokens:
        parts.append(f"{np.mean(tokens):.2%} of the tokens are equal")
    return "; ".join(parts)
