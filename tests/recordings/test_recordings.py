"""Session files: round trips, crashes, truncation, random damage, limits, branches."""

import json
import os
import random
import shutil
import struct
import subprocess
import sys
import threading
import tracemalloc
import zlib
from dataclasses import replace

import msgpack
import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from records import header, opening, step

from recordings.format import MAJOR, PREAMBLE, RECORD, STEP, Header, Marker, RecordingError, StepRecord, pack_record
from recordings.index import Index
from recordings.opening import Opening, SamplerSettings
from recordings.reader import SessionReader, read_session
from recordings.recorder import Recorder
from recordings.values import MAX_PAYLOAD
from recordings.writer import SessionWriter
from worldmodel.types import BUTTONS, Action

finite = st.floats(-1e6, 1e6)
actions = st.builds(Action, st.frozensets(st.sampled_from(BUTTONS)), finite, finite)
tokens = st.lists(st.integers(0, 2**31 - 1), max_size=90).map(lambda v: np.array(v, np.int32))
events = st.lists(st.tuples(st.text(max_size=9), st.integers(-(2**31), 2**31) | finite), max_size=4).map(tuple)
samplers = st.builds(
    SamplerSettings,
    st.floats(0, 10),
    st.integers(0, 99),
    st.floats(0, 1),
    st.sampled_from([0.0, 0.5, 3.0]),
)


def write(path, count=5, markers=(), close=True):
    writer = SessionWriter(path, header())
    for index in range(count):
        for marker in markers:
            if marker.index == index:
                writer.mark(marker)
        writer.step(step(index))
    if close:
        writer.close()
    return path


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.tuples(actions, tokens | st.none(), finite, st.floats(0, 9), events), max_size=6),
    sampler=samplers,
    label=st.text(max_size=20),
    seed=st.integers(0, 2**64 - 1),
)
def test_round_trip(tmp_path_factory, steps, sampler, label, seed):
    path = tmp_path_factory.mktemp("s") / "a.wms"
    head = header(sampler=sampler, seed=seed, opening=None)
    records = [StepRecord(i, i, when, a, t, late, ev) for i, (a, t, when, late, ev) in enumerate(steps)]
    marks = [
        Marker("bookmark", 0, 0.5, label),
        Marker("reset", 0, 1.0, seed=seed, sampler=sampler, opening=opening(2)),
        Marker("branch", len(records), 2.0, back_to=-1),
    ]
    with SessionWriter(path, head) as writer:
        for mark in marks:
            writer.mark(mark)
        for record in records:
            writer.step(record)
    session = read_session(path)
    assert session.header == head
    assert list(session.steps) == records
    assert list(session.markers) == marks
    assert session.ended
    assert session.lost == 0


def test_a_step_of_nano_is_small(tmp_path):
    sizes = [write(tmp_path / f"{n}.wms", n).stat().st_size for n in (100, 200)]
    assert (sizes[1] - sizes[0]) / 100 <= 400


def test_every_truncation_opens_to_the_last_whole_record(tmp_path):
    path = write(tmp_path / "whole.wms", 3)
    data = path.read_bytes()
    ends = [PREAMBLE.size]
    while ends[-1] + RECORD.size <= len(data):
        length, _, _ = RECORD.unpack_from(data, ends[-1])
        ends.append(ends[-1] + RECORD.size + length)
        if len(ends) == 6:  # header, three steps, index
            break
    cut = tmp_path / "cut.wms"
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        if length < ends[1]:
            with pytest.raises(RecordingError):
                read_session(cut)
            continue
        session = read_session(cut)
        whole = sum(end <= length for end in ends[2:5])
        assert len(session.steps) == whole
        assert not session.ended
        if length < ends[4]:
            assert session.lost == length - ends[1 + whole]


def test_random_damage_is_found_or_harmless(tmp_path):
    """20,000 random byte flips: a clear error or a correct beginning, in little memory and no time."""
    original = read_session(write(tmp_path / "a.wms", 4, [Marker("bookmark", 2, 0.1, "x")]))
    data = (tmp_path / "a.wms").read_bytes()
    rng = random.Random(0)
    path = tmp_path / "b.wms"
    tracemalloc.start()
    for _ in range(20_000):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 1, 1, 3))):
            damaged[rng.randrange(len(data))] ^= rng.randrange(1, 256)
        path.write_bytes(damaged)
        try:
            session = read_session(path)
        except RecordingError:
            continue
        assert session.steps == original.steps[: len(session.steps)]
        assert session.header == original.header
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_hostile_sizes_take_no_memory(tmp_path):
    path = tmp_path / "a.wms"
    base = write(path, 1, close=False).read_bytes()
    bombs = [
        RECORD.pack(2**32 - 1, 0, STEP),
        pack_record(STEP, b"\xdd\xff\xff\xff\xff"),  # a list of 4 billion
        pack_record(STEP, b"\xc6\xff\xff\xff\xff"),  # 4 GB of bytes
        pack_record(STEP, b"\x91" * 5000),  # nested beyond any depth
        pack_record(STEP, msgpack.packb([1, 1, 0.0, [0, 0, 0], [[2**16], 2, b""], 0.0, []])),
        pack_record(STEP, msgpack.packb([1, 1, float("nan"), [0, 0, 0], None, 0.0, []])),
        pack_record(STEP, msgpack.packb([2**40, 1, 0.0, [0, 0, 0], None, 0.0, []])),
        pack_record(STEP, (b"\xdc\x0f\xff" + b"\x90" * 4095) * (MAX_PAYLOAD // 4098)),
    ]
    for bomb in bombs:
        path.write_bytes(base + bomb)
        tracemalloc.start()
        try:
            session = read_session(path)
            assert len(session.steps) == 1
            assert session.lost == len(bomb)
        except RecordingError:
            pass
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
        tracemalloc.stop()


def test_a_header_of_the_first_minor_version_names_no_tokenizer():
    values = msgpack.unpackb(header().pack())
    del values["tokenizer"]
    old = Header.unpack(msgpack.packb(values))
    assert old == header(tokenizer="")


def test_versions(tmp_path):
    path = write(tmp_path / "a.wms", 2)
    data = bytearray(path.read_bytes())
    data[8:10] = struct.pack("<H", MAJOR + 1)
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=f"format {MAJOR + 1}; this version reads format {MAJOR}"):
        read_session(path)
    data[8:12] = struct.pack("<HH", MAJOR, 7)  # a newer minor version with a record type of its own
    head_end = PREAMBLE.size + RECORD.size + RECORD.unpack_from(data, PREAMBLE.size)[0]
    payload = b"news"
    unknown = RECORD.pack(len(payload), zlib.crc32(payload, zlib.crc32(b"\x63")), 0x63) + payload
    path.write_bytes(bytes(data[:head_end]) + unknown + bytes(data[head_end:]))
    assert len(read_session(path).steps) == 2


def test_files_that_are_no_sessions(tmp_path):
    with pytest.raises(RecordingError, match="cannot be read"):
        read_session(tmp_path / "nowhere.wms")
    (tmp_path / "a").write_bytes(b"PK\x03\x04" + b"x" * 100)
    with pytest.raises(RecordingError, match="is no session file"):
        read_session(tmp_path / "a")
    path = write(tmp_path / "b.wms")
    with pytest.raises(RecordingError, match="never written over"):
        SessionWriter(path, header())


def test_branches_and_resets_lead_the_right_way(tmp_path):
    marks = [Marker("branch", 3, 0.0, back_to=0), Marker("reset", 5, 0.0, seed=1), Marker("branch", 7, 0.0, back_to=-1)]
    session = read_session(write(tmp_path / "a.wms", 9, marks))

    def path(to):
        return [record.index for record in session.path_to(to)]

    assert path(2) == [0, 1, 2]
    assert path(4) == [0, 3, 4]  # 1 and 2 were rewound
    assert path(6) == [5, 6]
    assert path(8) == [7, 8]
    with pytest.raises(ValueError, match="the session has 9"):
        session.path_to(9)


def test_the_index_round_trips():
    index = Index((30, 400, 1000), (700,))
    assert Index.unpack(index.pack()) == index
    for bad in (b"", b"\xff" * 8, index.pack()[:-1]):
        with pytest.raises(RecordingError):
            Index.unpack(bad)


def test_a_full_disk_leaves_a_valid_file(tmp_path):
    path = tmp_path / "a.wms"
    writer = SessionWriter(path, header())
    writer.step(step(0))
    good = path.read_bytes()
    real = writer._file

    class Full:
        """Takes half of what it is given, then has no space left."""

        def __init__(self):
            self.calls = 0

        def write(self, data):
            self.calls += 1
            if self.calls > 1:
                raise OSError(28, "No space left on device")
            return real.write(data[: len(data) // 2])

        def truncate(self, size):
            return real.truncate(size)

        def close(self):
            real.close()

    writer._file = Full()
    with pytest.raises(OSError, match="No space"):
        writer.step(step(1))
    writer.close()
    assert path.read_bytes() == good
    session = read_session(path)
    assert (len(session.steps), session.lost, session.ended) == (1, 0, False)


def test_the_recorder_says_why_it_stopped(tmp_path):
    recorder = Recorder(tmp_path / "a.wms", header())
    recorder.step(step(0))
    recorder.step(replace(step(1), tokens=np.array([-1], np.int32)))  # cannot be stored
    recorder.step(step(2))
    recorder.close()
    assert recorder.problem is not None
    assert "recording stopped" in recorder.problem
    assert recorder.stopped.kept == 1
    session = read_session(tmp_path / "a.wms")
    assert len(session.steps) == 1
    assert session.ended


UNREADABLE = {
    "yaw must be a number below 1e18, got 1e": replace(step(0), action=Action(yaw=1e20)),
    "index must be an integer in 0..16777216": Marker("bookmark", 2**25, 0.0),
    "back_to must be an integer in -1..": Marker("branch", 0, 0.0, back_to=-2),
    "MessagePack cannot hold it": Marker("reset", 0, 0.0, seed=2**64),
    "seed must be an integer in 0..": Marker("reset", 0, 0.0, seed=-1),
    "exceeds max_str_len": Marker("bookmark", 0, 0.0, "x" * 5000),
    "surrogates not allowed": Marker("bookmark", 0, 0.0, "\udc80"),
    "exceeds max_array_len": replace(step(0), events=(("click",),) * 4097),
    "an input event must be": replace(step(0), events=(("click", None),)),
    "time must be a number": replace(step(0), time=float("inf")),
    "is longer than the format's": Marker("reset", 0, 0.0, opening=opening(1025, 1)),
    "is larger than the format's": Marker("reset", 0, 0.0, opening=opening(1000, 600)),
}


@pytest.mark.parametrize("message", UNREADABLE)
def test_what_a_reader_would_refuse_is_not_written(tmp_path, message):
    record = UNREADABLE[message]
    with SessionWriter(tmp_path / "a.wms", header()) as writer:
        with pytest.raises(RecordingError, match=message):
            writer.step(record) if isinstance(record, StepRecord) else writer.mark(record)
        writer.step(step(0))
    session = read_session(tmp_path / "a.wms")
    assert (len(session.steps), session.markers, session.ended) == (1, (), True)


@pytest.mark.parametrize(
    "values",
    [
        {"tick_rate": float("nan")},
        {"seed": 2**64},
        {"sampler": SamplerSettings(1.0, 2**64, 0.8)},
        {"world": "x" * 5000},
        {"config": {"a": {1: 2}}},
        {"config": {"a": [[{}] * 4000] * 5}},
        {"opening": Opening(np.zeros((0, 84), np.int32), np.zeros((0, 11), np.int32))},
    ],
)
def test_a_header_that_a_reader_would_refuse_leaves_no_file(tmp_path, values):
    with pytest.raises(RecordingError):
        SessionWriter(tmp_path / "a.wms", header(**values))
    assert not list(tmp_path.iterdir())


def test_a_bad_record_costs_nothing_of_what_stands_before_it(tmp_path):
    path = write(tmp_path / "a.wms", 3, close=False)
    good = path.stat().st_size
    bad = pack_record(STEP, msgpack.packb([3, 3, 0.0, [0, 1e20, 0], None, 0.0, []]))
    with path.open("ab") as file:
        file.write(bad + pack_record(STEP, step(3).pack()))
    session = read_session(path)
    assert [record.index for record in session.steps] == [0, 1, 2]
    assert session.problem == f"the record at byte {good}: pitch must be a number below 1e18, got 1e+20"
    assert session.lost == path.stat().st_size - good
    assert not session.ended


def test_control_characters_of_a_header_are_not_shown(tmp_path):
    path = tmp_path / "a.wms"
    SessionWriter(path, header(world="a\x1b[2Jb\n", weights="\0", device="Gerät")).close()
    head = read_session(path).header
    assert (head.world, head.weights, head.device) == ("a?[2Jb?", "?", "Gerät")


def test_the_recorder_catches_everything(tmp_path, capsys):
    recorder = Recorder(tmp_path / "a.wms", header())
    recorder.step(step(0))
    recorder.step(step(5))  # steps count on without a gap: our own mistake, with its traceback
    recorder.close()
    assert "AssertionError: step 5 follows step 0" in recorder.problem
    assert "Traceback" in capsys.readouterr().err
    assert read_session(tmp_path / "a.wms").ended


def test_a_folder_that_is_deleted_stops_the_recording(tmp_path):
    recorder = Recorder(tmp_path / "sessions" / "a.wms", header())
    recorder.step(step(0))
    recorder.step(step(1))  # taken when step 0 was written
    shutil.rmtree(tmp_path / "sessions")
    recorder.step(step(2))
    recorder.step(step(3))
    recorder.close()
    sentence = f"recording stopped: the file was deleted, 0 of 4 steps kept in {recorder.path}"
    assert recorder.stopped.sentence(4) == sentence


def test_a_disk_that_is_full_at_once_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(SessionWriter, "_write", lambda self, data: (_ for _ in ()).throw(OSError(28, "No space")))
    with pytest.raises(RecordingError, match="cannot be written: disk full"):
        Recorder(tmp_path / "a.wms", header())
    assert not list(tmp_path.iterdir())


def test_a_step_is_taken_when_the_one_before_it_is_written(tmp_path, monkeypatch):
    happened, free = [], threading.Event()
    write_step = SessionWriter.step

    def slow(writer, record):
        free.wait()
        write_step(writer, record)
        happened.append(f"written {record.index}")

    monkeypatch.setattr(SessionWriter, "step", slow)
    recorder = Recorder(tmp_path / "a.wms", header())

    def play():
        for index in range(5):
            recorder.step(step(index))
            happened.append(f"taken {index}")

    player = threading.Thread(target=play)
    player.start()
    free.set()
    player.join()
    recorder.close()
    for index in range(4):
        assert happened.index(f"written {index}") < happened.index(f"taken {index + 1}")
    assert len(read_session(tmp_path / "a.wms").steps) == 5


def test_what_is_written_is_synced_while_it_is_recorded(tmp_path, monkeypatch):
    synced = threading.Semaphore(0)
    monkeypatch.setattr("recordings.recorder.SYNC_S", 0.001)
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: synced.release(), raising=False)
    recorder = Recorder(tmp_path / "a.wms", header())
    assert synced.acquire(timeout=30)  # the header
    recorder.step(step(0))
    recorder.step(step(1))
    assert synced.acquire(timeout=30)
    recorder.close()
    assert recorder.problem is None


def test_a_sync_that_fails_stops_the_recording(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("recordings.recorder.SYNC_S", 0.001)
    monkeypatch.setattr(os, "fdatasync", fail, raising=False)
    recorder = Recorder(tmp_path / "a.wms", header())
    recorder._threads[1].join(30)
    recorder.step(step(0))
    recorder.close()
    assert "Input/output error" in recorder.problem
    assert read_session(tmp_path / "a.wms").ended


def test_a_disk_that_does_not_answer_ends_the_recording_not_the_game(tmp_path, monkeypatch):
    hold = threading.Event()
    monkeypatch.setattr("recordings.recorder.PATIENCE_S", 0.01)
    monkeypatch.setattr(SessionWriter, "step", lambda writer, record: hold.wait())
    recorder = Recorder(tmp_path / "a.wms", header())
    recorder.step(step(0))
    recorder.step(step(1))
    assert "the disk does not answer" in recorder.problem
    recorder.step(step(2))  # at once
    hold.set()
    recorder.close()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_recorders_leave_no_descriptors_and_threads(tmp_path):
    def count():
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    before = count()
    for index in range(20):
        recorder = Recorder(tmp_path / f"{index}.wms", header())
        recorder.step(step(0))
        recorder.close()
    assert count() == before


@pytest.mark.slow
@pytest.mark.parametrize(("writer", "step_ms", "lost"), [("SessionWriter", 0, 0), ("Recorder", 2, 1)])
def test_kills_lose_at_most_the_step_being_written(tmp_path, writer, step_ms, lost):
    out = tmp_path / "reliability.json"
    command = [sys.executable, str(ROOT / "tests/kills.py"), "--kills", "60", "--out", str(out)]
    command += ["--writer", writer, "--step-ms", str(step_ms)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(out.read_text())["kills"]["most_lost"] <= lost


def test_importing_it_loads_nothing_heavy():
    heavy = "[name for name in ('torch', 'cupy', 'pygame') if name in sys.modules]"
    program = f"import sys, recordings.reader, recordings.recorder; print({heavy})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_stream_can_be_read_while_it_is_written(tmp_path):
    path = tmp_path / "a.wms"
    with SessionWriter(path, header()) as writer:
        writer.step(step(0))
        reader = SessionReader(path)
        assert [record.index for record in reader] == [0]
        reader.close()
