"""The timeline of a recording: where it stands, and what can be jumped to. Numbers only; `Screen` draws it."""

from __future__ import annotations

from dataclasses import dataclass

from recordings.reader import Session

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
JUMP_MARKERS, CUT_MARKERS = ("bookmark",), ("reset", "branch")


@dataclass(frozen=True, slots=True)
class Timeline:
    """Positions count steps: 0 is the opening's picture, `length` the last one. rate: steps a second at speed 1;
    bookmarks, cuts: positions; cuts are where play began again or branched off."""

    length: int
    rate: float
    bookmarks: tuple[int, ...] = ()
    cuts: tuple[int, ...] = ()
    position: int = 0
    speed: float = 1.0

    def clamp(self, position: int) -> int:
        return max(0, min(self.length, position))

    def share(self, position: int) -> float:
        """Position -> 0..1 of the bar."""
        return self.clamp(position) / max(1, self.length)

    def at(self, share: float) -> int:
        """0..1 of the bar -> the nearest position."""
        return self.clamp(round(share * self.length))

    def bookmark(self, direction: int) -> int | None:
        """The next (1) or previous (-1) bookmark's position; None if there is none."""
        ahead = [mark for mark in self.bookmarks if (mark - self.position) * direction > 0]
        return min(ahead, key=lambda mark: abs(mark - self.position), default=None)

    def faster(self, direction: int) -> float:
        """The next speed up (1) or down (-1), or the present one at the end of the table."""
        return SPEEDS[max(0, min(len(SPEEDS) - 1, SPEEDS.index(self.speed) + direction))]

    def clock(self) -> str:
        """ "0:12 / 0:30   step 120 of 300   2x"."""
        speed = f"   {self.speed:g}x" if self.speed != 1 else ""
        times = " / ".join(clock_of(steps, self.rate) for steps in (self.position, self.length))
        return f"{times}   step {self.position} of {self.length}{speed}"


def clock_of(steps: int, rate: float) -> str:
    """Steps -> minutes and seconds."""
    seconds = round(steps / rate) if rate > 0 else 0
    return f"{seconds // 60}:{seconds % 60:02d}"


def timeline_of(session: Session) -> Timeline:
    """A session's timeline, at its beginning."""

    def places(kinds: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(sorted({marker.index for marker in session.markers if marker.kind in kinds and marker.index}))

    return Timeline(len(session.steps), session.header.tick_rate, places(JUMP_MARKERS), places(CUT_MARKERS))
