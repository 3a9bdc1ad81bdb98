"""The live meter: what it counts, that it never holds play up, and that it reads as one reading of the whole does."""

import json
import os
import threading
import time

import numpy as np
import pytest
import torch
from fakes import FakeWorld

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
pygame = pytest.importorskip("pygame")

from client import cli  # noqa: E402
from client.play.actions import source_of  # noqa: E402
from client.play.game import Game  # noqa: E402
from client.play.meter import CHUNK, WAITING, Compared, Meter, compare, summary  # noqa: E402
from client.window.loop import Client  # noqa: E402
from client.window.options import WindowOptions  # noqa: E402
from worldmodel.checkpoint import CheckpointError  # noqa: E402
from worldmodel.data.random_play import random_actions  # noqa: E402
from worldmodel.readers.idm import (  # noqa: E402
    IDMConfig,
    InverseDynamicsModel,
    ReadActions,
    load_idm,
    read_actions,
    told_buttons,
)
from worldmodel.readers.reader import ActionReader  # noqa: E402
from worldmodel.tokenizers.action import CAMERA_BINS, CAMERA_CENTRE, camera_to_bin  # noqa: E402
from worldmodel.types import BUTTONS, HOTBAR, Action, WorldModelError  # noqa: E402

PATIENCE = 30.0
STILL = (CAMERA_CENTRE, CAMERA_CENTRE)


def wait_for(what):
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def script(steps):
    actions = iter(random_actions(3))
    return [next(actions) for _ in range(steps)]


class MarkedWorld(FakeWorld):
    """Its first pixel tells the number of the step: a reader that knows the actions can read them all."""

    def _draw(self):
        frame = super()._draw()
        frame[0, 0] = len(self.actions) % 256
        return frame


def readings(actions):
    """What a perfect reader says of some actions."""
    camera = np.zeros((len(actions), 2, CAMERA_BINS), np.float32)
    for step, action in enumerate(actions):
        camera[step, 0, camera_to_bin(action.pitch)] = camera[step, 1, camera_to_bin(action.yaw)] = 1
    buttons = np.array([[name in action.buttons for name in BUTTONS] for action in actions], np.float32)
    return ReadActions(buttons, camera, np.zeros((len(actions), 1), np.float32))


def reader_of(read, around=2):
    return ActionReader("the test's", "", read, (112, 192), around)


def perfect(world):
    return reader_of(lambda frames: readings([world.actions[f[0, 0, 0] - 1] for f in frames[1:]]))


def blind(_world):
    return reader_of(lambda frames: readings([Action()] * (len(frames) - 1)))


def played(meter, world, actions):
    """The pictures of a game that the meter runs beside: the opening and one a step."""
    game = Game(meter.beside(lambda stage: world)(lambda stage: None))
    yield game.restart()
    for action in actions:
        yield game.advance(action, time.monotonic())


def test_a_step_is_compared_by_groups():
    pressed = Action(frozenset({"forward", "jump", "hotbar.3"}), pitch=0.0, yaw=20.0)
    same = compare(pressed, frozenset({"forward", "jump", "hotbar.3"}), (CAMERA_CENTRE, camera_to_bin(20.0) + 1))
    assert same == Compared(frozenset({"move", "jump/sneak/sprint", "hotbar", "camera"}), frozenset(), ())
    other = compare(pressed, frozenset({"back", "attack"}), STILL)
    assert other.failed == other.used == same.used
    assert set(other.missed) == {"forward not seen", "jump not seen", "hotbar.3 not seen", "yaw not seen"}
    both = Action(frozenset({"forward", "back"}))  # the model is told neither
    assert not compare(both, frozenset(), STILL).used


def test_what_was_not_pressed_does_not_count():
    idle = [compare(Action(), frozenset({"sneak", "jump", "hotbar.1"}), (0, CAMERA_CENTRE))] * 25
    assert idle[0] == Compared(frozenset(), frozenset(), ())
    rows = dict(pair for row in summary(idle) for pair in row)
    assert rows.pop("meter, steps read") == "25"
    assert set(rows.values()) == {"-"}
    more = compare(Action(frozenset({"forward"})), frozenset({"forward", "sneak", "attack"}), (0, CAMERA_CENTRE))
    assert more == Compared(frozenset({"move"}), frozenset(), ())
    assert not compare(Action(yaw=20.0), frozenset(), (0, camera_to_bin(20.0))).failed  # the pitch was not touched


def test_what_the_reader_cannot_tell_does_not_count_and_is_said():
    tells = frozenset({"forward", "back", "attack", "use"})
    pressed = Action(frozenset({"forward", "left", "sneak", "hotbar.3"}))
    found = compare(pressed, frozenset({"forward"}), STILL, tells)
    assert found == Compared(frozenset({"move"}), frozenset(), ())
    assert summary([found], tells) == (
        (("meter, steps read", "1"), ("forward/back", "100% of 1"), ("attack/use", "-")),
        (("camera", "-"),),
        (("fails", "-"),),
        (("its reader cannot tell", "left, right, jump, sneak, sprint, hotbar"),),
    )


def test_the_shipped_reader_tells_what_its_scores_say(tmp_path):
    told = told_buttons()
    assert {"forward", "attack", "use", "sprint", "sneak"} <= told
    assert "drop" not in told  # nobody drops anything in its recordings

    def write(f1):
        classes = {"none": {"f1": 1.0}, "jump": {"f1": f1}, **{f"hotbar.{slot}": {"f1": 0.6} for slot in range(1, 10)}}
        scores = {"real": {"groups": {"jump": {"classes": classes}}}}
        (tmp_path / "scores.json").write_text(json.dumps(scores))

    write(0.49)
    assert told_buttons(tmp_path) == HOTBAR
    write(0.5)
    assert told_buttons(tmp_path) == HOTBAR | {"jump"}
    write("much")
    with pytest.raises(CheckpointError, match="holds no scores"):
        told_buttons(tmp_path)
    (tmp_path / "scores.json").unlink()
    with pytest.raises(CheckpointError, match=r"scores\.json"):
        told_buttons(tmp_path)


def test_the_panel_tells_shares_of_the_steps_that_used_a_group():
    good = compare(Action(frozenset({"forward"})), frozenset({"forward"}), STILL)
    bad = compare(Action(frozenset({"forward", "jump"})), frozenset(), STILL)
    rows = dict(pair for row in summary([good, good, bad, compare(Action(), frozenset(), STILL)]) for pair in row)
    assert rows == {
        "meter, steps read": "4", "move": "67% of 3", "jump/sneak/sprint": "0% of 1", "attack/use": "-", "hotbar": "-",
        "camera": "-", "fails": "forward not seen 1x, jump not seen 1x",
    }  # fmt: skip


def test_it_reads_in_pieces_what_one_reading_of_the_whole_says():
    torch.manual_seed(0)
    model = InverseDynamicsModel(IDMConfig(channels=(8, 8, 8), pair=16, features=16)).eval().requires_grad_(False)
    torch.nn.init.normal_(model.buttons.weight, std=3.0)  # so that many buttons are read, and others in each step
    torch.nn.init.normal_(model.camera.weight, std=3.0)
    config = model.config
    steps: list[Compared] = []
    reader = reader_of(lambda frames: read_actions(model, frames), config.around)
    meter = Meter(lambda: reader, steps=1000)
    actions, frames = script(5 * CHUNK + config.around), []
    for picture in played(meter, FakeWorld(), actions):
        frames.append(picture.frame)
        meter.see(picture)
        ripe = (len(frames) - 1 - config.around) // CHUNK * CHUNK
        wait_for(lambda ripe=ripe: len(meter._done) >= ripe)
    meter.stop(PATIENCE)
    steps = list(meter._done)
    whole = read_actions(model, np.stack(frames))
    held, bins = whole.held, whole.bins
    names = [frozenset(name for name, down in zip(BUTTONS, row, strict=True) if down) for row in held]
    assert len(set(names)) > 1
    assert steps == [compare(actions[i], names[i], bins[i].tolist()) for i in range(5 * CHUNK)]
    assert meter.skipped == 0


def test_a_busy_reader_skips_steps_and_never_holds_play_up():
    world, go = MarkedWorld(), threading.Event()
    honest = perfect(world)

    def slow(frames):
        assert go.wait(PATIENCE)
        return honest.read(frames)

    meter = Meter(lambda: reader_of(slow), steps=1000)
    for picture in played(meter, world, script(200)):
        meter.see(picture)  # the reader stands still all the while
        assert len(meter._waiting) <= WAITING + 2 + 2 + 1
    assert meter.skipped > 100
    assert not meter._done
    go.set()
    wait_for(lambda: len(meter._done) >= WAITING)
    meter.stop(PATIENCE)
    assert not any(step.failed for step in meter._done)  # what is read after a gap is read of the right steps


def test_no_step_across_a_restart():
    world, seen = MarkedWorld(), []
    honest = perfect(world)

    def note(frames):
        seen.append(frames[:, 0, 0, 0].astype(int).tolist())
        return honest.read(frames)

    meter = Meter(lambda: reader_of(note))
    game = Game(meter.beside(lambda stage: world)(lambda stage: None))
    for steps in (CHUNK, 2 * CHUNK):
        meter.see(game.restart())
        for action in script(steps):
            meter.see(game.advance(action, time.monotonic()))
    wait_for(lambda: seen)
    meter.stop(PATIENCE)
    assert all(np.all(np.diff(numbers) == 1) for numbers in seen)


@pytest.mark.parametrize(("reader_of", "share"), [(perfect, "100% of"), (blind, "0% of")])
def test_the_panel_of_a_real_game_shows_it(reader_of, share):
    world = MarkedWorld(tick_rate=100.0)
    pygame.display.init()
    pygame.font.init()
    meter = Meter(lambda: reader_of(world))
    actions = [Action(frozenset({"forward"}), 0.0, 15.0)] * 250
    client = Client(lambda stage: world, WindowOptions(source=source_of(actions), meter=meter))
    client.runner.start()
    try:

        def rows():
            client.handle(pygame.event.wait(10))
            client.update()
            return dict(pair for row in client.view().lines for pair in row)

        wait_for(lambda: int(rows().get("meter, steps read", 0)) >= 2 * CHUNK)
        assert rows()["move"].startswith(share)
        assert rows()["camera"].startswith(share)
        assert ("forward not seen" in rows()["fails"]) == (share == "0% of")
    finally:
        assert client.runner.stop(PATIENCE)
        meter.stop(PATIENCE)
        pygame.quit()


def test_a_reader_that_breaks_is_said_and_play_goes_on():
    def broken(frames):
        raise RuntimeError("no memory")

    meter = Meter(lambda: reader_of(broken))
    for picture in played(meter, FakeWorld(), script(3 * CHUNK)):
        meter.see(picture)
    wait_for(lambda: meter.error is not None)
    assert meter.lines() == ((("meter", "stopped: no memory"),),)


def test_frames_of_another_size_are_refused():
    world = FakeWorld(frame_shape=(48, 80))
    with pytest.raises(WorldModelError, match="--meter reads frames of 192x112, and those of fake are 80x48"):
        Meter(lambda: blind(world)).beside(lambda stage: world)(lambda stage: None)
    assert world.closed.is_set()


def test_a_folder_without_a_reader_is_one_sentence(tmp_path, capfd):
    with pytest.raises(CheckpointError, match="no-such"):
        load_idm(tmp_path / "no-such")
    assert cli.main(["play", "--headless", "--meter"]) == 2
    assert "--meter need a window" in capfd.readouterr().err
