"""Text from outside: read, or refused in one sentence with file and line; never another exception."""

import json
from contextlib import suppress

import pytest
from conftest import vpt_line
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.cli import main
from worldmodel.data.clips import ClipError
from worldmodel.data.ticks import read_actions
from worldmodel.parsing import MAX_DEPTH, MAX_LINE_BYTES, Fields, parse_json, read_json
from worldmodel.types import WorldModelError


def changed(**changes):
    """A VPT line with other entries; mouse and keyboard are changed, not replaced."""
    line = vpt_line(keys=["key.keyboard.w"])
    for name, value in changes.items():
        if name in ("mouse", "keyboard") and isinstance(value, dict):
            line[name] |= value
        else:
            line[name] = value
    return json.dumps(line)


PLAIN = changed()


def write(path, third, encoding="utf-8", end="\n"):
    """Twelve lines, of which the third is another."""
    lines = [PLAIN] * 12
    lines[2] = third
    path.write_bytes("".join(line + end for line in lines).encode(encoding))
    return path


@pytest.mark.parametrize(
    ("third", "message"),
    [
        (changed(mouse={"dx": None}), "a.jsonl:3: mouse: dx must be a number in -100000..100000, got null"),
        (changed(mouse={"dx": float("inf")}), "a.jsonl:3: mouse: dx must be a number .* got Infinity"),
        (changed(mouse={"dy": float("nan")}), "a.jsonl:3: mouse: dy must be a number .* got NaN"),
        (changed(mouse={"dx": 1e308}), "a.jsonl:3: mouse: dx must be"),
        (changed(mouse={"dx": True}), "a.jsonl:3: mouse: dx must be a number .* got true"),
        (changed(mouse={"dx": 10**400}), "a.jsonl:3: mouse: dx must .* a number of more than 40 digits"),
        (PLAIN.replace('"dx": 0.0', '"dx": ' + 5000 * "9"), "a.jsonl:3: a number has thousands of digits"),
        (PLAIN.replace('"chars": ""', '"chars": ' + 5000 * "[" + 5000 * "]"), "a.jsonl:3: nested more than 32 deep"),
        (changed(mouse={"buttons": None}), "a.jsonl:3: mouse: buttons must be a list of whole numbers, got null"),
        (changed(mouse={"buttons": [float("nan")]}), "a.jsonl:3: mouse: buttons must be"),
        (changed(mouse={"buttons": [[0]]}), "a.jsonl:3: mouse: buttons must be"),
        (changed(mouse={"newButtons": None}), "a.jsonl:3: mouse: newButtons must be"),
        (changed(keyboard={"keys": None}), "a.jsonl:3: keyboard: keys must be a list of texts, got null"),
        (changed(keyboard={"keys": [["key.keyboard.w"]]}), "a.jsonl:3: keyboard: keys must be"),
        (changed(keyboard={"keys": "key.keyboard.w"}), "a.jsonl:3: keyboard: keys must be"),
        (changed(keyboard=[]), r"a.jsonl:3: keyboard: expected an object, got \[\]"),
        (changed(hotbar="three"), r'a.jsonl:3: hotbar must be a whole number in 0\.\.8, got "three"'),
        (changed(hotbar=9), r"a.jsonl:3: hotbar must be a whole number in 0\.\.8, got 9"),
        (changed(hotbar=-1), "a.jsonl:3: hotbar must be"),
        (changed(hotbar=2.5), "a.jsonl:3: hotbar must be"),
        (changed(isGuiOpen="false"), 'a.jsonl:3: isGuiOpen must be true or false, got "false"'),
        (changed(isGuiOpen=0), "a.jsonl:3: isGuiOpen must be"),
        (repr(json.loads(PLAIN)), "a.jsonl:3: not JSON"),
        (PLAIN[:60], "a.jsonl:3: not JSON"),
        ("}}", "a.jsonl:3: not JSON"),
        ("[" * 100_000, "a.jsonl:3: nested more than"),
        ('{"mouse": {}}', 'a.jsonl:3: a VPT line is an object with "mouse" and "keyboard"'),
        (" " * MAX_LINE_BYTES + "x", "a.jsonl:3: a line of more than"),
        # Sums over a step, of which each part is a number.
        (changed(mouse={"dx": 99999.0}), r"a.jsonl:3: the camera moves by 0\.0, 14999.* degrees in a step"),
    ],
)
def test_a_bad_line_is_one_sentence_with_file_and_line(tmp_path, third, message):
    with pytest.raises(ClipError, match=message) as raised:
        read_actions(write(tmp_path / "a.jsonl", third))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    "third",
    [
        changed(hotbar=0.0),  # Lua's numbers are all floats
        changed(mouse={"dx": 0, "buttons": [7]}),
        changed(keyboard={"keys": ["key.keyboard.menu", "scancode.464", "key.keyboard.w"]}),
        changed(keyboard={"chars": "\u2028 \x85"}),
        PLAIN.replace('"newButtons": [], ', "").replace(', "newButtons": []', ""),
        PLAIN.replace('"isGuiOpen": false', '"isGuiOpen": null'),
        f"{PLAIN}\n\n  ",
    ],
)
@pytest.mark.parametrize(("encoding", "end"), [("utf-8", "\n"), ("utf-8-sig", "\n"), ("utf-8", "\r\n")])
def test_odd_lines_that_mean_something_are_read(tmp_path, third, encoding, end):
    actions = read_actions(write(tmp_path / "a.jsonl", third, encoding, end))
    assert [action.buttons for action in actions] == [{"forward"}] * 6


@pytest.mark.parametrize(
    ("encoding", "message"), [("utf-16", "UTF-16, not UTF-8"), ("utf-32-be", "not JSON"), ("cp1252", "is not UTF-8")]
)
def test_other_encodings_are_named(tmp_path, encoding, message):
    with pytest.raises(ClipError, match=message):
        read_actions(write(tmp_path / "a.jsonl", PLAIN.replace('"chars": ""', '"chars": "é"'), encoding))


def test_a_bad_file_of_actions_ends_the_command_with_a_sentence(tmp_path, tiny_folder, capsys):
    path = write(tmp_path / "a.jsonl", changed(keyboard={"keys": None}))
    assert main(["play", "--world", str(tiny_folder), "--headless", "--actions", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}:3: keyboard: keys must be")
    assert "Traceback" not in error


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.integers(10**300, 10**310),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(
    place=st.sampled_from(
        ["mouse", "keyboard", "hotbar", "isGuiOpen", "mouse.dx", "mouse.buttons", "mouse.newButtons", "keyboard.keys"]
    ),
    value=values,
    cut=st.integers(0, 400),
)
def test_no_line_is_another_exception(tmp_path, place, value, cut):
    line = vpt_line()
    inner = line
    *outer, name = place.split(".")
    for part in outer:
        inner = inner[part]
    inner[name] = value
    for text in (json.dumps(line), json.dumps(line)[:cut]):
        with suppress(ClipError):
            read_actions(write(tmp_path / "a.jsonl", text, "utf-8"))


def test_a_json_file_is_read_or_refused(tmp_path):
    path = tmp_path / "values.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(path) == {"a": 1}
    path.write_text('{\n "a": 1,\n}')
    with pytest.raises(WorldModelError, match=r"values.json: not JSON \(.* at line"):
        read_json(path)
    path.write_text("[]" * 10)
    with pytest.raises(WorldModelError, match="too large"):
        read_json(path, most=10)
    with pytest.raises(WorldModelError, match="there is no file"):
        read_json(tmp_path / "nothing.json")
    with pytest.raises(WorldModelError, match="cannot be read"):
        read_json(tmp_path)
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parse_json(deep, "here")
    assert parse_json(json.dumps({"text": "[" * 100 + '\\"' + "{" * 100}), "here")  # brackets in texts are no depth
    with pytest.raises(WorldModelError, match="here: nested more than 32 deep"):
        parse_json(f"[{deep}]", "here")


def test_a_missing_field_is_named():
    with pytest.raises(WorldModelError, match=r"here: size must be a whole number in 1\.\.5, got nothing"):
        Fields({}, "here").whole("size", 1, 5)
    with pytest.raises(WorldModelError, match="here: inner must be an object, got nothing"):
        Fields({}, "here").inner("inner")
