"""The window on a recording, driven by made-up events on a fake recording."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from fakes import FakePlayback

os.environ["SDL_VIDEODRIVER"] = "dummy"
pygame = pytest.importorskip("pygame")

from played import Played, key  # noqa: E402

from client.sessions.timeline import Timeline, timeline_of  # noqa: E402
from client.window.replay_window import ReplayClient  # noqa: E402
from recordings.format import Marker  # noqa: E402
from recordings.reader import Session  # noqa: E402

LENGTH = 60
TIMELINE = Timeline(LENGTH, 10.0, bookmarks=(5, 20, 41), cuts=(30,))


@pytest.fixture
def p():
    world = FakePlayback(LENGTH)

    def make(factory, options):
        return ReplayClient(factory, options, world.actions, TIMELINE, ((("", "s.wms"),),), Path("s.wms"))

    played = Played(world, make_client=make)
    yield played
    played.close()
    pygame.quit()


def pause(p):
    p.press("Space")
    p.settle()
    assert p.client.paused


def click(p, share, kind=None, dy=0):
    bar = p.client.screen.bar()
    place = (bar.left + round(share * bar.width), bar.centery + dy)
    values = (
        {"pos": place, "rel": (0, 0), "buttons": (1, 0, 0)}
        if kind == pygame.MOUSEMOTION
        else {"pos": place, "button": 1}
    )
    p.client.handle(pygame.Event(kind or pygame.MOUSEBUTTONDOWN, **values))


def test_it_plays_by_itself_and_stands_still_at_the_end(p):
    p.press("=")
    p.press("=")
    p.press("=")
    assert p.client.timeline.speed == 8
    p.until(lambda: p.index() == LENGTH)
    p.settle()
    assert p.client.paused
    assert not p.client.state.finished
    assert not p.client.grabbed
    assert p.world.shown == sorted(p.world.shown)
    p.press("Space")  # again, from the beginning
    p.until(lambda: 0 < p.index() < LENGTH)


def test_seeking(p):
    pause(p)
    for name, there in (("Home", 0), ("Right", 10), ("Right", 20), ("Left", 10), (".", 11), (",", 10), ("End", LENGTH)):
        p.press(name)
        p.until(lambda there=there: p.index() == there)
    for name in (".", "Right"):
        p.press(name)
    p.settle()
    assert p.index() == LENGTH  # and no further
    assert p.client.state.picture.action == p.world.actions[-1]


def test_several_presses_add_up_before_the_first_is_done(p):
    pause(p)
    p.press("Home")
    for _ in range(4):
        p.press("Right")
    p.until(lambda: p.index() == 40)


def test_bookmarks(p):
    pause(p)
    p.press("Home")
    for name, there in (("]", 5), ("]", 20), ("]", 41), ("[", 20), ("[", 5)):
        p.press(name)
        p.until(lambda there=there: p.index() == there)
    p.press("[")
    assert "no earlier bookmark" in p.client.toast


def test_dragging_on_the_bar_and_a_click_on_the_picture(p):
    p.until(lambda: p.index() > 1)
    click(p, 0.5)
    p.until(lambda: p.index() == LENGTH // 2)
    for share in (0.6, 0.7, 0.25):
        click(p, share, pygame.MOUSEMOTION)
    p.until(lambda: p.index() == LENGTH // 4)
    p.settle()
    assert p.index() == LENGTH // 4  # it waits while the mouse is down
    click(p, 0.25, pygame.MOUSEBUTTONUP)
    p.until(lambda: p.index() > LENGTH // 4 + 1)  # and goes on
    click(p, 0.5, dy=-200)
    p.settle()
    assert p.client.paused


def test_what_is_shown(p):
    pause(p)
    p.press("End")
    p.until(lambda: p.index() == LENGTH)
    view = p.client.view()
    assert view.lit == p.world.actions[-1].buttons
    assert view.timeline.clock() == "0:06 / 0:06   step 60 of 60"
    assert view.caps
    p.press("K")
    assert not p.client.view().caps
    p.press("P")
    assert p.client.toast == "worldmodel play --resume s.wms@59"
    assert not view.invitation


def test_the_help_is_on_replays(p):
    p.press("F1")
    assert p.client.view().help
    shown = dict(p.client.screen.keys)
    assert shown["K"] == "keys on and off"
    assert "walk" not in shown.values()


def test_rewinding_while_the_key_is_held(p):
    p.until(lambda: p.index() > 12)
    p.client.handle(key("Backspace"))
    p.until(lambda: p.index() <= 5)
    p.client.handle(key("Backspace", down=False))
    p.until(lambda: not p.client.rewinding and p.index() > 6)


def test_the_timeline_of_a_session():
    markers = tuple(Marker(kind, index, 0.0) for kind, index in (("reset", 0), ("bookmark", 3), ("branch", 7)))
    timeline = timeline_of(Session(SimpleNamespace(tick_rate=10.0), (None,) * 9, markers, 0, True))
    assert (timeline.length, timeline.bookmarks, timeline.cuts) == (9, (3,), (7,))
    assert [timeline.at(share) for share in (-1, 0, 0.5, 2)] == [0, 0, 4, 9]
    assert timeline.faster(-1) == 0.5
