"""The scripted player, the mapping of actions and the checks before a game starts: all without the game."""

import dataclasses
import json
import math
import shutil
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from worldmodel.data.clips import read_actions, read_clip
from worldmodel.games.luanti import build
from worldmodel.games.luanti.controls import (
    BUTTON_OF_KEY,
    IDLE,
    MOUSE_OF_BUTTON,
    ActionMapper,
    Controls,
    Event,
    GameState,
    next_slot,
    parse_state,
)
from worldmodel.games.luanti.game import GameOptions, LuantiGame
from worldmodel.games.luanti.hands import MAX_PITCH, PlayerOptions
from worldmodel.games.luanti.player import Player
from worldmodel.games.luanti.presets import BLOCK_SLOTS, KIT, PRESETS, TOOL_SLOTS
from worldmodel.games.luanti.recorder import ClipWriter, LineMaker, RecordingOptions, clip_stats
from worldmodel.games.luanti.world import derive_map_seed
from worldmodel.types import BUTTONS, DEGREES_PER_PIXEL, Action, WorldModelError

TICKS = 20_000


def simulate(seed: int, ticks: int, drop: float = 0.0) -> tuple[list[Controls], Player]:
    """Plays on an endless meadow: walking moves, 8 ticks of attack dig a node, every fresh click places one."""
    player, played = Player(seed, PlayerOptions(drop=drop)), []
    x = z = yaw = 0.0
    digging, before, events = 0, IDLE, ()
    for tick in range(ticks):
        now = player.act(GameState(clock=tick * 0.05, x=x, z=z, yaw=yaw % 360, events=events))
        played.append(now)
        yaw += now.dx * DEGREES_PER_PIXEL
        ahead = ("w" in now.keys) - ("s" in now.keys)
        aside = ("d" in now.keys) - ("a" in now.keys)
        speed, angle = (0.06 if "left.shift" in now.keys else 0.2), math.radians(yaw)
        x += speed * (ahead * math.sin(angle) + aside * math.cos(angle))
        z += speed * (ahead * math.cos(angle) - aside * math.sin(angle))
        digging = digging + 1 if 0 in now.mouse else 0
        events = (Event("dig", "default:dirt", x, 0, z),) if digging and digging % 8 == 0 else ()
        if 1 in now.mouse - before.mouse:
            events = (Event("place", "default:wood", x + 2 * math.sin(angle), 0, z + 2 * math.cos(angle)),)
        before = now
    return played, player


@pytest.fixture(scope="module")
def played() -> list[Controls]:
    return simulate(1, TICKS)[0]


def test_equal_seeds_play_equal_games():
    assert simulate(5, 1500)[0] == simulate(5, 1500)[0]
    assert simulate(5, 300)[0] != simulate(6, 300)[0]


def test_the_pitch_stays_within_its_limits(played):
    pitch = np.cumsum([controls.dy for controls in played]) * DEGREES_PER_PIXEL
    assert np.abs(pitch).max() <= MAX_PITCH
    assert pitch.max() > 50
    assert pitch.min() < -15


def test_the_yaw_is_the_sum_of_the_motion():
    controls, player = simulate(3, 500)
    assert player.yaw == pytest.approx(sum(c.dx for c in controls) * DEGREES_PER_PIXEL)


def test_every_action_has_its_share(played):
    count = Counter(BUTTON_OF_KEY[key] for controls in played for key in controls.keys)
    names = {number: name for name, number in MOUSE_OF_BUTTON.items()}
    count.update(names[button] for controls in played for button in controls.mouse)
    shares = {name: number / TICKS for name, number in count.items()}
    for name in ("forward", "back", "left", "right", "jump", "sneak", "sprint", "attack", "use"):
        assert shares[name] >= 0.03, f"{name}: {shares[name]:.3f}"
    for slot in range(1, 10):
        assert shares[f"hotbar.{slot}"] >= 0.0015, f"hotbar.{slot}"
    assert set(shares) <= set(BUTTONS) - {"drop", "inventory", "ESC", "swapHands", "pickItem"}
    assert sum(bool(controls.wheel) for controls in played) >= 0.002 * TICKS


@pytest.mark.parametrize("button", ["use", "attack", "forward"])
def test_things_are_begun_out_of_a_standstill(played, button):
    """Six ticks without any motion or button, and then a press: a hand that always trembles never shows that."""

    def down(controls):
        keys = {BUTTON_OF_KEY[key] for key in controls.keys}
        return button in keys | {name for name, number in MOUSE_OF_BUTTON.items() if number in controls.mouse}

    at_rest = [controls == IDLE for controls in played]
    begun = sum(down(played[i]) and all(at_rest[i - 6 : i]) for i in range(6, len(played)))
    assert begun >= 10  # in 17 minutes of play


def test_every_slot_is_in_hand_for_a_while(played):
    slot, before, held = 0, IDLE, Counter()
    for controls in played:
        slot = next_slot(slot, before, controls)
        held[slot] += 1
        before = controls
    assert min(held[slot] for slot in range(9)) >= 0.03 * TICKS


def test_no_menu_no_conflict_and_one_slot_key_at_a_time(played):
    for controls in played:
        assert not controls.keys & {"e", "i", "f", "escape"}
        assert not {"left.shift", "space"} <= controls.keys
        assert sum(key.isdigit() for key in controls.keys) <= 1


def test_drop_is_an_option():
    controls, _ = simulate(2, 2000, drop=0.05)
    assert 40 <= sum("q" in c.keys for c in controls) <= 200
    with pytest.raises(ValueError, match="drop"):
        PlayerOptions(drop=2)


def test_in_water_the_player_goes_back_to_the_shore():
    player = Player(0)
    for tick in range(40):
        player.act(GameState(clock=tick * 0.05, x=0.0, z=tick * 0.2))
    keys = Counter()
    for _ in range(80):
        controls = player.act(GameState(x=0.0, z=20.0, wet=2))
        keys.update(controls.keys)
    assert player.mode == "leave_water"
    assert abs((player.yaw + 180) % 360 - 180) > 120  # the shore lies behind
    assert keys["w"] > 50
    assert keys["space"] > 50


def test_in_the_dark_the_player_digs_its_way_out():
    player = Player(0)
    for _ in range(120):
        controls = player.act(GameState(light=0))
    assert player.mode == "climb_out"
    assert player.pitch < -20
    assert 0 in controls.mouse


def test_a_player_that_is_stuck_turns():
    player = Player(4)
    yaws = [player.yaw for _ in range(600) if player.act(GameState(x=1.0, z=1.0))]
    assert max(yaws) - min(yaws) > 100


# Controls


def test_controls_refuse_what_the_game_does_not_have():
    with pytest.raises(ValueError, match="escape"):
        Controls(frozenset({"escape"}))
    with pytest.raises(ValueError, match="7"):
        Controls(mouse=frozenset({7}))
    with pytest.raises(ValueError, match="one click"):
        Controls(wheel=3)


def test_an_action_is_two_ticks_and_no_part_of_a_pixel_is_lost():
    mapper = ActionMapper()
    first, second = mapper.ticks(Action(frozenset({"forward", "attack", "hotbar.3", "ESC"}), pitch=-1.5, yaw=30))
    assert first.keys == second.keys == {"w", "3"}
    assert first.mouse == second.mouse == {0}
    assert (first.dx, second.dx, first.dy, second.dy) == (100, 100, -5, -5)
    moves = [mapper.ticks(Action(yaw=0.1, pitch=-0.07)) for _ in range(300)]
    assert sum(a.dx + b.dx for a, b in moves) == 200
    assert sum(a.dy + b.dy for a, b in moves) == -140


def test_the_slot_follows_keys_and_wheel():
    assert next_slot(0, IDLE, Controls(frozenset({"5"}))) == 4
    assert next_slot(2, Controls(frozenset({"5"})), Controls(frozenset({"5"}))) == 2
    assert next_slot(0, IDLE, Controls(wheel=1)) == 8
    assert next_slot(8, IDLE, Controls(wheel=-1)) == 0


def test_a_line_of_the_mod_becomes_a_state():
    line = {"clock": 1.5, "ready": True, "x": 1, "y": 2, "z": 3, "yaw": 15, "pitch": -3, "slot": 4.0, "wet": 0.0}
    line |= {"light": 15.0, "events": [{"kind": "place", "node": "default:wood", "x": 1, "y": 2, "z": 4}]}
    state = parse_state(json.dumps(line))
    assert (state.slot, state.wet, state.light, state.ready) == (4, 0, 15, True)
    assert state.events == (Event("place", "default:wood", 1, 2, 4),)


# Options, presets, seeds


def test_presets_have_nine_slots_and_the_grassland_is_restricted():
    assert sorted(TOOL_SLOTS + BLOCK_SLOTS) == list(range(9))
    assert len(KIT) == 9
    assert "grassland" in PRESETS["grassland"].biomes
    assert PRESETS["default"].biomes == ()


@pytest.mark.parametrize(
    ("changes", "quoted"),
    [
        ({"width": 20}, "20x224"),
        ({"map_seed": -1}, "-1"),
        ({"preset": "moon"}, "'moon'"),
        ({"viewing_range": 1}, "1"),
        ({"render_threads": 0}, "0"),
    ],
)
def test_game_options_are_checked(changes, quoted):
    with pytest.raises(ValueError, match=quoted):
        GameOptions(**changes)


@pytest.mark.parametrize("changes", [{"clips": 0}, {"crf": 60}, {"width": 383}, {"preset": "moon"}, {"seed": -1}])
def test_recording_options_are_checked(changes):
    with pytest.raises(ValueError, match=str(next(iter(changes.values())))):
        RecordingOptions(out=Path("clips"), **changes)


def test_every_clip_has_its_own_land():
    options = RecordingOptions(out=Path("clips"), seed=3, clips=50)
    seeds = {options.game(index).map_seed for index in range(50)}
    seeds |= {dataclasses.replace(options, seed=4).game(index).map_seed for index in range(50)}
    assert len(seeds) == 100
    assert derive_map_seed("clip", 3, 0) == options.game(0).map_seed
    assert derive_map_seed(1, 23) != derive_map_seed(12, 3)


# The recording's files


def test_written_clips_are_read_back(tmp_path):
    played, _ = simulate(8, 120)
    frames = [np.full((64, 96, 3), tick, np.uint8) for tick in range(120)]
    lines = LineMaker(96, 64, slot=0, began=0.0)
    with ClipWriter(tmp_path, "clip", 96, 64, crf=10) as writer:
        for tick, controls in enumerate(played):
            writer.write(frames[tick], lines.line(tick, controls, GameState(clock=tick * 0.05)))
        assert not list(tmp_path.glob("*.mp4"))
        writer.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.jsonl", "clip.mp4"]
    steps = list(read_clip(tmp_path / "clip.mp4", 32, 48))
    assert len(steps) == 60
    assert [step.action for step in steps] == read_actions(tmp_path / "clip.jsonl")
    for number, step in enumerate(steps):
        assert abs(float(step.frame.mean()) - 2 * number) < 2.5, "a frame is not where it was written"
        pair = played[2 * number : 2 * number + 2]
        assert step.action.yaw == pytest.approx(sum(c.dx for c in pair) * DEGREES_PER_PIXEL)
        assert ("forward" in step.action.buttons) == any("w" in c.keys for c in pair)
    stats = clip_stats(tmp_path / "clip.jsonl")
    assert stats["frames"] == 120
    assert sum(stats["slots"]) == pytest.approx(1, abs=0.001)


def test_a_clip_that_breaks_off_leaves_nothing(tmp_path):
    with ClipWriter(tmp_path, "clip", 96, 64, crf=26) as writer:
        writer.write(np.zeros((64, 96, 3), np.uint8), {})
    with ClipWriter(tmp_path, "empty", 96, 64, crf=26):
        pass  # the game did not start
    assert not list(tmp_path.iterdir())


def test_the_written_video_has_every_frame_at_20_hz(tmp_path):
    with ClipWriter(tmp_path, "clip", 96, 64, crf=26) as writer:
        for _ in range(31):
            writer.write(np.zeros((64, 96, 3), np.uint8), {})
        writer.finish()
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert container.streams.video[0].average_rate == 20
        assert sum(1 for _ in container.decode(video=0)) == 31


# Missing packages


@pytest.fixture
def bare_machine(monkeypatch, tmp_path):
    """A machine without any of the programs, headers and data, and without a compiled library."""
    monkeypatch.setattr(shutil, "which", lambda *_args, **_kwargs: None)
    monkeypatch.setattr(build, "INCLUDE", tmp_path)
    monkeypatch.setattr(build, "GAME_DATA", ("nowhere",))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.usefixtures("bare_machine")
def test_all_missing_packages_are_named_at_once():
    expected = ["minetest", "minetest-data", "xvfb", "util-linux", "gcc", "libx11-dev", "libgl-dev"]
    assert build.missing_packages() == expected
    with pytest.raises(WorldModelError, match="apt-get install --yes " + " ".join(expected)):
        LuantiGame()
    with pytest.raises(WorldModelError, match="apt-get install"):
        build.build_shim()


@pytest.mark.usefixtures("bare_machine")
def test_with_a_compiled_library_no_compiler_is_needed():
    build.cached_shim().parent.mkdir(parents=True)
    build.cached_shim().touch()
    assert build.missing_packages() == ["minetest", "minetest-data", "xvfb", "util-linux"]


def test_the_game_is_found_outside_the_path(monkeypatch):
    asked = {}
    monkeypatch.setattr(shutil, "which", lambda name, path: asked.setdefault(name, path) and None)
    assert build.find_program("minetest", "luanti") is None
    assert list(asked) == ["minetest", "luanti"]
    assert "/usr/games" in asked["minetest"].split(":")
