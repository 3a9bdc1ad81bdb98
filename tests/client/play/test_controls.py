"""Controls: made-up events in, actions out."""

from __future__ import annotations

import importlib
import json

import pytest
from conftest import ROOT

from client.play.actions import source_of
from client.play.bindings import DEFAULT_BINDINGS, SCANCODES, TARGETS, BindingsError, key_name, read_bindings, table_of
from client.play.controls import (
    DEGREES_PER_PIXEL,
    KEY_DEGREES_PER_SECOND,
    STICK_DEGREES_PER_SECOND,
    Axis,
    Controls,
    Motion,
    Press,
    Release,
    ReleaseAll,
    Wheel,
)
from client.play.keys import CLIENT_KEYS, PLAY, REPLAY, commands_of, help_lines
from worldmodel.data.random_play import random_actions
from worldmodel.tokenizers.action import ActionTokenizer
from worldmodel.types import BUTTONS, NO_ACTION


def after(*events, **options):
    controls = Controls(**options)
    for event in events:
        controls.handle(event)
    return controls


def test_defaults_reach_every_button_but_escape():
    assert set(DEFAULT_BINDINGS) == set(TARGETS) - {"ESC"}
    for target, keys in DEFAULT_BINDINGS.items():
        if target in BUTTONS:
            assert after(Press(keys[0])).take().buttons == {target}


def test_scancodes_are_pygames():
    pygame = pytest.importorskip("pygame")
    names = {"W": "W", "9": "9", "0": "0", "Enter": "RETURN", ".": "PERIOD", ",": "COMMA", "F12": "F12", "Up": "UP"}
    names |= {"Left Shift": "LSHIFT", "Right Alt": "RALT", "Keypad 0": "KP0", "Keypad 9": "KP9", "[": "LEFTBRACKET"}
    names |= {"Page Down": "PAGEDOWN", "`": "GRAVE", "\\": "BACKSLASH", "Tab": "TAB", "=": "EQUALS", "Space": "SPACE"}
    for name, pygame_name in names.items():
        assert SCANCODES[name] == getattr(pygame, f"KSCAN_{pygame_name}")
        assert key_name(SCANCODES[name]) == name
    assert key_name(4000) is None


def test_mouse_motion_is_summed_between_two_steps():
    controls = after(Motion(10, 2), Motion(-4, 3), sensitivity=2.0)
    action = controls.take()
    assert action.yaw == pytest.approx(6 * DEGREES_PER_PIXEL * 2)  # right is positive
    assert action.pitch == pytest.approx(5 * DEGREES_PER_PIXEL * 2)  # down is positive
    assert controls.take() == NO_ACTION


@pytest.mark.parametrize(("camera", "least"), [({}, 2.3), ({"fine_camera": True}, 0.3), ({"legacy_camera": True}, 2.3)])
@pytest.mark.parametrize("pixels", [1, 6, 40, 700])
def test_a_slow_hand_turns_as_far_as_it_moves(camera, least, pixels):
    """Of moves that are smaller, or other, than what a model can be told, what is left is part of the next; each step's
    action is one that the model is told as it is."""
    tokenizer = ActionTokenizer(8, **camera)
    controls = Controls()
    controls.play_in(10.0, tokenizer.told)
    turned = 0.0
    for _ in range(40):
        controls.handle(Motion(-pixels, 0))
        action = controls.take()
        assert tokenizer.told(action) == action
        turned += action.yaw
    for _ in range(12):  # a flick too wide for one step goes on, and comes to rest
        turned += controls.take().yaw
    assert controls.take() == NO_ACTION
    assert turned == pytest.approx(-40 * pixels * DEGREES_PER_PIXEL, abs=least)  # the least that it is told
    controls.handle(Motion(-4, 0))
    controls.take()
    controls.forget()
    assert controls.take() == NO_ACTION


def test_a_press_shorter_than_a_step_still_counts_once():
    controls = after(Press("Space"), Release("Space"), Press("Mouse Left"), Release("Mouse Left"))
    assert controls.take().buttons == {"jump", "attack"}
    assert controls.take() == NO_ACTION


def test_held_keys_stay_until_released():
    controls = after(Press("W"))
    assert [controls.take().buttons for _ in range(2)] == [{"forward"}] * 2
    controls.handle(Release("W"))
    assert controls.take() == NO_ACTION


def test_opposite_keys_pass_through():
    assert after(Press("A"), Press("D")).take().buttons == {"left", "right"}


def test_arrow_keys_turn_the_camera_at_a_fixed_speed():
    controls = after(Press("Left"), Press("Down"), tick_rate=20.0, sensitivity=3.0)
    for _ in range(2):
        action = controls.take()
        assert (action.pitch, action.yaw) == (KEY_DEGREES_PER_SECOND / 20, -KEY_DEGREES_PER_SECOND / 20)
        assert not action.buttons
    controls.handle(Press("Right"))
    assert controls.take().yaw == 0


def test_wheel_chooses_the_slot_where_it_stops():
    controls = after(Wheel(-1), Wheel(-1))
    assert controls.take().buttons == {"hotbar.3"}
    assert controls.take() == NO_ACTION
    controls.handle(Press("9"))
    controls.handle(Release("9"))
    assert controls.take().buttons == {"hotbar.9"}
    controls.handle(Wheel(-1))  # in a circle
    assert controls.take().buttons == {"hotbar.1"}
    controls.handle(Wheel(2))
    assert controls.take().buttons == {"hotbar.8"}


def test_the_last_of_two_slots_in_one_step_is_the_action():
    controls = after(Press("4"), Release("4"), Press("7"), Release("7"))
    assert controls.take().buttons == {"hotbar.7"}
    for event in (Press("4"), Press("7")):  # both stay down: nothing is chosen again
        controls.handle(event)
    assert [controls.take().buttons for _ in range(2)] == [{"hotbar.7"}] * 2
    assert controls.held() == {"hotbar.7"}
    controls.handle(Release("7"))
    assert controls.take() == NO_ACTION
    controls.handle(Release("4"))
    for event in (Press("4"), Release("4"), Wheel(-1), Wheel(-1)):  # a flick after a key
        controls.handle(event)
    assert controls.take().buttons == {"hotbar.6"}
    for event in (Wheel(3), Press("2"), Release("2")):  # a key after a flick
        controls.handle(event)
    assert controls.take().buttons == {"hotbar.2"}


def test_a_key_that_stays_down_selects_nothing_once_the_wheel_has():
    controls = after(Press("4"))
    assert [controls.take().buttons for _ in range(2)] == [{"hotbar.4"}] * 2
    controls.handle(Wheel(-1))
    assert controls.take().buttons == {"hotbar.5"}
    assert controls.held() == frozenset()
    assert controls.take() == NO_ACTION


def test_the_wheel_counts_from_the_worlds_slot():
    controls = Controls()
    controls.see_slot(6, cut=True)
    controls.handle(Wheel(-1))
    assert controls.take().buttons == {"hotbar.7"}
    controls.see_slot(6, cut=False)  # the picture is late: it may not show the choice yet
    controls.handle(Wheel(-1))
    assert controls.take().buttons == {"hotbar.8"}
    controls.see_slot(7, cut=False)
    assert controls.take() == NO_ACTION
    assert controls.take() == NO_ACTION
    controls.see_slot(7, cut=False)  # by now it would: this is where the world stands
    controls.handle(Wheel(-1))
    assert controls.take().buttons == {"hotbar.8"}
    controls.handle(Wheel(-1))
    controls.see_slot(3, cut=True)  # another scene, while the wheel turns
    assert controls.take().buttons == {"hotbar.4"}
    controls.see_slot(None, cut=True)  # a picture without a hotbar
    controls.handle(Wheel(1))
    assert controls.take().buttons == {"hotbar.3"}


def test_what_is_forgotten_has_selected_nothing():
    controls = after(Press("5"), Release("5"), Wheel(-1), Motion(4, 4))
    controls.forget()
    assert controls.take() == NO_ACTION
    controls.handle(Wheel(-1))
    assert controls.take().buttons == {"hotbar.2"}


def test_release_all_forgets_everything():
    controls = after(Press("W"), Motion(5, 5), Press("Space"), Axis("right x", 1.0), Wheel(1), ReleaseAll())
    assert controls.take() == NO_ACTION
    assert controls.held() == frozenset()


def test_gamepad():
    controls = after(
        Axis("left y", -0.9), Axis("right x", 1.0), Axis("right trigger", 0.8), Press("Pad A"), tick_rate=10
    )
    action = controls.take()
    assert action.buttons == {"forward", "attack", "jump"}
    assert (action.pitch, action.yaw) == (0, pytest.approx(STICK_DEGREES_PER_SECOND / 10))
    for event in (Axis("left y", 0.0), Axis("right x", 0.1), Axis("right trigger", 0.0), Release("Pad A")):
        controls.handle(event)
    assert controls.take() == NO_ACTION  # 0.1 lies in the dead zone
    controls.handle(Press("Pad Right Shoulder"))
    controls.handle(Release("Pad Right Shoulder"))
    assert controls.take().buttons == {"hotbar.2"}


def test_stick_that_springs_back_within_a_step_still_counts():
    assert after(Axis("left x", 0.9), Axis("left x", 0.0)).take().buttons == {"right"}


def test_unknown_keys_are_ignored():
    assert after(Press("F5"), Release("F5"), Axis("nonsense", 1.0)).take() == NO_ACTION


def bindings(tmp_path, values):
    path = tmp_path / "keys.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


def test_bindings_file_changes_what_it_names(tmp_path):
    table = read_bindings(bindings(tmp_path, {"forward": "Up", "jump": ["J", "Mouse 4"], "drop": []}))
    assert after(Press("Up"), table=table).take().buttons == {"forward"}  # "Up" has left the camera
    assert after(Press("Mouse 4"), table=table).take().buttons == {"jump"}
    assert after(Press("W"), Press("Q"), Press("Space"), table=table).take() == NO_ACTION
    assert after(Press("S"), table=table).take().buttons == {"back"}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"fly": "G"}, 'unknown button "fly"'),
        ({"jump": "Spacebar"}, "unknown key \"Spacebar\" for 'jump'; did you mean 'Space'?"),
        ({"jump": "x" * 5000}, "there are such names as W, 5, Space"),
        ({"9" * 5000: "G"}, "unknown button"),
        ({"jump": "Enter"}, "'Enter', which the client itself uses"),
        ({"jump": "G", "drop": "G"}, "key 'G' is bound to both 'jump' and 'drop'"),
        ({"jump": 7}, '"jump" needs a key or a list of keys, got 7'),
        (["jump"], "bindings are an object"),
        ("{\n oops", "at line 2, column 2)"),
    ],
)
def test_bindings_mistakes_name_file_and_entry(tmp_path, values, says):
    with pytest.raises(BindingsError) as caught:
        read_bindings(bindings(tmp_path, values))
    assert says in str(caught.value)
    assert "keys.json" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"jmp": "G"}, "unknown button \"jmp\"; did you mean 'jump'?"),
        ({"jump": "spce"}, "unknown key \"spce\" for 'jump'; did you mean 'Space'?"),
        ({"jump": "left shift"}, "did you mean 'Left Shift'?"),
        ({"jump": "@@"}, "there are such names as W, 5, Space"),
        ({"@@": "G"}, "there are such names as forward, jump"),
    ],
)
def test_an_unknown_name_gets_a_hint_and_no_list(tmp_path, values, says):
    with pytest.raises(BindingsError) as caught:
        read_bindings(bindings(tmp_path, values))
    assert says in str(caught.value)
    assert len(str(caught.value)) < len(str(tmp_path)) + 160


def test_bindings_may_have_a_byte_order_mark(tmp_path):
    path = tmp_path / "keys.json"
    path.write_text('{"jump": "G"}', encoding="utf-8-sig")
    assert read_bindings(path)["G"] == "jump"
    path.write_text("[" * 100_000)
    with pytest.raises(BindingsError, match="nested more than"):
        read_bindings(path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"jump": ' + "9" * 5000 + "}", '{"a":' * 5000, '{"jump": "\\ud800"}'])
def test_a_bindings_file_that_nobody_wrote_is_one_sentence(tmp_path, text):
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(BindingsError) as told:
        read_bindings(tmp_path / "keys.json")
    assert len(str(told.value)) < 1000
    assert str(told.value).isprintable()


def test_missing_bindings_file(tmp_path):
    with pytest.raises(BindingsError, match="there is no file"):
        read_bindings(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("table", "window"), [(PLAY, "client.window.loop.Client"), (REPLAY, "client.window.replay_window.ReplayClient")]
)
def test_every_key_of_the_table_does_something_and_is_said_once(table, window):
    module, _, name = window.rpartition(".")
    made = getattr(importlib.import_module(module), name)
    handlers = made.handlers(made.__new__(made))
    assert set(commands_of(table).values()) == handlers.keys()
    keys = [key for shortcut in table for key, _ in shortcut.commands]
    assert len(keys) == len(set(keys))
    readme = (ROOT / "client/README.md").read_text()
    assert all(f"| {shown} | {said} |" in readme for shown, said in help_lines(table))


def test_client_keys_have_no_default_binding():
    assert not CLIENT_KEYS & table_of(DEFAULT_BINDINGS).keys()


def test_random_player_depends_on_the_seed_alone():
    first, again, other = (source_of(random_actions(seed)) for seed in (3, 3, 4))
    played = [first() for _ in range(60)]
    assert played == [again() for _ in range(60)]
    assert played != [other() for _ in range(60)]
    assert any(action.buttons for action in played if action)
    assert all(abs(action.pitch) < 10 and abs(action.yaw) < 30 for action in played if action)
