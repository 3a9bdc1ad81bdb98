"""VPT's recordings by each of the public rules, their token shards, and MineStudio's pictures."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from client.cli import main
from tests.conftest import vpt_line, write_clip
from worldmodel.checkpoint import read_config
from worldmodel.data.video import ClipError
from worldmodel.minecraft.minestudio import read_chunks, write_chunks
from worldmodel.minecraft.shards import Recipe, open_shards, prepare
from worldmodel.minecraft.vpt import draw_cursor, find_recordings, read_recording, read_steps
from worldmodel.model.loading import load_tokenizer
from worldmodel.tokenizers.action import camera_bins

W = "key.keyboard.w"


def line(**changes) -> dict:
    """A VPT line with pitch, yaw, and the cursor's place (x, y)."""
    values = vpt_line(**changes)
    values |= {"pitch": changes.get("pitch", 0.0), "yaw": changes.get("yaw", 0.0)}
    values["mouse"] |= {"x": changes.get("x", 0.0), "y": changes.get("y", 0.0)}
    return values


def read(tmp_path, lines, rules="vpt"):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(values) + "\n" for values in lines))
    return read_recording(path, rules)


def held(found):
    return [(kept.tick, set(kept.action.buttons)) for kept in found.lines]


def test_vpt_a_left_button_that_starts_the_recording_is_up_until_it_is_pressed_again(tmp_path):
    stuck = [line(buttons=[0], new_buttons=[0], dx=1), line(buttons=[0], dx=1), line(buttons=[0], new_buttons=[0])]
    assert held(read(tmp_path, stuck)) == [(0, set()), (1, set()), (2, {"attack"})]
    assert held(read(tmp_path, [line(buttons=[0, 1], new_buttons=[0, 1])])) == [(0, {"attack", "use"})]


def test_vpt_drops_lines_without_input_and_minerl_does_not(tmp_path):
    lines = [line(keys=[W]), line(), line(dx=2.0), line()]
    assert held(read(tmp_path, lines)) == [(0, {"forward"}), (2, set())]
    assert read(tmp_path, lines).dropped == 2
    assert held(read(tmp_path, lines, "minerl")) == [(0, {"forward"}), (1, set()), (2, set()), (3, set())]


def test_the_hotbar_is_pressed_on_the_line_or_one_earlier(tmp_path):
    lines = [line(keys=[W]), line(keys=[W], hotbar=0), line(keys=[W], hotbar=4), line(keys=[W], hotbar=4)]
    assert [kept[1] for kept in held(read(tmp_path, lines))] == [
        {"forward"}, {"forward"}, {"forward", "hotbar.5"}, {"forward"},
    ]  # fmt: skip
    assert [kept[1] for kept in held(read(tmp_path, lines, "minerl"))] == [
        {"forward"}, {"forward", "hotbar.5"}, {"forward"}, {"forward"},
    ]  # fmt: skip


def test_vpt_a_recording_that_starts_on_another_slot_begins_with_a_press(tmp_path):
    lines = [line(keys=[W], hotbar=2), line(keys=[W], hotbar=2)]
    assert [kept[1] for kept in held(read(tmp_path, lines))] == [{"forward", "hotbar.3"}, {"forward"}]
    assert [kept[1] for kept in held(read(tmp_path, lines, "minerl"))] == [{"forward"}, {"forward"}]


def test_vpt_the_wheel_alone_vanishes(tmp_path):
    lines = [line(keys=[W]), line(hotbar=3), line(keys=[W], hotbar=3)]
    assert held(read(tmp_path, lines)) == [(0, {"forward"}), (2, {"forward"})]


def test_the_camera_is_the_mouses_or_the_next_lines_view(tmp_path):
    lines = [line(dx=10.0, dy=-4.0, pitch=1.0, yaw=179.0), line(dx=1.0, pitch=3.5, yaw=-178.0), line(dx=1.0, pitch=3.5)]
    first = read(tmp_path, lines).lines[0].action
    assert (first.pitch, first.yaw) == pytest.approx((-0.6, 1.5))
    turns = [(k.action.pitch, k.action.yaw) for k in read(tmp_path, lines, "minerl").lines]
    assert turns[0] == pytest.approx((2.5, 3.0))
    assert turns[2] == (0.0, 0.0)  # nothing follows
    with pytest.raises(ClipError, match=r"a.jsonl:1: no pitch and yaw, which the rules minerl need"):
        read(tmp_path, [vpt_line(), vpt_line()], "minerl")


def test_minerl_escape_in_a_screen_is_inventory(tmp_path):
    lines = [line(keys=["key.keyboard.escape"], gui=True), line(keys=["key.keyboard.escape"])]
    assert [kept[1] for kept in held(read(tmp_path, lines, "minerl"))] == [{"inventory"}, {"ESC"}]
    assert [kept[1] for kept in held(read(tmp_path, lines))] == [{"ESC"}, {"ESC"}]


def test_vpt_a_cursor_is_drawn_where_a_screen_is_open(tmp_path):
    lines = [line(dx=1.0, gui=True, x=640.0, y=360.0), line(dx=1.0), line(dx=1.0, gui=True, x=-90.0, y=9999.0)]
    clip = write_clip(tmp_path / "a", lines, height=360, width=640)
    steps = list(read_steps(clip, read_recording(clip.with_suffix(".jsonl"), "vpt"), 224, 384))
    plain = list(read_steps(clip, read_recording(clip.with_suffix(".jsonl"), "minerl"), 224, 384))
    changed = np.argwhere((steps[0].frame != plain[0].frame).any(-1))
    assert changed.min(0).tolist() == [112, 199]  # 360 and 640 of 720 at a height of 224
    assert len(changed) > 30
    assert np.ptp(changed, 0).max() < 16 * 224 / 360
    assert np.array_equal(steps[1].frame, plain[1].frame)
    assert np.array_equal(steps[2].frame, plain[2].frame)
    without = list(read_steps(clip, read_recording(clip.with_suffix(".jsonl"), "vpt"), 224, 384, gui=False))
    assert [step.segment for step in without] == [0]
    small = np.zeros((8, 8, 3), np.uint8)
    draw_cursor(small, (1e5, 1e5))
    assert not small.any()


@pytest.mark.parametrize(("height", "width"), [(360, 640), (720, 1280)])
def test_both_sizes_come_to_the_models(tmp_path, height, width):
    clip = write_clip(tmp_path / "a", [line(dx=1.0)] * 3, height=height, width=width)
    steps = list(read_steps(clip, read_recording(clip.with_suffix(".jsonl"), "vpt"), 224, 384))
    assert [step.frame.shape for step in steps] == [(224, 384, 3)] * 3
    assert steps[1].frame.mean() == pytest.approx(steps[0].frame.mean() + 2, abs=1.0)


def test_an_index_file(tmp_path):
    index = tmp_path / "all_6xx_Jun_29.json"
    index.write_text(json.dumps({"basedir": "https://there/data/", "relpaths": ["6.0/b.mp4", "6.0/a.mp4"]}))
    with pytest.raises(ClipError, match="give the folder that they lie in here, with --root"):
        find_recordings(index)
    found = find_recordings(index, tmp_path / "here")
    assert found == [(tmp_path / "here/6.0/b.mp4", "6.0.b"), (tmp_path / "here/6.0/a.mp4", "6.0.a")]
    for basedir in ("here", f"{tmp_path}/here", f"/{tmp_path}/here"):
        index.write_text(json.dumps({"basedir": basedir, "relpaths": ["6.0/a.mp4"]}))
        assert find_recordings(index) == [(tmp_path / basedir / "6.0/a.mp4", "6.0.a")]
    for odd in (["../x.mp4"], ["/etc/x.mp4"], ["//etc/x.mp4"], ["a.txt"], [3], []):
        index.write_text(json.dumps({"basedir": "here", "relpaths": odd}))
        with pytest.raises(ClipError, match=r"is no file below|an index file is"):
            find_recordings(index)


def write_recordings(folder, count: int = 3) -> None:
    for number in range(count):
        lines = [line(dx=float((at * number) % 5), keys=[W] if at % 3 else []) for at in range(24)]
        write_clip(folder / f"player-{number}", lines)


def shards_of(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.npy")}


def test_shards_are_written_in_parallel_resumed_and_reported(tiny_folder, tmp_path):
    write_recordings(tmp_path / "data")
    (tmp_path / "data" / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "data" / "broken.jsonl").write_text(json.dumps(line(dx=1.0)) + "\n")
    recordings, recipe = find_recordings(tmp_path / "data"), Recipe(str(tiny_folder))
    report = prepare(recordings, recipe, tmp_path / "one", 1)
    assert (report["recordings"], report["done"], report["new"]) == (4, 3, 3)
    assert "not a readable video" in report["skipped"]["broken"]
    assert report["dropped"] == 8 + 2 + 2  # every third line has no key, and some of those no motion
    assert prepare(recordings, recipe, tmp_path / "two", 2)["steps"] == report["steps"]
    assert shards_of(tmp_path / "one") == shards_of(tmp_path / "two")
    whole = shards_of(tmp_path / "one")
    (tmp_path / "one" / "player-1.segments.npy").unlink()  # as after a kill
    again = prepare(recordings, recipe, tmp_path / "one", 1)
    assert (again["new"], again["done"], again["steps"]) == (1, 3, report["steps"])
    assert shards_of(tmp_path / "one") == whole
    with pytest.raises(ClipError, match="give another folder or delete it"):
        prepare(recordings, replace(recipe, rules="minerl"), tmp_path / "one", 1)
    clips, rate = open_shards(tmp_path / "one", load_tokenizer(tiny_folder), legacy_camera=False, fine_camera=True)
    coarse, _ = open_shards(tmp_path / "one", load_tokenizer(tiny_folder), legacy_camera=False, fine_camera=False)
    for fine, told in zip(clips, coarse, strict=True):  # the same, as MineWorld tells it
        np.testing.assert_array_equal(camera_bins(fine.actions), camera_bins(told.actions))
        assert (told.actions[:, 1:3] < told.actions[:, :1]).all()  # ids before <act_bos>
    assert any((clip.actions[:, 1:3] > clip.actions[:, -1:]).any() for clip in clips)
    assert ([len(clip.tokens) for clip in clips], rate) == ([16, 22, 22], 20.0)
    with pytest.raises(ClipError, match="prepared with --no-legacy-camera"):
        open_shards(tmp_path / "one", load_tokenizer(tiny_folder), legacy_camera=True, fine_camera=False)


def test_ray_makes_the_same_shards(tiny_folder, tmp_path):
    pytest.importorskip("ray.data", reason='Ray Data is not installed: pip install "ray[data]"')
    write_recordings(tmp_path / "data", 2)
    recordings, recipe = find_recordings(tmp_path / "data"), Recipe(str(tiny_folder))
    prepare(recordings, recipe, tmp_path / "plain", 1)
    report = prepare(recordings, recipe, tmp_path / "ray", 2, ray_address="local")
    assert report["done"] == 2
    assert shards_of(tmp_path / "ray") == shards_of(tmp_path / "plain")


def test_from_mp4_to_a_trained_world_in_three_commands(tmp_path):
    """A clip of 360x640: an image tokenizer, token shards, a world."""
    lines = [line(dx=float(at % 4), keys=[W]) for at in range(24)]
    write_clip(tmp_path / "data" / "a", lines, height=360, width=640)
    tokenizer, shards, world = tmp_path / "tokenizer", tmp_path / "shards", tmp_path / "world"
    small = ["--height", "48", "--width", "80", "--levels", "4", "4", "--encoder-channels", "16", "16"]
    small += ["--decoder-channels", "16", "16", "--encoder-blocks", "1", "1", "--decoder-blocks", "1", "1"]
    data = str(tmp_path / "data")
    trained = ["train", "tokenizer", "--data", data, "--val", data, "--out", str(tokenizer), "--steps", "2", *small]
    assert main([*trained, "--cache", str(tmp_path / "cache"), "--batch", "2"]) == 0
    assert (
        main(["prepare", "vpt", "--data", data, "--tokenizer", str(tokenizer), "--out", str(shards), "--workers", "1"])
        == 0
    )
    sizes = ["--hidden", "16", "--mlp", "16", "--layers", "1", "--heads", "2", "--kv-heads", "1", "--head-dim", "8"]
    sizes += ["--offsets", "1", "2", "--steps", "3", "--clip", "5", "--batch", "1", "--rollout-frames", "2"]
    given = ["train", "world", "--data", str(shards), "--val", str(shards), "--tokenizer", str(tokenizer)]
    assert main([*given, "--out", str(world), *sizes, "--rollouts", "1", "--val-clips", "1"]) == 0
    assert read_config(world)["model"]["tick_rate"] == 20.0
    assert (
        main(["play", "--world", str(world), "--headless", "--frames", "2", "--threads", "1", "--engine", "eager"]) == 0
    )


class Hostile:
    def __reduce__(self):
        return (print, ("run!",))


def test_minestudios_pictures_are_read_and_its_pickles_are_not(tmp_path, capsys):
    lmdb = pytest.importorskip("lmdb", reason="lmdb is not installed")
    clip = write_clip(tmp_path / "a", [line()] * 4).read_bytes()
    for name, chunks in (
        ("video", {"('ep-1', 0)": clip, "('ep-1', 32)": clip}),
        ("action", {"(0, 0)": pickle.dumps(Hostile())}),
    ):
        with lmdb.open(str(tmp_path / name), map_size=1 << 24) as store, store.begin(write=True) as view:
            view.put(b"__chunk_size__", pickle.dumps(Hostile()))
            for key, value in chunks.items():
                view.put(key.encode(), value)
    assert write_chunks(tmp_path / "video", tmp_path / "out") == 2
    assert (tmp_path / "out" / "ep-1.000000032.mp4").read_bytes() == clip
    with pytest.raises(ClipError, match="is a pickle"):
        list(read_chunks(tmp_path / "action"))
    assert "run!" not in capsys.readouterr().out
    (tmp_path / "other").mkdir()
    with pytest.raises(ClipError, match="is no LMDB"):
        list(read_chunks(tmp_path / "other"))
