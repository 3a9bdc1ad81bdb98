"""What the window shows, and where: nothing lies over the game's own bars or over another thing."""

from __future__ import annotations

import os
from itertools import combinations

import numpy as np
import pytest

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
pygame = pytest.importorskip("pygame")

from client.play.bindings import DEFAULT_BINDINGS, key_labels, table_of  # noqa: E402
from client.play.keys import PLAY, REPLAY, REPLAY_HINT, game_keys, help_lines  # noqa: E402
from client.sessions.timeline import Timeline  # noqa: E402
from client.window.screen import WINDOW, Screen  # noqa: E402
from client.window.view import View  # noqa: E402
from worldmodel.data.hud import HUDS  # noqa: E402

SIZES = (WINDOW, (1920, 1080), (3440, 1440), (1600, 560), (640, 700), (480, 280), (384, 224), (200, 150), (40, 30))
LABELS = key_labels(table_of(DEFAULT_BINDINGS))
FRAME = np.random.default_rng(0).integers(0, 255, (112, 192, 3), dtype=np.uint8)
PANEL = (
    (("rec", "session-20261126-033000.wms 1234 KiB"), ("", "nano"), ("start", "3 of 10"), ("frame", "123456")),
    (("", "10.0 fps"), ("latency", "57 / 65 ms"), ("dropped", "0")),
    (("context", "6/6"), ("temperature", "0.9"), ("top-p", "0.8"), ("guidance", "1")),
)
METER = ((("meter, steps read", "100"), ("move", "67% of 3")), (("missed", "forward 1x, jump 1x, yaw 1x"),))
BAR = Timeline(300, 10.0, (30, 200), (100,), 120)
LONG = "recording stopped: the disk is full, 28 of 60 steps kept in /home/somebody/sessions/session-20261126.wms"
VIEWS = {
    "play": View(FRAME, lines=PANEL, lit=frozenset({"forward", "drop", "hotbar.3", "ESC"})),
    "meter": View(FRAME, lines=PANEL + METER),
    "paused": View(FRAME, lines=PANEL, badge="paused", invitation="click to play", toast="saved picture.png"),
    "said": View(FRAME, lines=PANEL, badge="rewinding", toast=LONG),
    "help": View(FRAME, lines=PANEL, badge="paused", help=True, invitation="click to play"),
    "replay": View(FRAME, lines=PANEL, timeline=BAR, hint=REPLAY_HINT, badge="paused", toast="no later bookmark"),
    "side by side": View(np.hstack([FRAME, FRAME]), lines=PANEL, timeline=BAR, hint=REPLAY_HINT),
    "help of a replay": View(FRAME, lines=PANEL, timeline=BAR, help=True),
}


@pytest.fixture
def screen_of():
    pygame.display.init()
    pygame.font.init()

    def make(size, name="play", smooth=True):
        keys = help_lines(REPLAY) if "replay" in name else (*game_keys(LABELS), *help_lines(PLAY))
        return Screen("test", LABELS, smooth, size, keys)

    yield make
    pygame.quit()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("smooth", [True, False])
def test_nothing_covers_the_games_bars_or_another_thing(screen_of, size, name, smooth):
    screen = screen_of(size, name, smooth)
    screen.draw(VIEWS[name])
    window = screen.surface.get_rect()
    assert all(window.contains(rect) for rect in screen.placed.values()), screen.placed
    for (one, here), (other, there) in combinations(screen.placed.items(), 2):
        assert not here.colliderect(there), (one, here, other, there)


@pytest.mark.parametrize("name", VIEWS)
def test_all_is_shown_in_the_usual_window(screen_of, name):
    screen, view = screen_of(WINDOW, name), VIEWS[name]
    screen.draw(view)
    wanted = {"bars"} | ({"timeline"} if view.timeline else set()) | ({"badge"} if view.badge else set())
    if view.help:
        wanted |= {"help"}
    else:
        wanted |= {"panel", "hint", "caps"} | {part for part in ("toast", "invitation") if getattr(view, part)}
    assert screen.placed.keys() == wanted


@pytest.mark.parametrize("name", VIEWS)
def test_the_hotbar_is_seen_whole(screen_of, name):
    screen = screen_of(WINDOW, name)
    view = VIEWS[name]
    screen.draw(view)
    shown = pygame.surfarray.array3d(screen.surface).swapaxes(0, 1)
    screen.draw(View(view.frame, timeline=view.timeline, hud=False))
    bare = pygame.surfarray.array3d(screen.surface).swapaxes(0, 1)
    bars = screen.placed["bars"]
    height = round(bars.height / (1 - HUDS["luanti"]["hotbar"].top))  # of the picture
    top = bars.bottom - height
    rows, _ = HUDS["luanti"]["hotbar"].slices(height, bars.width)
    part = np.s_[top + rows.start + 1 : top + rows.stop, bars.left : bars.right]
    assert shown[part].size
    assert (shown[part] == bare[part]).all()
    assert (shown != bare).any()


def test_help_while_loading_covers_nothing(screen_of):
    for size in SIZES:
        screen = screen_of(size)
        screen.draw(View(stage="loading nano", help=True))
        placed = list(screen.placed.values())
        assert not any(one.colliderect(other) for one, other in combinations(placed, 2))
    screen = screen_of(WINDOW)
    screen.draw(View(stage="loading nano", help=True))
    assert screen.placed.keys() == {"help", "loading"}
