"""A disk that is full, a folder that cannot be written: one sentence, nothing half left, and what was there stays."""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY_TOKENIZER, random_steps, tiny_config, vpt_line, write_clip

from client.cli import main
from worldmodel.checkpoint import write_checkpoint
from worldmodel.data.frames import build_frame_store, open_frame_store
from worldmodel.data.tokens import save_array
from worldmodel.failure import report_failure
from worldmodel.locking import building
from worldmodel.model.loading import save_starts
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.torch_files import STATE_FILE, load_state, save_state
from worldmodel.training.idm import reconstruct
from worldmodel.types import StartScene, WorldModelError
from worldmodel.writing import written

resource = pytest.importorskip("resource")
ROOM = 20_000  # bytes of each file


@contextmanager
def little_room():
    """To the writer it is as a disk that fills up; another sentence of the system."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def state(folder):
    save_state(folder / STATE_FILE, {"step": 2, "weights": torch.rand(10_000)})


def checkpoint(folder):
    write_checkpoint(folder, {}, {"tokenizer": ImageTokenizer(TINY_TOKENIZER)})


def starts(folder):
    save_starts(folder, [StartScene(*random_steps(tiny_config(), 2000))])


def array(folder):
    save_array(folder / "a.npy", np.zeros(10_000))


@pytest.mark.parametrize("write", [state, checkpoint, starts, array])
def test_no_room_is_one_sentence_and_nothing_half_stays(tmp_path, write):
    with little_room(), pytest.raises(WorldModelError, match=r"/\w+\.\w+ cannot be written \(.+\)$"):
        write(tmp_path)
    assert files(tmp_path) == []
    write(tmp_path)
    assert len(files(tmp_path)) >= 1


def test_the_state_before_stays(tmp_path):
    save_state(tmp_path / STATE_FILE, {"step": 1})
    with little_room(), pytest.raises(WorldModelError):
        state(tmp_path)
    assert load_state(tmp_path / STATE_FILE) == {"step": 1}


def test_a_store_of_frames_that_has_no_room_ends_no_process(tmp_path):
    """A file that is filled in memory and has no room on the disk ends a process by SIGBUS: it is asked for before."""
    clip = write_clip(tmp_path / "clips" / "a", [vpt_line()] * 12)
    with little_room(), pytest.raises(WorldModelError, match=r"frames\.npy cannot be written"):
        build_frame_store([clip.parent], tmp_path / "store", 48, 80, workers=1)
    assert files(tmp_path / "store") == [".lock", "manifest.json"]
    (stored,) = open_frame_store(
        tmp_path / "store", build_frame_store([clip.parent], tmp_path / "store", 48, 80, workers=1)
    )
    with little_room(), pytest.raises(WorldModelError, match=r"shown\.npy cannot be written"):
        reconstruct(stored, ImageTokenizer(TINY_TOKENIZER), tmp_path / "shown.npy", torch.device("cpu"), False)


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file" / "store", Path("/proc/nowhere/store")):
        with pytest.raises(WorldModelError, match=f"{place} cannot be made"), building(place):
            pass


def test_an_error_of_what_is_written_is_its_own(tmp_path):
    def write(error):
        with written(tmp_path / "a") as file:
            file.write_text("half")
            try:
                raise OSError(5, "Input/output error")
            except OSError:
                raise error from None

    for error in (KeyError("x"), WorldModelError("a clip that cannot be read")):
        with pytest.raises(type(error)) as raised:
            write(error)
        assert raised.value is error
    assert files(tmp_path) == []


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "out/x"), OSError(28, "No space left")])
def test_a_file_that_the_system_refuses_is_the_users_to_mend(capsys, error):
    assert report_failure(error) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(error.strerror) in said
    assert error.filename is None or error.filename in said


@pytest.mark.parametrize("command", ["record --out", "web", "train tokenizer --data {clips} --val {clips} --out"])
def test_an_output_that_is_a_file_is_said(tmp_path, capsys, command):
    write_clip(tmp_path / "clips" / "a", [vpt_line()] * 12)
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / ("out" if command == "web" else "")
    assert main([*command.format(clips=tmp_path / "clips").split(), str(out)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"error: {tmp_path / 'file'}")
    assert (tmp_path / "file").read_text() == "mine"
