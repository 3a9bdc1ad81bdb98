"""The client on a made-up world: the window's loop (dummy video driver), headless runs, and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeWorld, HotbarWorld, PlainWorld
from PIL import Image

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
pygame = pytest.importorskip("pygame")

from played import PATIENCE, Played, key  # noqa: E402

from client import cli  # noqa: E402
from client.play.actions import source_of  # noqa: E402
from client.play.controls import DEGREES_PER_PIXEL  # noqa: E402
from client.play.game import Game  # noqa: E402
from client.play.headless import HeadlessOptions, run_headless  # noqa: E402
from client.play.pacer import Pacer  # noqa: E402
from client.play.pictures import load_picture, save_picture  # noqa: E402
from client.play.recording import RecordedWorld  # noqa: E402
from client.play.runner import Runner  # noqa: E402
from client.play.stats import Stats, percentile, process_start  # noqa: E402
from client.window.first_start import mark_file  # noqa: E402
from client.window.layout import fit  # noqa: E402
from client.window.options import WindowOptions  # noqa: E402
from client.window.run import run_window  # noqa: E402
from client.window.screen import Screen  # noqa: E402
from worldmodel.data.random_play import random_actions  # noqa: E402
from worldmodel.settings import EngineOptions  # noqa: E402
from worldmodel.types import NO_ACTION, Action, WorldModelError  # noqa: E402
from worldmodel.worlds.neural import NeuralWorld  # noqa: E402

CLICK = {"button": 1, "pos": (5, 5)}


@pytest.fixture
def play():
    opened = []

    def open_client(*args, **options):
        opened.append(Played(*args, **options))
        return opened[-1]

    yield open_client
    for played in opened:
        played.close()
    pygame.quit()


def test_plays_what_is_held_and_latched(play):
    p = play()
    p.client.handle(key("W"))
    p.press("Space")
    p.client.handle(pygame.Event(pygame.MOUSEMOTION, rel=(8, 0), pos=(0, 0), buttons=(0, 0, 0)))
    p.client.handle(pygame.Event(pygame.MOUSEMOTION, rel=(2, 0), pos=(0, 0), buttons=(0, 0, 0)))
    before = len(p.world.actions)
    p.until(lambda: len(p.world.actions) > before + 2)
    assert any("jump" in action.buttons for action in p.world.actions)
    assert sum(action.yaw for action in p.world.actions) == pytest.approx(10 * DEGREES_PER_PIXEL)
    assert p.world.actions[-1].buttons == {"forward"}
    assert "forward" in p.client.view().lit


def test_pause_and_single_step(play):
    p = play()
    p.until(lambda: p.index() > 1)
    p.press(".")
    p.settle()
    still = p.index()
    p.settle()
    assert p.client.paused
    assert p.index() == still
    assert p.client.view().badge == "paused"
    p.client.handle(key("D"))
    p.press(",")
    p.until(lambda: p.index() == still + 1)
    assert p.world.actions[-1].buttons == {"right"}
    p.settle()
    assert p.index() == still + 1
    p.press(".")
    p.until(lambda: p.index() > still + 2)


def test_step_key_does_nothing_while_playing(play):
    p = play(frames=30)
    for _ in range(5):
        p.press(",")
    p.until(lambda: p.client.state.finished)
    assert p.client.state.steps == p.world.steps == 30


def test_restart_start_scenes_and_seed(play):
    p = play(start=1, seed=4)
    p.until(lambda: p.index() > 1)
    for name in ("Enter", "]", "]", "[", "N"):
        resets = len(p.world.resets)
        p.press(name)
        p.until(lambda count=resets: len(p.world.resets) > count)
    assert p.world.resets == [(1, 4), (1, 4), (2, 4), (0, 4), (2, 4), (2, 5)]
    p.until(lambda: p.client.state.picture.seed == 5)


def test_restart_while_paused_shows_the_opening(play):
    p = play()
    p.until(lambda: p.index() > 1)
    p.press(".")
    p.settle()
    p.press("Enter")
    p.until(lambda: p.index() == 0)


def test_escape_frees_the_mouse_pauses_and_never_quits(play):
    p = play()
    p.until(lambda: p.client.grabbed)
    p.client.handle(key("W"))
    p.press("Escape")
    p.press("Escape")
    assert p.client.paused
    assert not p.client.grabbed
    assert not p.client.over
    assert p.client.view().invitation == "click to play"
    p.settle()
    p.client.handle(pygame.Event(pygame.MOUSEMOTION, rel=(50, 0), pos=(0, 0), buttons=(0, 0, 0)))
    p.client.handle(pygame.Event(pygame.MOUSEBUTTONDOWN, **CLICK))
    assert p.client.grabbed
    assert not p.client.paused
    before = len(p.world.actions)
    p.until(lambda: len(p.world.actions) > before + 1)
    # Neither the click, nor the motion of the free mouse, nor the key from before the pause was an input.
    assert p.world.actions[before:] == [NO_ACTION] * len(p.world.actions[before:])


def test_ctrl_q_quits_only_with_the_mouse_free(play):
    p = play()
    p.until(lambda: p.client.grabbed)
    p.press("Q", mod=pygame.KMOD_LCTRL)
    assert not p.client.over  # sprint and drop
    p.press("Escape")
    p.press("Q", mod=pygame.KMOD_LCTRL)
    assert p.client.over


def test_shortcuts_go_by_what_is_printed_and_the_game_by_place(play):
    p = play(FakeWorld(tick_rate=50.0), output_dir=Path("nowhere"))
    p.until(lambda: p.client.grabbed)
    # Colemak prints R where one walks back, Dvorak a comma where one walks on: walking is all they do.
    p.client.handle(key("S", printed="r"))
    p.until(lambda: p.world.actions and "back" in p.world.actions[-1].buttons)
    p.client.handle(key("S", down=False, printed="r"))
    p.client.handle(key("W", printed=","))
    p.until(lambda: "forward" in p.world.actions[-1].buttons)
    assert not Path("nowhere").exists()
    resets = len(p.world.resets)
    p.client.handle(key("L", printed="n"))  # Dvorak's N
    p.until(lambda: len(p.world.resets) > resets)
    p.press("Escape")
    p.client.handle(key("Q", mod=pygame.KMOD_LCTRL, printed="a"))  # AZERTY
    assert not p.client.over
    p.client.handle(key("A", mod=pygame.KMOD_LCTRL, printed="q"))
    assert p.client.over


def test_ctrl_q_quits_by_its_place_where_no_latin_letter_is_printed(play):
    p = play()
    p.press("Escape")
    p.client.handle(key("Q", mod=pygame.KMOD_LCTRL, printed="\u0439"))
    assert p.client.over


def test_a_gamepad_that_is_gone_when_it_is_opened_does_nothing(play):
    p = play()
    p.client.handle(pygame.Event(pygame.CONTROLLERDEVICEADDED, device_index=5))
    before = p.index()
    p.until(lambda: p.index() > before)


def test_nothing_stays_held_when_a_gamepad_is_unplugged(play):
    p = play()
    p.until(lambda: p.client.grabbed)
    p.client.handle(key("D"))
    p.client.handle(pygame.Event(pygame.CONTROLLERAXISMOTION, axis=1, value=-32768, instance_id=0))
    p.client.handle(pygame.Event(pygame.CONTROLLERAXISMOTION, axis=2, value=20000, instance_id=0))
    p.client.handle(pygame.Event(pygame.CONTROLLERBUTTONDOWN, button=0, instance_id=0))
    p.until(lambda: {"forward", "jump", "right"} <= p.world.actions[-1].buttons if p.world.actions else False)
    assert p.world.actions[-1].yaw > 0
    p.client.handle(pygame.Event(pygame.CONTROLLERDEVICEREMOVED, instance_id=0))
    p.until(lambda: p.world.actions[-1] == Action(frozenset({"right"})))  # the keyboard's key is still down
    p.client.handle(pygame.Event(pygame.CONTROLLERBUTTONUP, button=0, instance_id=0))  # as SDL sends it, late
    p.client.handle(pygame.Event(pygame.CONTROLLERAXISMOTION, axis=1, value=-32768, instance_id=1))  # plugged in again
    p.until(lambda: "forward" in p.world.actions[-1].buttons)
    assert not p.client.paused


def test_lost_focus_pauses_and_releases(play):
    p = play()
    p.until(lambda: p.client.grabbed)
    p.client.handle(key("W"))
    p.client.handle(pygame.Event(pygame.WINDOWFOCUSLOST))
    assert p.client.paused
    assert not p.client.grabbed
    assert p.client.controls.held() == frozenset()


def test_full_screen_does_not_pause(play):
    p = play()
    p.until(lambda: p.client.grabbed)
    p.press("F11")
    p.client.handle(pygame.Event(pygame.WINDOWFOCUSLOST))  # a new window: the focus comes and goes
    assert not p.client.paused
    assert p.client.grabbed
    p.press("F11")
    p.until(lambda: p.client.screen.surface.get_size() == (960, 560))


def shown(p):
    return p.client.state.picture.status.slot


def notch(p, notches=-1):
    p.client.handle(pygame.Event(pygame.MOUSEWHEEL, x=0, y=notches))


def test_the_wheel_goes_on_from_the_slot_that_the_world_shows(play):
    p = play(HotbarWorld(tick_rate=50.0))
    p.until(lambda: p.client.grabbed)
    assert shown(p) == 6
    notch(p)
    p.until(lambda: shown(p) == 7)
    p.press("5")
    p.until(lambda: shown(p) == 5)
    p.press("]")  # the next scene opens on slot 3
    p.until(lambda: shown(p) == 3)
    notch(p)
    p.until(lambda: shown(p) == 4)
    p.press("Enter")
    p.until(lambda: shown(p) == 3)
    p.press("B")
    p.press("8")
    p.until(lambda: shown(p) == 8)
    p.press("H")  # the bookmark's picture
    p.until(lambda: shown(p) == 3)
    notch(p, 1)
    p.until(lambda: shown(p) == 2)


def test_the_wheel_goes_on_from_the_slot_that_a_rewind_comes_to(play):
    p = play(HotbarWorld(tick_rate=50.0))
    p.until(lambda: p.client.grabbed)
    p.until(lambda: p.index() > 3)
    p.press("5")
    p.until(lambda: shown(p) == 5)
    p.client.handle(key("Backspace"))
    p.until(lambda: shown(p) == 6)
    p.client.handle(key("Backspace", down=False))
    p.until(lambda: not p.client.rewinding and not p.client.state.picture.cut)
    notch(p)
    p.until(lambda: shown(p) == 7)


def test_a_world_that_changes_its_slot_by_itself_is_followed(play):
    p = play(HotbarWorld(tick_rate=50.0, late=1))
    p.until(lambda: p.client.grabbed and p.index() > 3)
    p.world._slots[-1] = 2  # a dream may: nobody pressed anything
    p.until(lambda: shown(p) == 2)
    at = p.index()
    p.until(lambda: p.index() > at + 2)
    for slot in (3, 4, 5):
        notch(p)
        p.until(lambda slot=slot: shown(p) == slot)


def test_two_slots_in_one_step_are_the_last_one_in_the_world_and_on_the_key_caps(play):
    p = play(HotbarWorld(tick_rate=50.0))
    p.press(".")
    p.settle()
    before = len(p.world.actions)
    for name in ("4", "7"):
        p.client.handle(key(name))
    p.press(",")
    p.until(lambda: shown(p) == 7)
    assert p.world.actions[before:] == [Action(frozenset({"hotbar.7"}))]
    p.press(".")
    p.until(lambda: len(p.world.actions) > before + 2)
    assert p.world.actions[-1].buttons == {"hotbar.7"}
    assert p.client.view().lit == {"hotbar.7"}


def test_temperature_keys(play):
    p = play()
    p.press("-")
    p.press("-")
    p.until(lambda: p.client.state.picture.status.sampler.temperature == 0.8)
    p.press("=")
    p.until(lambda: p.world.sampler.temperature == 0.9)
    for _ in range(12):
        p.press("-")
    p.until(lambda: p.world.sampler.temperature == 0.0)


def test_a_dropped_picture_is_the_context_again(play, tiny_folder, tmp_path):
    """What is shown is the picture, through the image tokenizer; a file that is none changes nothing."""
    neural = RecordedWorld(NeuralWorld(tiny_folder, EngineOptions(engine="eager", threads=1)))
    height, width = neural.frame_shape
    Image.fromarray(np.full((height, width, 3), (250, 10, 10), np.uint8)).save(tmp_path / "red.png")
    (tmp_path / "notes.txt").write_text("no picture")
    expected = neural.scene_of(load_picture(tmp_path / "red.png", neural.frame_shape)).tokens[-1]
    p = play(neural)
    p.press(".")
    p.settle()
    played = p.index()
    p.client.handle(pygame.Event(pygame.DROPFILE, file=str(tmp_path / "notes.txt")))
    p.until(lambda: "not a readable picture" in p.client.toast)
    assert p.index() == played
    p.client.handle(pygame.Event(pygame.DROPFILE, file=str(tmp_path / "red.png")))
    p.until(lambda: (neural.neural.opening.tokens[-1] == expected).all() and neural.length == 0)


def test_a_world_that_has_no_pictures_of_its_own_says_so(play):
    p = play(PlainWorld(tick_rate=50.0))
    p.client.handle(pygame.Event(pygame.DROPFILE, file="x.png"))
    p.until(lambda: "cannot go on from a picture" in p.client.toast)


def test_a_world_without_a_sampler_says_so(play):
    p = play(PlainWorld(tick_rate=50.0))
    p.press("=")
    assert "no temperature" in p.client.toast


def test_panel_help_picture_and_drawing(play, tmp_path):
    p = play(output_dir=tmp_path / "sessions")
    p.press("F12")
    saved = list((tmp_path / "sessions").glob("picture-*.png"))
    assert [Image.open(path).size for path in saved] == [(192, 112)]
    assert str(saved[0]) in p.client.toast
    p.client.update()
    shown = pygame.surfarray.array3d(p.client.screen.surface)
    p.press("Tab")
    p.press("F1")
    assert (p.client.hud, p.client.help) == (False, True)
    p.client.update()
    assert not np.array_equal(shown, pygame.surfarray.array3d(p.client.screen.surface))
    text = " ".join(f"{label} {value}" for line in p.client.view().lines for label, value in line)
    for part in (
        "fake",
        "start 0 of 3",
        "seed 0",
        "fps",
        "latency",
        "dropped",
        "context",
        "temperature 1",
        "top-p 0.8",
    ):
        assert part in text


def test_the_keys_are_shown_once_until_the_first_press(play, tmp_path):
    mark = tmp_path / "state" / "keys-shown"
    p = play(keys_mark=mark)
    assert p.client.view().help
    assert "any key goes on" in p.client.view().note
    assert mark.is_file()
    p.until(lambda: p.index() > 2)  # the game runs
    assert p.client.view().help
    p.press("W")
    assert not p.client.view().help
    p.until(lambda: any("forward" in action.buttons for action in p.world.actions))  # and the press counts
    p.press("F1")
    assert "F1 closes" in p.client.view().note
    assert not play(keys_mark=mark).client.view().help  # the next start
    again = play(keys_mark=tmp_path / "other")
    again.press("F1")
    assert not again.client.view().help
    watched = play(keys_mark=tmp_path / "third", source=source_of(random_actions(0)))
    assert not watched.client.view().help
    assert not (tmp_path / "third").exists()


def test_keys_that_cannot_be_remembered_are_shown_again(play, tmp_path):
    (tmp_path / "file").write_text("")
    for _ in range(2):
        p = play(keys_mark=tmp_path / "file" / "keys-shown")
        assert p.client.view().help


def test_what_is_remembered_lies_with_the_users_state(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert mark_file() == tmp_path / "worldmodel" / "keys-shown"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert mark_file() == tmp_path / "home" / ".local" / "state" / "worldmodel" / "keys-shown"


def test_a_picture_that_cannot_be_saved_is_said(play, tmp_path):
    (tmp_path / "file").write_text("")
    p = play(output_dir=tmp_path / "file")
    p.press("F12")
    assert "cannot save a picture" in p.client.toast


# --- the whole window


def post_later(condition, *events):
    """Posts events once `condition` holds, from a thread of its own."""

    def run():
        deadline = time.monotonic() + PATIENCE
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.005)
        for event in events:
            pygame.event.post(event)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_quits_at_once_during_a_slow_step(capfd):
    world = FakeWorld(step_s=600.0)
    in_step = threading.Event()
    original = world.step
    world.step = lambda action: (in_step.set(), original(action))[1]
    poster = post_later(in_step.is_set, pygame.Event(pygame.QUIT))
    began = time.monotonic()
    assert run_window(lambda stage: world) == 0
    assert time.monotonic() - began < 60  # a tenth of the step
    assert world.closed.is_set()
    poster.join()
    assert "error" not in capfd.readouterr().err


def test_quits_while_loading():
    loading, leave = threading.Event(), threading.Event()

    def factory(stage):
        stage("thinking")
        loading.set()
        leave.wait(PATIENCE)
        return FakeWorld()

    poster = post_later(loading.is_set, pygame.Event(pygame.QUIT))
    threading.Timer(0.5, leave.set).start()
    assert run_window(factory) == 0
    poster.join()


def test_a_broken_world_ends_with_one_sentence(capfd):
    world = FakeWorld(fail_at=3, tick_rate=100.0)
    assert run_window(lambda stage: world) == 1
    err = capfd.readouterr().err
    assert err.rstrip().splitlines()[-1] == "error: the world stopped (RuntimeError: the ground has gone)"
    assert "Traceback" in err  # ours to mend: nothing is lost
    assert world.closed.is_set()


def test_a_mistake_found_by_the_world_has_no_traceback(capfd):
    def factory(stage):
        raise WorldModelError("no such world")

    assert run_window(factory) == 2
    assert capfd.readouterr().err == "error: no such world\n"


def test_start_out_of_range_names_how_many_there_are(capfd):
    assert run_window(lambda stage: FakeWorld(starts=3), WindowOptions(start=3)) == 2
    assert "there is no start scene 3: fake has 3, numbered 0 to 2" in capfd.readouterr().err


def test_window_plays_given_actions_and_reports(capfd):
    actions = [Action(frozenset({"forward"}), 0.0, float(i)) for i in range(12)]
    world = FakeWorld(tick_rate=100.0)
    assert run_window(lambda stage: world, WindowOptions(source=source_of(actions), report="-", started=0.0)) == 0
    assert world.actions == actions
    report = json.loads(capfd.readouterr().out)
    assert report["frames"] == 12
    assert report["tokens_sha256"] == world.facts()["tokens_sha256"]


# --- headless


def headless(world, frames=20, **options):
    source = source_of(random_actions(options.get("seed", 0)))
    return run_headless(lambda stage: world, HeadlessOptions(source, frames, **options))


def test_headless_report():
    world = FakeWorld()
    report = headless(world, seed=5, started=time.monotonic() - 1)
    assert (report.frames, report.seed, report.world, report.engine, report.device) == (20, 5, "fake", "fake", "cpu")
    assert report.fps is not None
    assert report.fps > 0
    assert report.startup_s is not None
    assert report.startup_s >= 1
    p50, p95, p99 = (report.latency_ms[name] or 0 for name in ("p50", "p95", "p99"))
    assert 0 < p50 <= p95 <= p99
    assert world.closed.is_set()


def test_headless_repeats_itself():
    first, again, other = (headless(FakeWorld(), seed=seed).tokens_sha256 for seed in (1, 1, 2))
    assert first == again != other


def test_headless_can_be_paced():
    assert headless(FakeWorld(), frames=5, fps=50.0).fps < 60


def test_headless_closes_a_world_that_breaks():
    world = FakeWorld(fail_at=2)
    with pytest.raises(RuntimeError, match="the ground has gone"):
        headless(world)
    assert world.closed.is_set()


# --- parts


def test_pacer_keeps_the_grid_and_never_bursts():
    pacer = Pacer(0.1, due=0.0)
    pacer.done(0.05)
    assert pacer.due == pytest.approx(0.1)
    pacer.done(0.15)  # woke late, but before the next tick: no drift
    assert pacer.due == pytest.approx(0.2)
    pacer.done(0.75)  # a stall: the next tick is due now, and the one after it a whole period later
    assert (pacer.due, pacer.dropped) == (pytest.approx(0.75), 4)
    pacer.done(0.80)
    assert pacer.due == pytest.approx(0.85)


def test_pacer_counts_what_steady_overruns_lose():
    pacer, now = Pacer(0.1, due=0.0), 0.0
    for _ in range(100):
        now = pacer.due + 0.125  # each step takes a quarter too long
        pacer.done(now)
    assert pacer.dropped == pytest.approx(25, abs=1)
    pacer.restart(now + 60)  # a pause is no delay
    assert pacer.dropped == pytest.approx(25, abs=1)


def test_stats():
    assert percentile([5.0, 1.0, 3.0, 2.0, 4.0], 0.5) == 3
    assert percentile([1.0, 2.0], 0.95) == 2
    assert np.isnan(percentile([], 0.5))
    stats = Stats(last=3)
    assert np.isnan(stats.fps)
    for now in (0.0, 0.1, 0.2, 0.3):
        stats.frame(now, 0.05)
    stats.gap()
    stats.frame(60.0, 0.07)
    assert stats.fps == pytest.approx(10)
    assert stats.frames == 5
    assert stats.latency.p50 == 0.05
    assert stats.latency.p99 == 0.07


def test_process_start_lies_in_the_past():
    assert process_start(fallback=time.monotonic()) <= time.monotonic()


def test_fit_keeps_the_aspect():
    assert fit((192, 112), (960, 700), integer=False) == (960, 560)
    assert fit((192, 112), (1000, 600), integer=True) == (960, 560)
    assert fit((384, 224), (200, 200), integer=True) == (200, 117)


def test_tiny_window_can_be_drawn():
    pygame.display.init()
    pygame.font.init()
    screen = Screen("tiny", {}, size=(40, 30))
    view = a_view()
    screen.draw(view)
    pygame.quit()


def a_view():
    from client.window.view import View

    frame = np.zeros((112, 192, 3), np.uint8)
    return View(frame, lines=((("a", "b"),),), lit=frozenset({"drop"}), badge="x", toast="y", help=True)


def test_start_picture_is_cropped_around_its_centre(tmp_path):
    pixels = np.zeros((100, 400, 3), np.uint8)
    pixels[:, 150:250] = 255
    Image.fromarray(pixels).save(tmp_path / "p.png")
    frame = load_picture(tmp_path / "p.png", (48, 48))
    assert frame.shape == (48, 48, 3)
    assert frame.min() > 200
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 40)
    for name in ("bad.png", "none.png"):
        with pytest.raises(WorldModelError, match=name):
            load_picture(tmp_path / name, (48, 48))


def test_a_small_file_of_a_huge_picture_takes_no_memory(tmp_path):
    path = tmp_path / "p.png"
    Image.new("L", (9000, 9000)).save(path)
    with pytest.raises(WorldModelError, match="9000x9000 pixels would take 617 MiB of memory, too much for a file of"):
        load_picture(path, (48, 48))
    Image.new("RGB", (6000, 4000), (255, 255, 255)).save(path, "JPEG")  # a photograph
    assert load_picture(path, (48, 48)).min() > 250


def test_a_picture_whose_format_is_a_program_is_none(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "p.png", "EPS")
    with pytest.raises(WorldModelError, match="not a readable picture"):
        load_picture(tmp_path / "p.png", (48, 48))


def test_saved_pictures_of_one_second_do_not_overwrite(tmp_path):
    frame, now = np.full((4, 6, 3), 9, np.uint8), datetime(2026, 1, 2, 3, 4, 5)
    first, second = (save_picture(frame, tmp_path, now) for _ in range(2))
    assert (first.name, second.name) == ("picture-2026-01-02-030405.png", "picture-2026-01-02-030405-2.png")
    assert np.array_equal(np.asarray(Image.open(first)), frame)


def test_a_world_without_pictures_refuses_one(tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "p.png")
    with pytest.raises(WorldModelError, match="cannot start from a picture"):
        Game(PlainWorld(), tmp_path / "p.png").restart()


def test_game_opens_a_users_picture_once_and_again_on_restart(tmp_path):
    Image.fromarray(np.full((30, 30, 3), 7, np.uint8)).save(tmp_path / "p.png")
    world = FakeWorld()
    scenes = []
    world.scene_of = lambda frame: (scenes.append(frame.shape), "scene")[1]
    world.open = lambda scene, seed: world.reset(0, seed)
    game = Game(world, tmp_path / "p.png", seed=3)
    assert game.restart().start is None
    game.restart()
    assert scenes == [(112, 192, 3)]
    assert game.move_start(-1).start == 2


def test_runner_carries_errors_of_the_factory():
    def factory(stage):
        raise ValueError("broken")

    runner = Runner(factory, lambda: None)
    runner.start()
    assert runner.stop(PATIENCE)
    assert isinstance(runner.state.error, ValueError)


# --- the command line


def command(*args, **variables):
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment.pop("SDL_VIDEODRIVER", None)
    environment.update(variables)
    return subprocess.run(
        [sys.executable, "-m", "client.cli", *args], capture_output=True, text=True, env=environment, timeout=120
    )


def test_no_display_is_one_sentence():
    result = command("play")
    assert result.returncode == 2
    assert result.stderr == "error: there is no display to open a window on; use --headless\n"
    assert result.stdout == ""


@pytest.mark.parametrize("environment", [{}, {"DISPLAY": ":9999"}], ids=["none", "none that answers"])
def test_without_a_display_no_option_is_recommended_that_is_refused_then(environment, tmp_path):
    result = command("play", "--meter", "--scale", "3", **environment)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].endswith("; use --headless, without --scale and --meter")
    assert command("play", "--headless", "--frames", "0", "--meter").returncode == 2  # which it would refuse


def test_a_recording_without_a_display(recorded):
    result = command("replay", str(recorded))
    assert (result.returncode, result.stderr) == (
        2, "error: there is no display to open a window on; --export FILE.mp4 writes it as a video\n"
    )  # fmt: skip
    result = command("replay", str(recorded), "--against", str(recorded))
    assert result.returncode == 2
    assert "; use --headless, which writes an .mp4 and a .csv" in result.stderr
    result = command("replay", str(recorded), DISPLAY=":9999")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].endswith("; --export FILE.mp4 writes it as a video")


@pytest.fixture
def recorded(tiny_folder, tmp_path):
    path = tmp_path / "walk.wms"
    arguments = ["play", "--world", str(tiny_folder), "--headless", "--frames", "3", "--threads", "1"]
    assert cli.main([*arguments, "--record", str(path), "--report", str(tmp_path / "report.json")]) == 0
    return path


def test_display_that_does_not_answer():
    result = command("play", DISPLAY=":9999")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == "error: no window can be opened (no display answers); use --headless"


def test_help_is_light():
    """Nothing heavy is imported before it is needed."""
    code = (
        "import sys, client.cli\ntry: client.cli.main(['play', '--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'openvino', 'pygame', 'av', 'PIL'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.stdout.splitlines()[-1] == "[]", result.stdout + result.stderr
    assert "--headless" in result.stdout


def fails(capfd, *args):
    assert cli.main(["play", *args]) == 2
    err = capfd.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_mistakes_are_told_together(capfd, tmp_path):
    err = fails(capfd, "--headless", "--frames", "0", "--fps", "-1", "--actions", "no.jsonl", "--top-p", "1.5")
    for part in ("--frames must be at least 1, got 0", "--fps", "no actions file no.jsonl", "--top-p must lie in"):
        assert part in err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--start", "no.png"), "there is no picture no.png"),
        (("--start", __file__), "is not a readable picture"),
        (("--scale", "3"), "--scale need a window"),
        (("--actions", "dance"), '"random", "idle" or a .jsonl file, got dance'),
        (("--seed", "-2"), "--seed must be 0 or more"),
        (("--threads", "-2"), "--threads must be"),
        (("--report", "/no/such/folder/r.json"), "there is no folder /no/such/folder"),
        (
            ("--world", "luanti", "--temperature", "1", "--engine", "eager"),
            "--temperature and --engine are for a neural",
        ),
        (("--world", "no-such-world"), 'no world \'no-such-world\': give "nano", "luanti", "vizdoom", '),
        (("--world", "idm"), "holds an inverse dynamics model alone; a world model is needed here"),
        (("--temperature", "-1", "--guidance", "11"), "--temperature must lie in 0..10, got -1.0; --guidance must"),
        (("--record", "x.mp4"), "--record x.wms, and then: worldmodel replay x.wms --export x.mp4"),
        (("--record", "walk"), "--record writes recordings (.wms), got walk: --record walk.wms"),
    ],
)
def test_mistakes(capfd, args, says):
    assert says in fails(capfd, "--headless", *args)


def test_actions_file(capfd, tmp_path):
    path = tmp_path / "clip.jsonl"
    tick = {"mouse": {"dx": 2, "dy": 0, "buttons": [], "newButtons": []}, "keyboard": {"keys": ["key.keyboard.w"]}}
    path.write_text("".join(json.dumps(tick) + "\n" for _ in range(8)))
    assert "more than the 4 actions" in fails(capfd, "--headless", "--actions", str(path), "--frames", "5")
    world = FakeWorld()
    options = cli.Play(headless=True, actions=str(path), report=str(tmp_path / "r.json"))
    assert cli.play(options, lambda stage: world) == 0
    assert world.actions == [Action(frozenset({"forward"}), 0.0, 4 * DEGREES_PER_PIXEL)] * 4
    report = json.loads((tmp_path / "r.json").read_text())
    assert set(report) >= {
        "frames",
        "fps",
        "latency_ms",
        "startup_s",
        "processor",
        "engine",
        "device",
        "checkpoint",
        "tokens_sha256",
    }
    path.write_text("oops\n")
    assert "clip.jsonl:1: not JSON" in fails(capfd, "--headless", "--actions", str(path))
    path.write_text("")
    assert "holds no actions" in fails(capfd, "--headless", "--actions", str(path))


def test_headless_prints_one_line(capfd):
    assert cli.play(cli.Play(headless=True, frames=5, actions="idle", seed=2), lambda stage: FakeWorld()) == 0
    out = capfd.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out)["seed"] == 2


def test_window_from_the_command_line(tmp_path, capfd):
    options = cli.Play(frames=6, fps=100.0, actions="random", report=str(tmp_path / "r.json"), scale=2)
    assert cli.play(options, lambda stage: FakeWorld()) == 0
    assert json.loads((tmp_path / "r.json").read_text())["frames"] == 6


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A small neural world with random weights and two start scenes."""
    import torch

    from worldmodel.config import ImageTokenizerConfig, TransformerConfig, WorldModelConfig
    from worldmodel.model.loading import save_starts, save_world_model
    from worldmodel.model.transformer import VisualActionTransformer
    from worldmodel.tokenizers.image import ImageTokenizer
    from worldmodel.types import StartScene

    torch.manual_seed(0)
    image = ImageTokenizerConfig(32, 48, encoder_channels=(8, 8), decoder_channels=(8, 8), levels=(4, 4))
    config = WorldModelConfig(image, TransformerConfig(hidden=32, mlp=32, layers=1, heads=2, kv_heads=1, head_dim=16))
    folder = tmp_path_factory.mktemp("worlds") / "small"
    save_world_model(folder, config, ImageTokenizer(image).eval(), VisualActionTransformer(config).eval())
    idle = config.action_tokenizer().encode(NO_ACTION)
    scenes = [StartScene(np.full((2, image.tokens_per_frame), i, np.int32), np.stack([idle])) for i in range(2)]
    save_starts(folder, scenes)
    return folder


def test_a_neural_world_from_the_command_line(checkpoint, capfd, tmp_path, monkeypatch):
    Image.fromarray(np.full((50, 90, 3), 99, np.uint8)).save(tmp_path / "p.png")
    common = ("--headless", "--world", str(checkpoint), "--engine", "eager", "--threads", "1", "--frames", "4")
    hashes = []
    for extra in ((), (), ("--seed", "1"), ("--start", "1"), ("--start", str(tmp_path / "p.png"))):
        assert cli.main(["play", *common, *extra]) == 0
        report = json.loads(capfd.readouterr().out)
        assert (report["frames"], report["engine"], report["checkpoint"]) == (4, "eager", str(checkpoint))
        hashes.append(report["tokens_sha256"])
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4
    monkeypatch.chdir(checkpoint.parent)
    assert cli.main(["play", *common]) == 0
    assert json.loads(capfd.readouterr().out)["checkpoint"] == checkpoint.name
    assert "there is no start scene 2: small has 2" in fails(capfd, *common, "--start", "2")


def test_a_neural_world_in_the_window(checkpoint, capfd):
    args = ("--world", str(checkpoint), "--engine", "eager", "--frames", "3", "--actions", "idle", "--temperature", "0")
    assert cli.main(["play", *args, "--fps", "30", "--report", "-"]) == 0
    assert json.loads(capfd.readouterr().out)["frames"] == 3


def test_doctor_prints_its_table(capfd):
    assert cli.main(["doctor"]) in (0, 1)  # 1 as long as no model is shipped
    out = capfd.readouterr().out
    for row in ("python", "torch", "openvino", "display", "real game", "model nano", "worldmodel play"):
        assert row in out
