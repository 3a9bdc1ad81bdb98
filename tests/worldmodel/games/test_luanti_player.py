"""The scripted player, the mapping of actions and the checks before a game starts: all without the game."""

import dataclasses
import itertools
import json
import math
import shutil
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from worldmodel.data.clips import read_clip
from worldmodel.data.ticks import read_actions
from worldmodel.games.luanti import build
from worldmodel.games.luanti.clip_files import ClipWriter, LineMaker
from worldmodel.games.luanti.controls import (
    BUTTON_OF_KEY,
    IDLE,
    MOUSE_OF_BUTTON,
    ActionMapper,
    Controls,
    Event,
    GameState,
    Position,
    next_slot,
    parse_state,
)
from worldmodel.games.luanti.game import LuantiGame
from worldmodel.games.luanti.hands import MAX_PITCH, PlayerOptions
from worldmodel.games.luanti.manifest import RecordingOptions, clip_stats
from worldmodel.games.luanti.options import GameOptions
from worldmodel.games.luanti.player import WALKING, Player
from worldmodel.games.luanti.presets import BLOCK_SLOTS, KIT, PRESETS, TOOL_SLOTS
from worldmodel.games.luanti.world import derive_map_seed
from worldmodel.types import BUTTONS, DEGREES_PER_PIXEL, Action, WorldModelError

TICKS = 20_000


def step_of(controls: Controls) -> tuple[int, int]:
    """To the front and to the right: -1, 0 or 1 each."""
    keys = controls.keys
    return ("w" in keys) - ("s" in keys), ("d" in keys) - ("a" in keys)


def simulate(seed: int, ticks: int, **options: float) -> tuple[list[Controls], Player]:
    """Plays on an endless meadow with a tree every 16 nodes: walking moves, 8 ticks of attack dig a node, every fresh
    click places one."""
    player, played = Player(seed, PlayerOptions(**options)), []
    x = z = yaw = 0.0
    digging, before, events = 0, IDLE, ()
    for tick in range(ticks):
        tree = Position(round(x / 16) * 16, 1, round(z / 16) * 16)
        near = math.hypot(tree.x - x, tree.z - z) < 10
        now = player.act(
            GameState(clock=tick * 0.05, x=x, z=z, yaw=yaw % 360, tree=tree if near else None, events=events)
        )
        played.append(now)
        yaw += now.dx * DEGREES_PER_PIXEL
        ahead, aside = step_of(now)
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
def games() -> list[list[Controls]]:
    return [simulate(seed, TICKS)[0] for seed in (1, 2, 3, 4)]


@pytest.fixture(scope="module")
def played(games) -> list[Controls]:
    return games[0]


@dataclasses.dataclass(frozen=True)
class Step:
    """Two ticks, as a world model sees them."""

    buttons: frozenset[str]
    dx: int
    dy: int


def steps_of(played: list[Controls]) -> list[Step]:
    names = {number: name for name, number in MOUSE_OF_BUTTON.items()}
    return [
        Step(
            frozenset(BUTTON_OF_KEY[key] for key in a.keys | b.keys) | {names[button] for button in a.mouse | b.mouse},
            a.dx + b.dx,
            a.dy + b.dy,
        )
        for a, b in zip(played[::2], played[1::2], strict=True)
    ]


@pytest.fixture(scope="module")
def steps(games) -> list[Step]:
    return [step for game in games for step in steps_of(game)]


def runs_of(flags: list[bool]) -> list[tuple[int, int]]:
    """(begin, end) of each stretch of true flags."""
    edges = np.flatnonzero(np.diff(np.array([False, *flags, False], np.int8)))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]


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


def test_every_action_has_its_share(games, steps):
    count = Counter(button for step in steps for button in step.buttons)
    shares = {name: number / len(steps) for name, number in count.items()}
    least = dict.fromkeys(("forward", "attack", "use"), 0.03)
    least |= dict.fromkeys(("back", "left", "right", "jump", "sneak", "sprint"), 0.05)
    least |= {f"hotbar.{slot}": 0.01 for slot in range(1, 10)}
    assert {name: shares[name] for name in least if shares[name] < least[name]} == {}
    assert set(shares) <= set(BUTTONS) - {"drop", "inventory", "ESC", "swapHands", "pickItem"}
    assert sum(bool(controls.wheel) for played in games for controls in played) >= 0.005 * len(steps)


def test_a_button_is_held_for_whole_steps(played):
    """As ActionMapper plays them: half a step of a key would move half as far."""
    assert all((a.keys, a.mouse) == (b.keys, b.mouse) for a, b in zip(played[::2], played[1::2], strict=True))


def test_it_looks_away_and_comes_back_to_the_same_view(games):
    """A turn by 45 degrees or more, 1 to 4 seconds at rest, and exactly the same turn back."""
    lengths, share = Counter(), 0
    for played in games:
        motion = np.array([(controls.dx, controls.dy) for controls in played])
        turns = runs_of([bool(moves) for moves in np.abs(motion).sum(1)])
        for (begin, leaves), (returns, end) in itertools.pairwise(turns):
            away = motion[begin:leaves].sum(0)
            if returns - leaves >= 20 and abs(away[0]) * DEGREES_PER_PIXEL >= 45:
                back = motion[returns:end].sum(0)
                if not (away + back).any():
                    lengths[min((20, 40, 80), key=lambda ticks: abs(ticks - (returns - leaves)))] += 1
                    share += (end - begin) / (len(games) * TICKS)
    assert set(lengths) == {20, 40, 80}
    assert share >= 0.1


@pytest.mark.parametrize("pace", ["sprint", "sneak"])
def test_a_pace_can_be_read_from_the_pictures(steps, pace):
    """Held for 0.8 s or longer, on the move, and half the time with nothing else that moves the picture."""
    held = [step for step in steps if pace in step.buttons]
    long = [end - begin for begin, end in runs_of([pace in step.buttons for step in steps]) if end - begin >= 8]
    assert sum(long) >= 0.9 * len(held)
    assert sum(bool(step.buttons & WALKING) for step in held) >= 0.9 * len(held)
    assert 0.35 <= sum(not (step.dx or step.dy) for step in held) / len(held) <= 0.75


def test_the_pace_changes_within_a_straight_line(steps):
    def pace(step):
        walks = "forward" in step.buttons and not step.buttons & {"back", "left", "right", "jump"}
        return (step.buttons & {"sneak", "sprint"}) if walks and not (step.dx or step.dy) else None

    changes = Counter(
        (pace(a), pace(b))
        for a, b in itertools.pairwise(steps)
        if None not in (pace(a), pace(b)) and pace(a) != pace(b)
    )
    assert len(changes) == 6  # from each of three to each other
    assert min(changes.values()) >= 4


def test_forward_is_held_for_seconds(steps):
    runs = [end - begin for begin, end in runs_of(["forward" in step.buttons for step in steps])]
    assert sum(run for run in runs if run >= 30) >= 0.1 * len(steps)


def test_it_stands_still_and_looks(steps):
    runs = [end - begin for begin, end in runs_of([step == Step(frozenset(), 0, 0) for step in steps])]
    assert sum(run for run in runs if run >= 10) >= 0.03 * len(steps)
    assert sum(runs) <= 0.25 * len(steps)


def test_it_seldom_stares_at_its_feet(games):
    pitch = np.concatenate([np.cumsum([controls.dy for controls in played]) for played in games]) * DEGREES_PER_PIXEL
    assert (pitch > 60).mean() <= 0.05


@pytest.mark.parametrize("button", ["use", "attack", "forward"])
def test_things_are_begun_out_of_a_standstill(games, button):
    """Six ticks without any motion or button, and then a press: a hand that always trembles never shows that."""

    def down(controls):
        keys = {BUTTON_OF_KEY[key] for key in controls.keys}
        return button in keys | {name for name, number in MOUSE_OF_BUTTON.items() if number in controls.mouse}

    begun = sum(
        down(played[i]) and all(controls == IDLE for controls in played[i - 6 : i])
        for played in games
        for i in range(6, len(played))
    )
    assert begun >= 20  # in 67 minutes of play


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


def test_a_deliberate_player_hardly_stops_digging_and_placing():
    def changes(deliberate):  # of the world, in 100 steps
        players = [simulate(seed, 6000, deliberate=deliberate)[1] for seed in (1, 2, 3)]
        return sum(player._dug + player._placed for player in players) / 90

    assert changes(0.9) > max(4, 1.8 * changes(0.0))


def test_the_player_does_not_wall_his_own_head_in():
    options = PlayerOptions(deliberate=1.0)
    used = [
        sum(1 in player.act(GameState(clock=tick * 0.05, buries=buries)).mouse for tick in range(4000))
        for player, buries in ((Player(5, options), False), (Player(5, options), True))
    ]
    assert used[0] > 40
    assert used[1] == 0


def test_in_water_the_player_goes_back_to_the_shore():
    player = Player(0)
    for tick in range(40):
        player.act(GameState(clock=tick * 0.05, x=0.0, z=tick * 0.2))
    keys = Counter()
    for _ in range(80):
        controls = player.act(GameState(x=0.0, z=20.0, wet=2))
        keys.update(controls.keys)
    assert player.mode == "leave water"
    assert abs((player.yaw + 180) % 360 - 180) > 120  # the shore lies behind
    assert keys["w"] > 50
    assert keys["space"] > 50


def test_in_the_dark_the_player_digs_its_way_out():
    player = Player(0)
    for _ in range(120):
        controls = player.act(GameState(light=0))
    assert player.mode == "climb out"
    assert player.pitch < -20
    assert 0 in controls.mouse


def test_a_player_that_is_stuck_turns():
    player = Player(4)
    yaws = [player.yaw for _ in range(600) if player.act(GameState(x=1.0, z=1.0))]
    assert max(yaws) - min(yaws) > 100


def test_before_a_wall_the_player_turns_to_the_open():
    player = Player(4)
    for tick in range(120):
        looks_at_wall = abs((player.yaw + 180) % 360 - 180) < 60
        player.act(GameState(clock=tick * 0.05, walled=looks_at_wall, z=-tick * 0.2))
        if player.mode == "turn back" and not looks_at_wall:
            break
    assert player.mode == "turn back"


def test_between_walls_the_player_digs_a_way_out():
    player, attacked = Player(4), 0
    for _ in range(400):
        attacked += 0 in player.act(GameState(walled=True)).mouse
        if attacked > 30:
            break
    assert player.mode == "turn back"
    assert attacked > 30


def test_the_player_walks_round_a_tree_and_looks_at_it():
    player, x, z, faced = Player(7), 0.0, 0.0, []
    for _ in range(TICKS):
        tree = Position(round(x / 16) * 16, 1, round(z / 16) * 16)
        controls = player.act(GameState(x=x, z=z, tree=tree))
        ahead, aside, angle = *step_of(controls), math.radians(player.yaw)
        x += 0.2 * (ahead * math.sin(angle) + aside * math.cos(angle))
        z += 0.2 * (ahead * math.cos(angle) - aside * math.sin(angle))
        if player.mode == "round" and aside and math.hypot(tree.x - x, tree.z - z) < 6:
            heading = math.degrees(math.atan2(tree.x - x, tree.z - z))
            faced.append(abs((heading - player.yaw + 180) % 360 - 180))
    assert len(faced) > 60
    assert np.median(faced) < 15


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
    line |= {
        "light": 15.0,
        "walled": False,
        "tree": {"x": 5, "y": 1, "z": -2},
        "events": [{"kind": "place", "node": "default:wood", "x": 1, "y": 2, "z": 4}],
    }
    state = parse_state(json.dumps(line))
    assert (state.slot, state.wet, state.light, state.ready) == (4, 0, 15, True)
    assert state.tree == Position(5, 1, -2)
    assert parse_state(json.dumps({"clock": 1.5, "slot": 0, "wet": 0, "light": 3})).tree is None
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
