"""The clip reader on small real mp4 files, whole and broken."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import vpt_line, write_clip

from worldmodel.data.clips import ClipError, find_clips, read_clip
from worldmodel.data.frames import build_frame_store, open_clips, open_frame_store
from worldmodel.data.ticks import action_lines, read_actions
from worldmodel.types import Action


def steps_of(path):
    return list(read_clip(path, 48, 80))


def test_two_ticks_make_a_step(tmp_path):
    lines = [vpt_line(dx=10, keys=["key.keyboard.w"]), vpt_line(dx=-4, dy=20, buttons=[0]), vpt_line(), vpt_line()]
    first, second = steps_of(write_clip(tmp_path / "a", lines))
    assert first.action.buttons == {"forward", "attack"}
    assert (first.action.pitch, first.action.yaw) == pytest.approx((3.0, 0.9))
    assert second.action.buttons == frozenset()
    assert first.frame.shape == (48, 80, 3)
    assert first.frame.dtype == np.uint8
    # Step t shows the frame at its first tick: tick 2 is 4 grey levels brighter than tick 0.
    assert second.frame.mean() - first.frame.mean() == pytest.approx(4, abs=1.5)


def test_area_downsampling_averages(tmp_path):
    frame = steps_of(write_clip(tmp_path / "a", [vpt_line()] * 2))[0].frame.astype(float)
    ramp = np.linspace(0, 60, 160)[None] + np.linspace(0, 60, 96)[:, None]
    expected = ramp.reshape(48, 2, 80, 2).mean((1, 3))
    assert abs(frame.mean(-1) - expected).mean() < 2.5


def test_stuck_left_button_at_the_start(tmp_path):
    stuck = [vpt_line(buttons=[0], new_buttons=[0])] + [vpt_line(buttons=[0])] * 3
    real = [vpt_line(buttons=[0], new_buttons=[0])] * 2
    write_clip(tmp_path / "a", stuck + real)
    assert [action.buttons for action in read_actions(tmp_path / "a.jsonl")] == [set(), set(), {"attack"}]


def test_wheel_becomes_a_hotbar_key(tmp_path):
    lines = [vpt_line(hotbar=0), vpt_line(hotbar=0), vpt_line(hotbar=3), vpt_line(hotbar=3, keys=["key.keyboard.2"])]
    write_clip(tmp_path / "a", [*lines, vpt_line(hotbar=1), vpt_line(hotbar=1)])
    assert [action.buttons for action in read_actions(tmp_path / "a.jsonl")] == [{"hotbar.4"}, {"hotbar.2"}, set()]


FOUR, SEVEN = "key.keyboard.4", "key.keyboard.7"


@pytest.mark.parametrize(
    ("slots", "keys", "steps"),
    [
        ((0, 0, 1, 2, 3, 3), {}, [{"hotbar.2"}, {"hotbar.4"}, set()]),  # the wheel, a slot a tick
        ((0, 0, 0, 3, 6, 6), {2: [FOUR], 3: [SEVEN]}, [set(), {"hotbar.7"}, set()]),
        ((0, 0, 0, 3, 6, 6), {2: [FOUR], 3: [FOUR, SEVEN], 4: [FOUR, SEVEN]}, [set(), {"hotbar.7"}, {"hotbar.7"}]),
        ((0, 0, 3, 4, 4, 4), {1: [FOUR], 2: [FOUR]}, [{"hotbar.4"}, {"hotbar.5"}, set()]),  # held, and the wheel
        ((0, 0, 3, 4, 4, 4), {1: [FOUR], 2: [FOUR], 3: [FOUR], 4: [FOUR]}, [{"hotbar.4"}, {"hotbar.5"}, set()]),
        ((0, 0, 0, 0, 5, 5), {}, [set(), {"hotbar.6"}, set()]),
        ((3, 3, 3, 3, 3, 3), {2: [FOUR], 3: [FOUR]}, [set(), {"hotbar.4"}, set()]),  # of the slot that is selected
        ((None,) * 6, {2: [FOUR], 3: [FOUR, SEVEN], 4: [FOUR]}, [set(), {"hotbar.7"}, set()]),  # slots not told
        ((0,) * 6, {2: [FOUR], 3: [FOUR], 4: [FOUR]}, [set(), {"hotbar.4"}, {"hotbar.4"}]),  # or not kept
    ],
)
def test_of_two_slots_in_one_step_the_last_one_is_the_action(tmp_path, slots, keys, steps):
    lines = [vpt_line(hotbar=slot, keys=keys.get(tick, [])) for tick, slot in enumerate(slots)]
    write_clip(tmp_path / "a", lines)
    assert [action.buttons for action in read_actions(tmp_path / "a.jsonl")] == steps
    assert [step.action.buttons for step in steps_of(tmp_path / "a.mp4")] == steps


def test_a_slot_that_changes_in_a_gui_is_no_action(tmp_path):
    slots, gui = (0, 0, 0, 4, 4, 4, 4, 4), (2, 3)
    write_clip(tmp_path / "a", [vpt_line(hotbar=slot, gui=tick in gui) for tick, slot in enumerate(slots)])
    assert [step.action.buttons for step in steps_of(tmp_path / "a.mp4")] == [set()] * 3


def test_lines_of_actions_say_the_same_slots_again(tmp_path):
    slots = (None, 4, 4, 2, None, 1, 9, None)
    actions = [Action(frozenset() if slot is None else frozenset({f"hotbar.{slot}"})) for slot in slots]
    (tmp_path / "a.jsonl").write_text("\n".join(action_lines(actions)))
    assert read_actions(tmp_path / "a.jsonl") == actions
    (tmp_path / "a.jsonl").write_text("\n".join(action_lines([Action(frozenset({"hotbar.4", "hotbar.7"}))])))
    assert read_actions(tmp_path / "a.jsonl") == [Action()]  # as the model was told


@pytest.mark.parametrize(
    ("held", "steps"),
    [
        ((2, 3), [set(), {"use"}, set(), set()]),  # begins with a step
        ((3, 4), [set(), set(), {"use"}, set()]),  # begins in the middle of one
        ((2, 3, 4), [set(), {"use"}, {"use"}, set()]),
        ((3,), [set(), set(), {"use"}, set()]),  # one tick only: not lost
        ((2,), [set(), {"use"}, set(), set()]),
        ((2, 4), [set(), {"use"}, {"use"}, set()]),
    ],
)
def test_a_click_in_luanti_belongs_to_the_step_that_the_next_frame_shows(tmp_path, held, steps):
    write_clip(tmp_path / "a", [vpt_line(buttons=[1] if tick in held else []) | {"events": []} for tick in range(8)])
    assert [action.buttons for action in read_actions(tmp_path / "a.jsonl")] == steps
    assert [step.action.buttons for step in steps_of(tmp_path / "a.mp4")] == steps


def test_digging_in_luanti_and_clicks_elsewhere_belong_to_the_step_in_which_they_begin(tmp_path):
    for name, button, more in (("dig", 0, {"events": []}), ("use", 1, {})):
        write_clip(tmp_path / name, [vpt_line(buttons=[button] if tick in (3, 4) else []) | more for tick in range(8)])
        found = [action.buttons for action in read_actions(tmp_path / f"{name}.jsonl")]
        assert [bool(buttons) for buttons in found] == [False, True, True, False]


def test_gui_frames_are_left_out_and_cut_the_clip(tmp_path):
    lines = [vpt_line()] * 4 + [vpt_line(gui=True)] * 3 + [vpt_line(dx=2)] * 4
    steps = steps_of(write_clip(tmp_path / "a", lines))
    assert [step.segment for step in steps] == [0, 0, 1, 1]


@pytest.mark.parametrize("extra", [1, 7])
def test_a_few_missing_or_extra_lines_at_the_end_are_survived(tmp_path, extra):
    assert len(steps_of(write_clip(tmp_path / "a", [vpt_line()] * 20, frames=20 - extra))) == (20 - extra) // 2
    assert len(steps_of(write_clip(tmp_path / "b", [vpt_line()] * (20 - extra), frames=20))) == (20 - extra) // 2


def test_missing_frames_are_an_error_with_both_counts(tmp_path):
    path = write_clip(tmp_path / "a", [vpt_line()] * 60, frames=10)
    with pytest.raises(ClipError, match="10 frames but 60 lines"):
        steps_of(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{'mouse': {}}", "a.jsonl:3: not JSON"),
        ("[1, 2]", 'a.jsonl:3: a VPT line is an object with "mouse"'),
        ('{"mouse": {"dx": "x", "dy": 0, "buttons": []}, "keyboard": {"keys": []}}', "a.jsonl:3: mouse: dx"),
        ('{"mouse": {"dx": 1, "dy": 0}, "keyboard": {"keys": []}}', "a.jsonl:3: mouse: buttons"),
    ],
)
def test_bad_lines_name_file_and_line(tmp_path, text, message):
    path = write_clip(tmp_path / "a", [vpt_line()] * 6)
    lines = path.with_suffix(".jsonl").read_text().splitlines()
    lines[2] = text
    path.with_suffix(".jsonl").write_text("\n".join(lines))
    with pytest.raises(ClipError, match=message):
        steps_of(path)


def test_files_that_are_no_clips(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(ClipError, match=r"no a\.jsonl"):
        steps_of(tmp_path / "a.mp4")
    (tmp_path / "a.jsonl").write_text(json.dumps(vpt_line()))
    with pytest.raises(ClipError, match="not a readable video"):
        steps_of(tmp_path / "a.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ClipError, match="no clips in"):
        find_clips(tmp_path / "empty")
    with pytest.raises(ClipError, match="is not a folder"):
        find_clips(tmp_path / "nowhere")


def test_too_small_a_video_says_both_sizes(tmp_path):
    path = write_clip(tmp_path / "a", [vpt_line()] * 4, height=32, width=64)
    with pytest.raises(ClipError, match="64x32 px is smaller than the 80x48"):
        steps_of(path)


def test_a_cut_off_video_is_an_error_or_a_shorter_clip(tmp_path):
    path = write_clip(tmp_path / "a", [vpt_line()] * 40)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ClipError):
        steps_of(path)


def test_frame_store_round_trip_and_resume(tmp_path):
    write_clip(tmp_path / "data" / "a", [vpt_line(dx=5)] * 8)
    write_clip(tmp_path / "data" / "b", [vpt_line(keys=["key.keyboard.a"])] * 6)
    names = build_frame_store([tmp_path / "data"], tmp_path / "store", 48, 80, workers=1)
    first, second = open_frame_store(tmp_path / "store", names)
    assert first.frames.shape == (4, 48, 80, 3)
    assert first.actions()[0].yaw == pytest.approx(1.5)
    assert second.actions()[0].buttons == {"left"}
    stamp = (tmp_path / "store" / f"{names[0]}.frames.npy").stat().st_mtime_ns
    (tmp_path / "store" / f"{names[1]}.actions.npz").unlink()  # as if the build had been killed
    build_frame_store([tmp_path / "data"], tmp_path / "store", 48, 80, workers=1)
    assert (tmp_path / "store" / f"{names[0]}.frames.npy").stat().st_mtime_ns == stamp
    with pytest.raises(ClipError, match="give another folder"):
        build_frame_store([tmp_path / "data"], tmp_path / "store", 96, 160)


def bad_clips(folder):
    """Two good clips, and four that cannot be used: for each another reason."""
    for name in ("good", "other"):
        write_clip(folder / name, [vpt_line(dx=5)] * 8)
    line = write_clip(folder / "line", [vpt_line(dx=None)] * 8)
    small = write_clip(folder / "small", [vpt_line()] * 8, height=32, width=32)
    cut = write_clip(folder / "cut", [vpt_line()] * 8)
    cut.write_bytes(cut.read_bytes()[:500])
    alone = write_clip(folder / "alone", [vpt_line()] * 8)
    alone.with_suffix(".jsonl").unlink()
    return [line, small, cut, alone]


def test_bad_clips_are_all_named_before_any_is_decoded(tmp_path):
    bad = bad_clips(tmp_path / "data")
    with pytest.raises(ClipError, match="4 of 6 clips cannot be used; --skip-bad uses the others:") as raised:
        build_frame_store([tmp_path / "data"], tmp_path / "store", 48, 80, workers=1)
    lines = str(raised.value).splitlines()[1:]
    assert len(lines) == 4
    for clip in bad:
        assert sum(f"/{clip.stem}." in line for line in lines) == 1
    assert not list((tmp_path / "store").glob("*.np?"))


def test_bad_clips_can_be_left_out(tmp_path, capfd):
    bad = bad_clips(tmp_path / "data")
    write_clip(tmp_path / "data" / "wide", [vpt_line()] * 8, height=96, width=320)
    names = build_frame_store([tmp_path / "data"], tmp_path / "store", 48, 80, workers=1, skip_bad=True)
    assert names == ["data.good", "data.wide", "data.other"]
    assert [len(clip.frames) for clip in open_frame_store(tmp_path / "store", names)] == [4, 4, 4]
    said = capfd.readouterr().err
    assert "1 clip: 320x96 px, cut around the centre to the shape of 80x48" in said
    assert "4 of 7 clips cannot be used; left out:" in said
    assert all(str(clip.with_suffix("")) in said for clip in bad)
    for name in ("good", "other", "wide"):
        (tmp_path / "data" / f"{name}.mp4").unlink()
    with pytest.raises(ClipError, match="4 of 4 clips cannot be used:"):
        build_frame_store([tmp_path / "data"], tmp_path / "store", 48, 80, workers=1, skip_bad=True)


def test_missing_folders_are_found_before_any_clip_is_decoded(tmp_path):
    write_clip(tmp_path / "data" / "a", [vpt_line()] * 8)
    with pytest.raises(ClipError, match="noexist is not a folder"):
        open_clips({"train": [tmp_path / "data"], "val": [tmp_path / "noexist"]}, tmp_path / "cache", 48, 80)
    assert not (tmp_path / "cache").exists()


BUILD = """
import sys
from pathlib import Path
from worldmodel.data.frames import build_frame_store
if __name__ == "__main__":
    print(build_frame_store([Path(sys.argv[1])], Path(sys.argv[2]), 48, 80, workers=1))
"""


def test_two_processes_build_one_store(tmp_path):
    """As the ranks of a run do: both end well, and neither leaves anything unfinished."""
    for name in range(6):
        write_clip(tmp_path / "data" / f"clip_{name}", [vpt_line(dx=name)] * 40)
    command = [sys.executable, "-c", BUILD, str(tmp_path / "data"), str(tmp_path / "store")]
    ranks = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [rank.communicate(timeout=120) for rank in ranks]
    names = [f"data.clip_{number}" for number in range(6)]
    assert [rank.returncode for rank in ranks] == [0, 0, 0], said
    assert [out for out, _ in said] == [f"{names}\n"] * 3
    assert [round(clip.actions()[0].yaw / 0.3) for clip in open_frame_store(tmp_path / "store", names)] == [*range(6)]
    assert not list((tmp_path / "store").glob("*.tmp"))


def test_what_a_killed_build_left_is_removed(tmp_path):
    write_clip(tmp_path / "data" / "a", [vpt_line()] * 8)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "data.a.raw.123.tmp").write_bytes(b"half")
    build_frame_store([tmp_path / "data"], tmp_path / "store", 48, 80, workers=1)
    assert not list((tmp_path / "store").glob("*.tmp"))
