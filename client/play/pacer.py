"""Steady ticks, beside any clock: whoever paces tells it the time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Pacer:
    """Steady ticks: deadlines are added up, so that waking late does not drift. A step that overruns moves the grid to
    the present, so that no burst follows; the ticks that were lost so are counted.

    period: seconds (0: as fast as it goes); due: when the next tick is due.
    """

    period: float
    due: float
    dropped: int = 0
    _lost: float = 0.0

    def done(self, now: float) -> None:
        """The tick that was due is done."""
        self.due += self.period
        if now <= self.due:
            return
        if self.period > 0:
            self._lost += now - self.due
            self.dropped += int(self._lost / self.period)
            self._lost %= self.period
        self.due = now

    def restart(self, now: float) -> None:
        """A new stretch: what lies between is no delay."""
        self.due, self._lost = now, 0.0
