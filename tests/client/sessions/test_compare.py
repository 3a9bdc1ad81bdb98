"""`worldmodel replay --against` and what is drawn on exports: through the command line, on tiny checkpoints."""

import csv
from dataclasses import replace

import av
import numpy as np
import pytest
from conftest import TINY_TOKENIZER, random_steps, tiny_config, tiny_transformer

from client.cli import main
from client.sessions.compare import ComparedWorld, compare
from client.sessions.overlay import enlarged, with_keys, with_titles
from recordings.reader import read_session
from worldmodel.model.loading import load_tokenizer, save_starts, save_world_model
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.types import Action, StartScene

STEPS = 12


def record(folder, path, *more):
    arguments = ["play", "--world", str(folder), "--headless", "--frames", str(STEPS), "--seed", "5", "--threads", "1"]
    assert main([*arguments, "--record", str(path), "--report", str(path.with_suffix(".json")), *more]) == 0
    return path


@pytest.fixture
def recorded(tiny_folder, tmp_path):
    return record(tiny_folder, tmp_path / "s.wms")


def checkpoint(path, tokenizer, config=None, seed=1):
    config = config or tiny_config()
    save_world_model(path, config, tokenizer, tiny_transformer(config, seed))
    tokens, actions = random_steps(config, 3)
    save_starts(path, [StartScene(tokens, actions[:2])])
    return path


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def against(recorded, other, *more):
    return main(["replay", str(recorded), "--against", str(other), "--headless", "--threads", "1", *more])


def test_the_same_checkpoint_agrees(recorded, tiny_folder, capsys):
    assert against(recorded, tiny_folder) == 0
    name = f"s-{tiny_folder.name}"
    rows = rows_of(recorded.with_name(f"{name}.csv"))
    assert [int(row["step"]) for row in rows] == list(range(STEPS + 1))
    assert {row["psnr_db"] for row in rows} == {"inf"}
    assert {row["equal_tokens"] for row in rows} == {"1.0000"}
    session = read_session(recorded)
    assert [float(row["yaw"]) for row in rows[1:]] == [record.action.yaw for record in session.steps]
    with av.open(str(recorded.with_name(f"{name}.mp4"))) as video:
        stream = video.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (2 * (2 * 80 + 4), 2 * 48 + 20, 10)
        assert sum(1 for _ in video.decode(stream)) == STEPS + 1
    assert f"{STEPS} of {STEPS} pictures are equal" in capsys.readouterr().out


def test_another_checkpoint_drifts_from_the_same_start(recorded, tiny_folder, tmp_path, capsys):
    other = checkpoint(tmp_path / "other", load_tokenizer(tiny_folder))
    assert against(recorded, other, "--export", str(tmp_path / "c.mp4"), "--keys") == 0
    rows = rows_of(tmp_path / "c.csv")
    assert rows[0]["psnr_db"] == "inf"  # the opening
    assert float(rows[-1]["equal_tokens"]) < 0.5  # of 16 codes, by chance
    assert 3 < float(rows[-1]["psnr_db"]) < 30
    assert "0 of 12 pictures are equal; PSNR of the others" in capsys.readouterr().out


def test_another_recording(recorded, tiny_folder, tmp_path, capsys):
    cooler = record(tiny_folder, tmp_path / "cool.wms", "--temperature", "0.3")
    assert against(recorded, cooler) == 0
    rows = rows_of(tmp_path / "s-cool.wms.csv")
    assert rows[0]["psnr_db"] == "inf"
    assert float(rows[-1]["equal_tokens"]) < 1
    idle = record(tiny_folder, tmp_path / "idle.wms", "--actions", "idle")
    assert against(recorded, idle) == 2
    assert "different actions from step 0 on" in capsys.readouterr().err


def test_worlds_that_do_not_fit(recorded, tmp_path, capsys):
    other_codes = checkpoint(tmp_path / "codes", ImageTokenizer(TINY_TOKENIZER))
    small = replace(tiny_config(), image_tokenizer=replace(TINY_TOKENIZER, height=32))
    smaller = checkpoint(tmp_path / "small", ImageTokenizer(small.image_tokenizer), small)
    for other, message in (
        (other_codes, "different image tokenizers (16 and 16 codes)"),
        (smaller, "has frames of 80x48, "),
        (tmp_path / "nowhere", "no world"),
        (tmp_path / "nowhere.wms", "cannot be read"),
    ):
        assert against(recorded, other) == 2
        assert message in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if ".mp4" in path.name]
    # The same for the recording itself: another tokenizer would show a picture that nobody saw.
    assert main(["replay", str(recorded), "--world", str(other_codes), "--export", str(tmp_path / "a.mp4")]) == 2
    assert "another image tokenizer" in capsys.readouterr().err
    assert main(["replay", str(recorded), "--world", str(other_codes), "--export", str(tmp_path / "clips")]) == 2
    assert "another image tokenizer" in capsys.readouterr().err
    assert not list((tmp_path / "clips").iterdir())


def test_options_that_do_not_go_together(recorded, tmp_path, capsys):
    for options, message in (
        (["--against", "nano", "--verify"], "different commands"),
        (["--headless"], "goes with --against"),
        (["--keys"], "are for --export"),
        (["--against", "nano", "--export", str(tmp_path / "a.gif")], "exports an .mp4"),
        (["--export", str(tmp_path / "clips"), "--keys"], "for .mp4 and .gif"),
        (["--export", str(tmp_path / "no" / "a.mp4")], "there is no folder"),
        (["--export", str(tmp_path / "a.mp4"), "--scale", "0"], "at least 1"),
    ):
        assert main(["replay", str(recorded), *options]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error


def test_the_second_world_plays_on_as_one_looks(recorded, tiny_folder, tmp_path):
    other = checkpoint(tmp_path / "other", load_tokenizer(tiny_folder))
    world = compare(recorded, str(other), threads=1).world(1)
    assert isinstance(world, ComparedWorld)
    seen = [world.reset().frame]
    world.seek(9)  # it cannot jump: the second world has to play every step
    assert world.position == 1
    world.seek(0)
    seen += [world.step(Action()).frame for _ in range(5)]
    assert not np.array_equal(seen[2], seen[3])
    for position in (3, 0, 5):  # but back, and to what was seen
        assert np.array_equal(world.seek(position).frame, seen[position])
    assert dict(world.show(5).status.notes)["PSNR"].endswith("dB")
    world.close()


@pytest.mark.game
@pytest.mark.slow
def test_the_real_game_plays_the_recorded_actions(recorded, capsys):
    assert against(recorded, "luanti") == 0
    rows = rows_of(recorded.with_name("s-luanti.csv"))
    assert len(rows) == STEPS + 1
    assert {row["equal_tokens"] for row in rows} == {""}
    assert "the starts differ" in capsys.readouterr().out


def test_comparing_with_the_game_says_what_is_missing(recorded, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert against(recorded, "luanti") == 2
    error = capsys.readouterr().err
    assert "apt-get install" in error
    assert "Traceback" not in error


def test_keys_and_titles_are_drawn():
    frame = np.full((112, 192, 3), 90, np.uint8)
    large = enlarged(frame, 4)
    assert large.shape == (448, 768, 3)
    up, down = with_keys(large, frozenset()), with_keys(large, frozenset({"forward"}))
    changed = np.argwhere((up != down).any(2))
    assert len(changed) > 400  # one cap is lit
    assert (changed.max(0) - changed.min(0) < 50).all()
    assert np.array_equal(up[150:], large[150:])  # the picture's lower part stays
    titled = with_titles(frame, ("left", "right"))
    assert titled.shape == (132, 192, 3)
    assert np.array_equal(titled[20:], frame)
    assert titled[:20, :96].max() > 200
    assert titled[:20, 96:].max() > 200


def test_an_animation_with_keys(recorded, tmp_path):
    assert main(["replay", str(recorded), "--export", str(tmp_path / "k.mp4"), "--keys", "--scale", "3"]) == 0
    with av.open(str(tmp_path / "k.mp4")) as video:
        assert (video.streams.video[0].width, video.streams.video[0].height) == (240, 144)
