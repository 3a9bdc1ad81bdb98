"""Several players of one model: an engine with lanes, each with a context, a seed and a guidance of its own.

`Lanes` is what such an engine is; a lane's tokens are those that a decoder of its own would give. A vector environment
steps all lanes at once (`decode`); a server whose players come when they like gives each a `LaneDecoder`, and `Gather`
puts what waits at the same time into one call. Knows nothing of worlds and pixels.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from kernels.sampling import Sampler
from worldmodel.config import WorldModelConfig
from worldmodel.engine.decoder import Array, Decoder
from worldmodel.types import Tokens


@dataclass(frozen=True, slots=True)
class LaneStep:
    """One lane's next frame, as Decoder.decode takes it."""

    action: Tokens
    sampler: Sampler
    seed: int
    frame: int
    forced: Tokens | None = None


Decoded = tuple[Tokens, Array | None]


class Lanes(Protocol):
    """count: of lanes, which have the numbers 0..count - 1. Not for two threads at once."""

    config: WorldModelConfig
    window: int
    count: int

    def open(self, lane: int, frames: list[Tokens], actions: list[Tokens]) -> None:
        """As Decoder.open. The other lanes are left alone."""
        ...

    def decode(self, steps: Mapping[int, LaneStep]) -> dict[int, Decoded]:
        """The next frame of each lane in `steps`, as Decoder.decode; lanes that are not there stand still."""
        ...

    def frames(self, lane: int) -> list[Tokens]:
        """The last `window` frames."""
        ...

    def filled(self, lane: int) -> int: ...


class Turns:
    """Lanes of an engine that knows one player: a decoder for each, one after the other."""

    def __init__(self, decoders: Sequence[Decoder]) -> None:
        self._decoders = decoders
        self.config, self.window, self.count = decoders[0].config, decoders[0].window, len(decoders)

    def open(self, lane: int, frames: list[Tokens], actions: list[Tokens]) -> None:
        self._decoders[lane].open(frames, actions)

    def decode(self, steps: Mapping[int, LaneStep]) -> dict[int, Decoded]:
        return {
            lane: self._decoders[lane].decode(step.action, step.sampler, step.seed, step.frame, step.forced)
            for lane, step in steps.items()
        }

    def frames(self, lane: int) -> list[Tokens]:
        return self._decoders[lane].frames

    def filled(self, lane: int) -> int:
        return self._decoders[lane].filled


class Gather:
    """Lanes for several threads, one a lane: the steps that come while a call is under way make the next one together.

    So nobody waits for a player who does nothing, and the more players wait, the more of them share a call.
    """

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self.config, self.window, self.count = lanes.config, lanes.window, lanes.count
        self._busy = threading.Lock()  # held by who calls the engine
        self._guard = threading.Lock()  # of the two below
        self._waiting: dict[int, LaneStep] = {}
        self._made: dict[int, Decoded | BaseException] = {}

    def open(self, lane: int, frames: list[Tokens], actions: list[Tokens]) -> None:
        with self._busy:
            self._lanes.open(lane, frames, actions)

    def decode(self, steps: Mapping[int, LaneStep]) -> dict[int, Decoded]:
        with self._guard:
            self._waiting.update(steps)
        with self._busy:  # by now another thread may have made these frames along with its own
            with self._guard:
                taken, self._waiting = self._waiting, {}
            if taken:
                self._made.update(self._decode(taken))
            made = {lane: self._made.pop(lane) for lane in steps}
        for frame in made.values():
            if isinstance(frame, BaseException):
                raise frame
        return made  # type: ignore[return-value]

    def _decode(self, steps: dict[int, LaneStep]) -> Mapping[int, Decoded | BaseException]:
        try:
            return self._lanes.decode(steps)
        except Exception as error:  # whoever waits for one of these frames is told
            return dict.fromkeys(steps, error)

    def alone(self) -> AbstractContextManager[object]:
        """While it is held, no frame is made: for other work that needs all cores for a moment."""
        return self._busy

    def frames(self, lane: int) -> list[Tokens]:
        return self._lanes.frames(lane)

    def filled(self, lane: int) -> int:
        return self._lanes.filled(lane)


class LaneDecoder:
    """One lane behind FrameDecoder's interface. lanes, lane: for who steps several of them in one call."""

    def __init__(self, lanes: Lanes, lane: int = 0) -> None:
        self.lanes, self.lane = lanes, lane
        self.config, self.window = lanes.config, lanes.window

    @property
    def frames(self) -> list[Tokens]:
        return self.lanes.frames(self.lane)

    @property
    def filled(self) -> int:
        return self.lanes.filled(self.lane)

    def open(self, frames: list[Tokens], actions: list[Tokens]) -> None:
        self.lanes.open(self.lane, frames, actions)

    def decode(self, action: Tokens, sampler: Sampler, seed: int, frame: int, forced: Tokens | None = None) -> Decoded:
        return self.lanes.decode({self.lane: LaneStep(action, sampler, seed, frame, forced)})[self.lane]
