"""Brings what no friend would bring, for as long as one likes: each file is used, or refused in one sentence.

    make fuzz MINUTES=10
    python tests/fuzz.py --minutes 10 [--seed 1] [--kinds sessions lines] [--case sessions-1-42]

Sessions (with right CRCs, and with wrong ones), configurations, clips' lines, key bindings and start scenes are mutated
from good ones. A find is another exception than the project's own, a sentence that is none, more than HANG_S seconds of
the processor (or WAIT_S by the clock: other work on the machine is no fault of a case), or more than MOST_BYTES of
memory for a file of at most 1 MiB; its case is printed, and made again from that name. What was run goes into
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch
import tyro
from conftest import random_steps, tiny_config, tiny_transformer, vpt_line
from mutate import mutated, mutated_bytes, mutated_text
from odd import packed, write_odd

from client.play.bindings import read_bindings
from client.play.game import Game
from client.play.recording import RecordedWorld
from client.sessions.listing import row_of
from client.sessions.playback import ReplayWorld, date_of, name_of, usable
from client.sessions.resume import Resume
from client.sessions.simulation import verify
from client.sessions.timeline import timeline_of
from recordings.format import HEADER, INDEX, MARKER, RECORD, STEP
from recordings.reader import read_session
from scripts.ship_checkpoint import read_starts
from worldmodel.checkpoint import CONFIG_FILE
from worldmodel.data.frames import write_json
from worldmodel.data.ticks import read_actions
from worldmodel.measure.provenance import provenance
from worldmodel.model.loading import (
    STARTS_FILE,
    load_config,
    load_sampler,
    load_starts,
    load_world_model,
    save_starts,
    save_world_model,
)
from worldmodel.settings import EngineOptions
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.types import Action, StartScene, WorldModelError
from worldmodel.worlds.neural import NeuralWorld

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/reliability.json"
HANG_S, WAIT_S = 5.0, 120.0
MOST_BYTES = 64 << 20
LONGEST = 2000  # characters of a sentence
SIMULATED = 20  # one session in so many is also simulated and resumed


class Hang(BaseException):
    """A case took too long. No Exception: nothing may catch it on its way."""


class Material:
    """Good files of every kind, and what uses them. folder: for them and for the cases."""

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)
        self.folder, config = folder, tiny_config()
        self.world_folder = folder / "world"
        tokenizer = ImageTokenizer(config.image_tokenizer)
        save_world_model(self.world_folder, config, tokenizer, tiny_transformer(config))
        scenes = [StartScene(tokens, actions[:2]) for tokens, actions in (random_steps(config, 3, s) for s in range(3))]
        save_starts(self.world_folder, scenes)
        self.config, self.image = config, config.image_tokenizer
        self.config_text = (self.world_folder / CONFIG_FILE).read_text()
        self.starts_file = (self.world_folder / STARTS_FILE).read_bytes()
        self.world = NeuralWorld(self.world_folder, EngineOptions("eager", threads=1))
        self.session = read_session(self._record(folder / "good.wms"))
        self.session_bytes = (folder / "good.wms").read_bytes()

    def _record(self, path: Path) -> Path:
        """Steps, a bookmark, a branch, a reset."""
        played = RecordedWorld(self.world)
        played.record(path)
        played.reset(0, 5)
        for _ in range(3):
            played.step(Action(frozenset({"forward"}), 1.0, 2.0))
        played.bookmark()
        played.rewind(1)
        played.step(Action())
        played.reset(1, 6)
        for _ in range(2):
            played.step(Action(frozenset({"hotbar.3"})))
        played.finish()
        return path

    # Each kind: writes a case's file, and uses it.

    def sessions(self, rng: random.Random) -> None:
        path = self.folder / "case.wms"
        kind = rng.randrange(4)
        if kind < 2:
            write_odd(path, self.session, lambda *parts: self._change(parts, rng))
        elif kind == 2:
            path.write_bytes(self._with_crcs(rng))
        else:
            path.write_bytes(mutated_bytes(self.session_bytes, rng))
        row = row_of(path, self.folder, False)
        assert all(isinstance(cell, str) for cell in row), row
        session = usable(read_session(path), path, self.image)
        timeline = timeline_of(session)
        for position in range(len(session.steps) + 1):
            dataclasses.replace(timeline, position=position).clock()
        date_of(session.header), name_of(session.header)
        for step in range(len(session.steps)):
            session.path_to(step), session.seed_of(step), session.opening_of(step)
        list(session.stretches())
        if rng.randrange(SIMULATED) == 0:
            shown = ReplayWorld(session, self.world_folder, 1)
            for position in range(min(len(session.steps), 8) + 1):
                shown.seek(position)
            Game(self.world, Resume(path)).restart()
            verify(session, self.world)

    @staticmethod
    def _change(parts: tuple[Any, ...], rng: random.Random) -> None:
        """write_odd's changes are made in place."""
        changed = mutated(list(parts), rng)
        for part, new in zip(parts, [*changed, None, None, None], strict=False):
            if type(part) is type(new):
                part.clear()
                part.update(new) if isinstance(part, dict) else part.extend(new)

    def _with_crcs(self, rng: random.Random) -> bytes:
        """Payloads whose bytes were changed, with right lengths and CRCs."""
        offset, records = 12, []
        while offset + RECORD.size < len(self.session_bytes):
            length, _, kind = RECORD.unpack_from(self.session_bytes, offset)
            records.append((kind, self.session_bytes[offset + RECORD.size : offset + RECORD.size + length]))
            offset += RECORD.size + length
        for _ in range(rng.choice((1, 1, 2))):
            pick = rng.randrange(len(records))
            kind, payload = records[pick]
            kind = rng.choice((HEADER, STEP, MARKER, INDEX, 200)) if rng.random() < 0.1 else kind
            records[pick] = kind, mutated_bytes(payload, rng)
        return self.session_bytes[:12] + b"".join(packed(kind, payload) for kind, payload in records)

    def configs(self, rng: random.Random) -> None:
        text = self.config_text
        path = self.world_folder / CONFIG_FILE
        if rng.random() < 0.7:
            path.write_bytes(as_json(mutated(json.loads(text), rng)))
        else:
            path.write_bytes(mutated_text(text, rng))
        try:
            load_config(self.world_folder).decode_order()
            load_sampler(self.world_folder)
            load_world_model(self.world_folder)
        finally:
            path.write_text(text)

    def lines(self, rng: random.Random) -> None:
        path = self.folder / "case.jsonl"
        good = [vpt_line(dx=1.5, keys=["key.keyboard.w"], buttons=[0], hotbar=index % 9) for index in range(6)]
        if rng.random() < 0.7:
            path.write_bytes(b"\n".join(as_json(line) for line in mutated(good, rng)) + b"\n")
        else:
            path.write_bytes(mutated_text("".join(json.dumps(line) + "\n" for line in good), rng))
        read_actions(path)

    def bindings(self, rng: random.Random) -> None:
        path = self.folder / "case.json"
        good = {"jump": "Space", "drop": ["G", "Mouse 4"], "forward": ["W", "Up"]}
        path.write_bytes(as_json(mutated(good, rng)) if rng.random() < 0.6 else mutated_text(json.dumps(good), rng))
        read_bindings(path)

    def starts(self, rng: random.Random) -> None:
        if rng.random() < 0.5:
            path = self.world_folder / STARTS_FILE
            path.write_bytes(mutated_bytes(self.starts_file[: rng.choice((200, 10**9))], rng))
            load_starts(self.world_folder, self.config)
            return
        path, good = self.folder / "starts.json", [["val.clip_0", 120], ["val.clip_1", 7]]
        path.write_bytes(as_json(mutated(good, rng)) if rng.random() < 0.6 else mutated_text(json.dumps(good), rng))
        read_starts(path)


KINDS: dict[str, Callable[[Material, random.Random], None]] = {
    "sessions": Material.sessions,
    "configs": Material.configs,
    "lines": Material.lines,
    "bindings": Material.bindings,
    "starts": Material.starts,
}
SHARES = {"sessions": 8, "configs": 2, "lines": 3, "bindings": 1, "starts": 1}  # of the cases


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


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


def tried(material: Material, case: str) -> str | None:
    """Runs a case, KIND-SEED-NUMBER. Returns what is wrong, or None."""
    use, rng = KINDS[case.partition("-")[0]], random.Random(case)
    forget_most()
    before = memory("VmRSS")
    try:
        with limited(HANG_S), redirect_stderr(io.StringIO()):
            use(material, rng)
    except WorldModelError as error:
        said = str(error)
        lines = said.splitlines()
        if len(said) > LONGEST or not lines or not all(line.isprintable() for line in lines):
            return f"no sentence: {said[:200]!r}... of {len(said)} characters"
    except (Exception, Hang, RecursionError):
        return traceback.format_exc()
    taken = memory("VmHWM") - before
    return f"{taken >> 20} MiB of memory" if taken > MOST_BYTES else None


@dataclasses.dataclass(frozen=True)
class Arguments:
    """How long, and what."""

    minutes: float = 10.0
    """How long."""
    seed: int | None = None
    """Of the cases. Default: another one each time; it is printed."""
    kinds: tuple[str, ...] = tuple(KINDS)
    """Of what: sessions, configs, lines, bindings, starts."""
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
    counts, slowest = dict.fromkeys(args.kinds, 0), 0.0
    with tempfile.TemporaryDirectory() as name:
        material = Material(Path(name))
        if args.case is not None:
            found = tried(material, args.case)
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
            started = time.process_time()
            found = tried(material, case)
            slowest = max(slowest, time.process_time() - started)
            if found is not None:
                finds[case] = found
                print(f"FIND {case} (python tests/fuzz.py --case {case}): {found}", flush=True)
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
        },
    )
    return int(bool(finds))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments, description=__doc__)))
