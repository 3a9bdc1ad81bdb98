"""Brings what no friend would bring, for as long as one likes: each file is used, or refused in one sentence.

    make fuzz MINUTES=10
    python tests/fuzz.py --minutes 10 [--seed 1] [--kinds sessions lines] [--case sessions-1-42]

Good files of every kind (tests/material.py) are mutated: recordings with right and with wrong CRCs, configurations,
clips and their lines, index files, MineWorld's lines and YAML, key bindings, start scenes, pictures, messages to a
server. A find is another exception than the project's own, a sentence that is none, more than HANG_S seconds of the
processor (or WAIT_S by the clock: other work on the machine is no fault of a case), or more than MOST_BYTES of memory
for a file of at most 1 MiB; its case is printed, and made again from that name. What was run goes into
benchmarks/reliability.json; a find becomes a test. Exit code 1 if there was one.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import io
import json
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import tyro
from material import KINDS, SHARES, Material

from worldmodel.data.frames import write_json
from worldmodel.measure.provenance import provenance
from worldmodel.types import WorldModelError

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/reliability.json"
HANG_S, WAIT_S = 5.0, 120.0
MOST_BYTES, NOISE_BYTES = 64 << 20, 1 << 20
LONGEST = 2000  # characters of a sentence


class Hang(BaseException):
    """A case took too long. No Exception: nothing may catch it on its way."""


@contextmanager
def limited(busy: float, waiting: float = WAIT_S) -> Iterator[None]:
    """Hang after so many seconds of the processor, or so many by the clock; of native code that does not come back, the
    process ends with its stack."""
    timers = {
        signal.SIGPROF: (signal.ITIMER_PROF, busy, "of the processor"),
        signal.SIGALRM: (signal.ITIMER_REAL, waiting, "by the clock"),
    }

    def hang(number: int, _: object) -> None:
        _, seconds, of = timers[signal.Signals(number)]
        raise Hang(f"more than {seconds:g} s {of}")

    before = {number: signal.signal(number, hang) for number in timers}
    try:
        faulthandler.dump_traceback_later(2 * waiting, exit=True, file=sys.__stderr__)
        for timer, seconds, _ in timers.values():
            signal.setitimer(timer, seconds)
        yield
    finally:
        for timer, _, _ in timers.values():
            signal.setitimer(timer, 0)
        faulthandler.cancel_dump_traceback_later()
        for number, handler in before.items():
            signal.signal(number, handler)


def memory(name: str) -> int:
    """Bytes of this process: VmRSS now, or VmHWM, the most since it was reset; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    rows = (line.split() for line in status.read_text().splitlines()) if status.exists() else ()
    return next((int(row[1]) << 10 for row in rows if row[0] == f"{name}:"), 0)


def forget_most() -> None:
    """Resets VmHWM."""
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Of a case. found: what is wrong, or None; seconds: of the processor; taken: bytes of memory, at the most."""

    found: str | None
    seconds: float
    taken: int


def tried(material: Material, case: str) -> Outcome:
    """Runs a case, KIND-SEED-NUMBER."""
    use, rng = KINDS[case.partition("-")[0]], random.Random(case)
    if memory("VmHWM") - memory("VmRSS") > NOISE_BYTES:  # to forget is dear
        forget_most()
    before, began, found = memory("VmRSS"), time.process_time(), None
    try:
        with limited(HANG_S), redirect_stderr(io.StringIO()):
            use(material, rng)
    except WorldModelError as error:
        said = str(error)
        lines = said.splitlines()
        if len(said) > LONGEST or not lines or not all(line.isprintable() for line in lines):
            found = f"no sentence: {said[:200]!r}... of {len(said)} characters"
    except (Exception, Hang, RecursionError):
        found = traceback.format_exc()
    seconds, taken = time.process_time() - began, memory("VmHWM") - before
    if found is None and taken > MOST_BYTES:
        found = f"{taken >> 20} MiB of memory"
    return Outcome(found, seconds, taken)


@dataclasses.dataclass(frozen=True)
class Arguments:
    """How long, and what."""

    minutes: float = 10.0
    """How long."""
    seed: int | None = None
    """Of the cases. Default: another one each time; it is printed."""
    kinds: tuple[str, ...] = tuple(KINDS)
    """Of what (default: all that there are)."""
    case: str | None = None
    """Run this one alone."""
    out: Path = RESULTS
    """File for the figures."""


def note(out: Path, name: str, figures: dict[str, Any]) -> None:
    """Puts figures under a name in a JSON file, beside those of others."""
    known = json.loads(out.read_text()) if out.exists() else {}
    write_json(out, {**known, name: figures})


def main(args: Arguments) -> int:
    unknown = set(args.kinds) - set(KINDS)
    if unknown:
        print(f"error: unknown kinds {sorted(unknown)}; known are {', '.join(KINDS)}", file=sys.stderr)
        return 2
    finds: dict[str, str] = {}
    counts, slowest, most = dict.fromkeys(args.kinds, 0), 0.0, 0
    with tempfile.TemporaryDirectory() as name:
        material = Material(Path(name))
        if args.case is not None:
            found = tried(material, args.case).found
            print(found or "nothing wrong")
            return int(found is not None)
        seed = random.SystemRandom().randrange(2**32) if args.seed is None else args.seed
        print(f"seed {seed}")
        picks = random.Random(seed)
        began = time.monotonic()
        while not sum(counts.values()) or time.monotonic() - began < 60 * args.minutes:
            kind = picks.choices(args.kinds, [SHARES[kind] for kind in args.kinds])[0]
            case = f"{kind}-{seed}-{counts[kind]}"
            counts[kind] += 1
            outcome = tried(material, case)
            slowest, most = max(slowest, outcome.seconds), max(most, outcome.taken)
            if outcome.found is not None:
                finds[case] = outcome.found
                print(f"FIND {case} (python tests/fuzz.py --case {case}): {outcome.found}", flush=True)
    print(", ".join(f"{count} {kind}" for kind, count in counts.items()), f"- {len(finds)} finds")
    note(
        args.out,
        "fuzz",
        {
            **provenance(),
            "minutes": args.minutes,
            "seed": seed,
            "cases": counts,
            "finds": sorted(finds),
            "slowest_case_s": round(slowest, 2),
            "most_mib": round(most / 2**20, 1),
        },
    )
    return int(bool(finds))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments, description=__doc__)))
