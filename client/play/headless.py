"""Play without a window: the same game loop, as fast as it goes or at a steady rate."""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import dataclass

from tqdm import tqdm

from client.play.game import Game, Start, facts_of
from client.play.pacer import Pacer
from client.play.report import Report, make_report
from client.play.runner import Source, WorldFactory
from client.play.stats import Stats
from worldmodel.ending import Ended


@dataclass(frozen=True, slots=True)
class HeadlessOptions:
    """frames: steps to make (fewer if the actions end); fps: None is as fast as it goes; started: when the process
    began, in seconds of `time.monotonic`. The bar goes to stderr where that is a terminal."""

    source: Source
    frames: int
    start: Start = 0
    seed: int = 0
    fps: float | None = None
    started: float = 0.0


class BrokenOff(Ended):
    """A signal ended the run. report: of what was played until then."""

    def __init__(self, number: int, report: Report) -> None:
        super().__init__(number)
        self.report = report


def run_headless(factory: WorldFactory, options: HeadlessOptions) -> Report:
    """Plays `frames` steps and measures them. Errors of the world are passed on; BrokenOff if a signal comes once there
    is a picture."""
    with tqdm(total=options.frames, unit="frame", file=sys.stderr, disable=None) as bar:
        world = factory(bar.set_description)
        try:
            game = Game(world, options.start, options.seed)
            startup = game.restart().made_at - options.started
            bar.set_description(world.name)
            stats = Stats(last=None)
            pacer = Pacer(1 / options.fps if options.fps else 0.0, time.monotonic())
            if not options.fps:  # at a steady rate, the first tick is due at once: it has no interval
                stats.gap(pacer.due)
            interrupt = None
            try:
                for _ in range(options.frames):
                    time.sleep(max(0.0, pacer.due - time.monotonic()))
                    sampled_at = time.monotonic()
                    action = options.source()
                    if action is None:
                        break
                    made_at = game.advance(action, sampled_at).made_at
                    stats.frame(made_at, made_at - sampled_at)
                    pacer.done(time.monotonic())
                    bar.update()
            except KeyboardInterrupt as ended:
                interrupt = ended
            report = make_report(stats, stats.frames, startup, pacer.dropped, options.seed, facts_of(world))
            if interrupt is not None:
                raise BrokenOff(interrupt.number if isinstance(interrupt, Ended) else signal.SIGINT, report) from None
            return report
        finally:
            world.close()
