"""The real game: needs the Debian packages that build.missing_packages() names. Under a minute and a half."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from worldmodel.data.clips import read_clip
from worldmodel.data.ticks import read_actions
from worldmodel.games.luanti.art_table import GALLERY
from worldmodel.games.luanti.build import GAME_NAMES, build_shim, cached_shim, missing_packages, program
from worldmodel.games.luanti.clip_files import ClipWriter, LineMaker
from worldmodel.games.luanti.controls import Controls
from worldmodel.games.luanti.display import Display
from worldmodel.games.luanti.game import REST_TICKS, GameCrashError, LuantiGame
from worldmodel.games.luanti.manifest import RecordingOptions
from worldmodel.games.luanti.recorder import record
from worldmodel.games.luanti.world import LuantiWorld, reduce_frame
from worldmodel.types import DEGREES_PER_PIXEL, NO_ACTION, Action, World, WorldModelError

pytestmark = [
    pytest.mark.game,
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_packages()), reason=f"needs: apt-get install {' '.join(missing_packages())}"),
]

SEED = 7


def look_down(game: LuantiGame, pitch: float) -> None:
    """To an absolute pitch in degrees, from rest: `state` is late, the more so on a busy machine."""
    game.rest()
    game.look(0, pitch)
    assert game.state.pitch == pytest.approx(pitch, abs=0.2)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.int16) - b).mean())


def ground(frame: np.ndarray) -> np.ndarray:
    """The land: no sky with its clouds, no hotbar, coarse enough for grass and leaves that are drawn at random."""
    height, width, _ = frame.shape
    part = frame[height * 2 // 5 : height * 4 // 5, : width * 7 // 10].astype(np.float32)
    rows, columns = part.shape[0] // 8 * 8, part.shape[1] // 8 * 8
    return part[:rows, :columns].reshape(rows // 8, 8, columns // 8, 8, 3).mean((1, 3))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def display():
    with Display() as display:
        yield display.name


@pytest.fixture(scope="module")
def game(display):
    with LuantiGame.start(display, map_seed=SEED) as game:
        yield game


@pytest.fixture(scope="module")
def first_frame(game):
    """Of `game`, before any test moved it."""
    return game.frame.copy()


def test_the_same_seed_has_the_same_land(first_frame, display):
    with ThreadPoolExecutor(2) as pool:
        starts = [pool.submit(LuantiGame.start, display, map_seed=seed) for seed in (SEED, SEED + 1)]
        same, other = (start.result() for start in starts)
    try:
        assert difference(ground(first_frame), ground(same.frame)) < 6
        assert difference(ground(first_frame), ground(other.frame)) > 8
        pid, folder = same._process.pid, same._folder
        same.close()
        assert not is_running(pid)
        assert not folder.exists()
        with pytest.raises(WorldModelError, match="closed"):
            same.tick()
        pid, folder = other._process.pid, other._folder
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorldModelError, match=r"gone away \(the game ended with code -9\); its log ends: "):
            other.tick()
        assert not is_running(pid)
        assert not folder.exists()
    finally:
        same.close()
        other.close()


@pytest.mark.usefixtures("first_frame")
def test_a_camera_move_shows_on_the_next_frame_and_on_no_other(game):
    game.rest()
    before, yaw = game.tick(), game.state.yaw
    turned = game.tick(dx=100)
    after = game.tick()
    assert turned.dtype == np.uint8
    assert turned.shape == (224, 384, 3)
    assert difference(before[:180], turned[:180]) > 2
    assert difference(turned[:180], after[:180]) < 0.5
    game.rest()
    assert (game.state.yaw - yaw) % 360 == pytest.approx(15, abs=0.1)


@pytest.mark.usefixtures("first_frame")
def test_keys_and_wheel_choose_the_slot_and_blocks_are_placed_and_dug(game):
    def play(ticks: int, **controls: object) -> list[str]:
        events = []
        for _ in range(ticks):
            game.tick(**controls)
            events += [(event.kind, event.node) for event in game.state.events]
        return events

    look_down(game, 39)
    play(3, keys=("5",))
    game.rest()
    assert game.state.slot == 4
    play(1, wheel=-1)
    game.rest()
    assert game.state.slot == 5
    placed = play(2, buttons=(1,)) + play(REST_TICKS)
    assert placed == [("place", "default:wood")]
    play(3, keys=("3",))
    dug = play(30, buttons=(0,)) + play(REST_TICKS)
    assert ("dig", "default:wood") in dug


def test_the_player_is_told_where_a_block_would_be_round_his_head(display):
    with LuantiGame.start(display, map_seed=SEED) as game:
        game.tick(keys=("5",))
        for pitch in (39, 12, 8):  # on the ground, upon that, and before it
            look_down(game, pitch)
            assert not game.state.buries
            game.tick(buttons=(1,))
            game.tick(buttons=(1,))
        look_down(game, 4)
        assert game.state.pointed is not None
        assert game.state.buries


def test_in_the_games_own_art_the_block_in_reach_is_outlined_so_that_a_model_can_see_it(display):
    """White, at the size that nano sees: a thin frame around the crosshair, not a patch. What lies in reach is not
    the same on each machine, so that one heading of eight is enough."""
    counts = []
    with LuantiGame.start(display, map_seed=SEED, preset="grassland") as game:
        look_down(game, 50)
        for _ in range(8):
            game.tick(dx=round(45 / DEGREES_PER_PIXEL))
            game.rest()
            frame = reduce_frame(game.frame, 112, 192).astype(int)
            white = (frame.min(-1) > 125) & (np.ptp(frame, -1) < 55)
            white[50:62, 90:102] = False  # the crosshair is white, too
            counts.append((int(white[30:88, 60:96].sum()), int(white[30:88, 96:132].sum())))
    assert any(min(sides) >= 10 and 30 <= sum(sides) <= 400 for sides in counts), counts


def test_every_kind_of_block_is_told_from_every_other_by_its_colour_and_the_grid_is_seen(display):
    """Five nodes away, from where one begins in the gallery; and the grid of grass at four."""
    colours = []
    with LuantiGame.start(display, map_seed=SEED, preset="gallery") as game:
        yaw = 0.0
        for index in range(len(GALLERY)):
            angle = 2 * np.pi * index / len(GALLERY)
            x, z = round(5 * np.sin(angle)), round(5 * np.cos(angle))
            turn = round((np.degrees(np.arctan2(x, z)) - yaw) / DEGREES_PER_PIXEL)
            yaw += turn * DEGREES_PER_PIXEL
            game.tick(dx=turn, dy=0 if index else round(12 / DEGREES_PER_PIXEL))
            game.rest()
            block = game.frame[98:126, 180:204].astype(float)
            beside = np.ones(block.shape[:2], bool)
            beside[6:22, 4:20] = False  # the crosshair
            colours.append(block[beside].mean(0))
        game.look(0, 22)
        near = reduce_frame(game.frame, 112, 192)[62:70, 20:172].astype(float).mean(-1)
        game.look(0, -80)
        sky = game.frame[:160, :170].astype(float)  # without crosshair and hand
    apart = np.linalg.norm(np.array(colours)[:, None] - np.array(colours)[None], axis=-1)
    apart[np.eye(len(GALLERY), dtype=bool)] = np.inf
    closest = np.unravel_index(apart.argmin(), apart.shape)
    assert apart.min() > 12, [GALLERY[int(index)] for index in closest]
    tones = np.sign(near - near.mean(1, keepdims=True))  # a row of pixels goes over light and dark faces in turns
    changes = (np.diff(tones, axis=1) != 0).sum(1)
    assert np.median(changes) >= 4, changes
    assert near.std(1).mean() > 6
    assert sky.std((0, 1)).max() < 4  # an even gradient: no clouds, no sun


@pytest.mark.parametrize("land", ["meadow", "forest", "shore", "hills", "snow"])
def test_every_land_begins_where_there_is_something_to_see_all_round(display, land):
    """Sky alone above the horizon in at most one of eight headings, and dry feet."""
    with LuantiGame.start(display, map_seed=SEED, preset=land, viewing_range=40) as game:
        assert game.state.wet == 0
        seen = []
        for _ in range(8):
            game.look(45, 0)
            band = game.frame[60:112, 20:364].astype(float)  # above the horizon, without the hand
            seen.append(float(np.abs(np.diff(band, axis=1)).mean()))
    assert sum(value > 0.3 for value in seen) >= 7, seen


@pytest.mark.parametrize("tick", [12, 13])
def test_a_click_shows_in_the_frame_after_its_step_in_whichever_tick_it_begins(game, tmp_path, tick):
    """Half of all clicks begin in a step's second tick; a clip is read so that they too show in the next frame."""
    look_down(game, 40)
    for _ in range(40):
        game.tick(keys=("8",))
    lines = LineMaker(game.options.width, game.options.height, game.state.slot, time.time())
    with ClipWriter(tmp_path, "clip", game.options.width, game.options.height, 18) as writer:
        for now in range(24):
            controls = Controls(mouse=frozenset({1} if now in (tick, tick + 1) else ()))
            game.send(controls)
            writer.write(game.frame, lines.line(now, controls, game.state))
            game.receive()
        writer.finish()
    steps = list(read_clip(tmp_path / "clip.mp4", 112, 192))
    (clicked,) = (index for index, step in enumerate(steps) if "use" in step.action.buttons)
    centres = [step.frame[40:75, 75:115] for step in steps]
    assert difference(centres[clicked], centres[clicked - 1]) < 3
    assert difference(centres[clicked + 1], centres[clicked]) > 10
    for _ in range(6):  # away with it
        game.tick(keys=("1",))
    dug = []
    for _ in range(60):
        game.tick(buttons=() if dug else (0,))
        dug += [event.kind for event in game.state.events]
    assert dug == ["dig"]


@pytest.mark.usefixtures("first_frame")
def test_sprint_is_faster_than_walking_and_walking_than_sneaking(game):
    def speed(*keys: str) -> float:
        """Where nothing is in the way: the fastest of four headings, from and back to about the same place."""
        found = []
        for _ in range(4):
            game.tick(dx=round(90 / DEGREES_PER_PIXEL))
            game.rest()
            start = game.state
            for _ in range(16):
                game.tick(keys=keys)
            game.rest()
            found.append(float(np.hypot(game.state.x - start.x, game.state.z - start.z)))
        return max(found)

    walk, sneak, sprint = speed("w"), speed("w", "left.shift"), speed("w", "left.control")
    assert 0 < sneak < 0.6 * walk
    assert sprint > 1.2 * walk


def test_the_world_is_a_world_and_turning_right_moves_the_picture_left():
    world = LuantiWorld(starts=2)
    assert isinstance(world, World)
    with pytest.raises(WorldModelError, match="reset"):
        world.step(NO_ACTION)
    with pytest.raises(ValueError, match=r"0\.\.1"):
        world.reset(2)
    try:
        first = world.reset(1, seed=5).frame
        assert first.shape == (*world.frame_shape, 3)
        assert first.dtype == np.uint8
        moved = world.step(Action(yaw=6)).frame
        # 6 degrees are about 10 of the 192 columns in the middle of the picture.
        middle, rows = slice(64, 128), slice(40, 88)
        shifts = range(-16, 17)
        errors = [difference(first[rows, 64 + s : 128 + s], moved[rows, middle]) for s in shifts]
        assert 5 <= list(shifts)[int(np.argmin(errors))] <= 14
        still = world.step(NO_ACTION).frame
        assert difference(still[:88], moved[:88]) < 1.5
        game = world._game
        pids = [game._process.pid, game._display._process.pid]
        assert all(is_running(pid) for pid in pids)
    finally:
        world.close()
    assert not any(is_running(pid) for pid in pids)
    world.close()


def test_a_display_ends_with_the_process_that_made_it():
    code = (
        "import os, signal; from worldmodel.games.luanti.display import Display; display = Display();"
        "print(display._process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    pid = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120).stdout)
    deadline = time.monotonic() + 120
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


def test_the_library_is_compiled_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with ThreadPoolExecutor(2) as pool:
        shims = list(pool.map(lambda _: build_shim(), range(2)))
    assert shims == [cached_shim()] * 2
    assert list(shims[0].parent.iterdir()) == [shims[0]]


def test_a_recording_survives_a_failed_clip_and_goes_on_where_it_stopped(tmp_path):
    options = RecordingOptions(out=tmp_path / "clips", clips=2, frames=61, seed=2, workers=2)
    obstacle = options.out / f"{options.clip_id(0)}.mp4.tmp"
    obstacle.mkdir(parents=True)
    with pytest.raises(WorldModelError, match=r"1 of 2 clips failed .*luanti-mixed-2-0: .*directory"):
        record(options)
    whole = options.out / f"{options.clip_id(1)}.mp4"
    written = whole.stat().st_mtime_ns
    obstacle.rmdir()

    clips = record(options)
    assert whole.stat().st_mtime_ns == written, "a whole clip is not recorded again"
    names = [f"{options.clip_id(index)}.{kind}" for index in range(2) for kind in ("jsonl", "mp4")]
    assert sorted(path.name for path in options.out.iterdir()) == [*names, "recording.json"]
    for clip in clips:
        steps = list(read_clip(clip, 112, 192))
        assert len(steps) == 30
        assert [step.action for step in steps] == read_actions(clip.with_suffix(".jsonl"))
        assert steps[0].frame.std() > 10
    assert record(options) == clips
    with pytest.raises(WorldModelError, match="seed 2 -> 3"):
        record(dataclasses.replace(options, seed=3))


CRASHING = """#!/bin/bash
# The real game, but the first time it aborts at once, and the second time it breaks in the middle of a clip.
if mkdir {flags}/aborted 2>/dev/null; then kill -ABRT $$; fi
if mkdir {flags}/broken 2>/dev/null; then (until [ -s {begun} ]; do sleep 0.1; done; kill -SEGV $$) & fi
exec {game} "$@"
"""


def test_a_game_that_crashes_is_started_again_and_its_clip_is_recorded_again(tmp_path, monkeypatch):
    options = RecordingOptions(out=tmp_path / "clips", clips=1, frames=61, seed=2)
    flags, begun = tmp_path / "flags", options.out / f"{options.clip_id(0)}.jsonl.tmp"
    flags.mkdir()
    game = tmp_path / "bin/minetest"
    game.parent.mkdir()
    (tmp_path / "share").symlink_to("/usr/share")
    game.write_text(CRASHING.format(flags=flags, begun=begun, game=program(*GAME_NAMES)))
    game.chmod(0o755)
    monkeypatch.setenv("PATH", f"{game.parent}:{os.environ['PATH']}")
    [clip] = record(options)
    assert sorted(path.name for path in flags.iterdir()) == ["aborted", "broken"]
    assert len(list(read_clip(clip, 112, 192))) == 30
    game.write_text("#!/bin/bash\nkill -ABRT $$")
    with pytest.raises(GameCrashError, match=r"the game did not start \(the game ended with code -6\); its log ends: "):
        LuantiGame.start(map_seed=SEED)
