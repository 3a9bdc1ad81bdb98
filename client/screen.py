"""The window's picture: the model's frame, the panel over it, key caps, help, and the picture while loading.

`View` holds everything that is shown; `Screen.draw` paints it. It knows pygame surfaces, not worlds or events.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import pygame

from client.caps import HEIGHT, key_caps
from client.timeline import Timeline
from worldmodel.types import Frame

WINDOW = (960, 560)  # five times nano's frame
_INK, _DIM, _ACCENT = (238, 241, 245), (160, 170, 182), (126, 211, 160)
_PANEL = (14, 18, 24, 170)
_CAP, _CAP_DOWN = (14, 18, 24, 140), (126, 211, 160, 235)
_CAP_EDGE = (255, 255, 255, 60)
_LARGE, _SMALL = 1.7, 1.0

PLAY_KEYS: tuple[tuple[str, str], ...] = (
    ("mouse, arrow keys", "look around"),
    ("click / Esc", "take the mouse and play / free it and pause"),
    ("Enter", "start again"),
    ("N", "start again with the next seed"),
    ("hold Backspace", "rewind; let go to play on from there"),
    ("B   H", "bookmark, go on from its picture"),
    ("drop a picture here", "go on from it"),
    ("[   ]", "previous, next start scene"),
    (".", "pause and go on"),
    (",", "one step while paused"),
    ("-   =", "temperature down, up"),
    ("Tab or F2", "panel on and off"),
    ("F11", "full screen"),
    ("F12", "save a picture"),
    ("R", "record, or end the recording"),
    ("Ctrl+Q", "quit (with the mouse free)"),
)
PLAY_HINT = "F1 help   Tab panel   Esc pause"


def game_keys(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Help on the game's own buttons. labels: game button -> the name of its key."""

    def keys(*buttons: str, between: str = ", ") -> str:
        return between.join(labels.get(button, "?") for button in buttons)

    return (
        (keys("forward", "left", "back", "right", between=" "), "walk"),
        (keys("jump", "sneak", "sprint"), "jump, sneak, sprint"),
        (keys("attack", "use", "pickItem"), "attack, use, pick"),
        (keys("drop", "swapHands", "inventory"), "drop, swap hands, inventory"),
        ("1..9, wheel", "hotbar"),
    )


@dataclass(frozen=True, slots=True)
class View:
    """What is shown. frame: None while loading; lines: the panel's rows, each of label-value pairs; lit: game buttons
    that are down; badge: a word on the state ("paused"); invitation: a line in the middle; toast: a passing message;
    hint: the keys to know; timeline: of a recording; caps: key caps are shown."""

    frame: Frame | None = None
    stage: str = ""
    elapsed: float = 0.0
    lines: tuple[tuple[tuple[str, str], ...], ...] = ()
    lit: frozenset[str] = frozenset()
    badge: str = ""
    invitation: str = ""
    toast: str = ""
    hint: str = PLAY_HINT
    timeline: Timeline | None = None
    hud: bool = True
    caps: bool = True
    help: bool = False


def fit(frame: tuple[int, int], window: tuple[int, int], integer: bool) -> tuple[int, int]:
    """Frame and window (width, height) -> the largest size of the frame's aspect inside the window.

    integer: whole multiples only, once the window is large enough for one.
    """
    scale = min(window[0] / frame[0], window[1] / frame[1])
    if integer and scale >= 1:
        scale = math.floor(scale)
    return max(1, round(frame[0] * scale)), max(1, round(frame[1] * scale))


class Screen:
    """A resizable window. smooth: bilinear upscale that fills the window; otherwise whole, sharp pixels.

    labels: game button -> the name of its key, for the key caps; keys: which keys do what, for the help.
    """

    def __init__(
        self,
        title: str,
        labels: Mapping[str, str],
        smooth: bool = True,
        size: tuple[int, int] = WINDOW,
        keys: tuple[tuple[str, str], ...] = PLAY_KEYS,
    ) -> None:
        self._labels, self._smooth, self._windowed, self._keys = labels, smooth, size, keys
        self._full, self._place = False, (0, 0)  # and where the window was before
        self.surface = pygame.display.set_mode(size, pygame.RESIZABLE)
        pygame.display.set_caption(title)
        self._bottom = size[1]  # of the window, or where the timeline begins
        self._fonts: dict[int, pygame.font.Font] = {}
        self._scaled: tuple[Frame, tuple[int, int], pygame.Surface] | None = None

    def resize(self, size: tuple[int, int]) -> None:
        """A new window size in pixels, unless the whole screen is in use."""
        self._windowed = size
        if not self._full:
            self.surface = pygame.display.set_mode(size, pygame.RESIZABLE)

    def resized(self) -> None:
        """The user has changed the window's size."""
        self.surface = pygame.display.get_surface() or self.surface
        if not self._full:
            self._windowed = self.surface.get_size()

    def toggle_full_screen(self) -> None:
        """Between the whole screen and the window as it was, where it was."""
        self._full = not self._full
        if self._full:
            self._place = pygame.display.get_window_position()
            if pygame.display.get_num_displays() == 1:
                pygame.display.set_window_position((0, 0))  # without a window manager, nobody else moves it there
            self.surface = pygame.display.set_mode((0, 0), pygame.FULLSCREEN)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # on X11 the first one leaves it as large as the screen
                pygame.display.set_mode(self._windowed, pygame.RESIZABLE)
            self.surface = pygame.display.set_mode(self._windowed, pygame.RESIZABLE)
            pygame.display.set_window_position(self._place)

    def draw(self, view: View) -> None:
        """Paints the view and shows it."""
        self.surface.fill((0, 0, 0))
        if view.frame is None:
            self._draw_loading(view)
        else:
            self._draw_frame(view.frame)
            self._bottom = self.surface.get_height()
            if view.timeline is not None:
                self._draw_timeline(view.timeline)
            if view.hud:
                self._draw_panel(view.lines)
                self._draw_hint(view.hint)
            if view.hud and view.caps:
                self._draw_caps(view.lit)
        if view.badge and view.frame is not None:
            self._draw_badge(view.badge)
        if view.toast and not view.help:
            self._draw_toast(view.toast)
        if view.help:
            self._draw_help()
        elif view.invitation and view.frame is not None:
            self._draw_centre(view.invitation)
        pygame.display.flip()

    # The text's size follows the window.
    def _unit(self) -> int:
        width, height = self.surface.get_size()
        return int(min(26, max(11, min(height / 38, width / 58))))

    def _text(self, text: str, colour: tuple[int, int, int], size: float = _SMALL) -> pygame.Surface:
        points = round(self._unit() * size)
        font = self._fonts.get(points)
        if font is None:
            font = self._fonts[points] = pygame.font.Font(None, round(points * 1.5))
        return font.render(text, True, colour)

    def _box(
        self, rect: pygame.Rect, fill: tuple[int, int, int, int], edge: tuple[int, int, int, int] | None = None
    ) -> None:
        layer = pygame.Surface(rect.size, pygame.SRCALPHA)
        radius = max(3, self._unit() // 3)
        pygame.draw.rect(layer, fill, layer.get_rect(), border_radius=radius)
        if edge is not None:
            pygame.draw.rect(layer, edge, layer.get_rect(), width=1, border_radius=radius)
        self.surface.blit(layer, rect)

    def _draw_frame(self, frame: Frame) -> None:
        window = self.surface.get_size()
        if self._scaled is None or self._scaled[0] is not frame or self._scaled[1] != window:
            picture = pygame.image.frombuffer(frame.tobytes(), (frame.shape[1], frame.shape[0]), "RGB")
            size = fit(picture.get_size(), window, not self._smooth)
            scale = pygame.transform.smoothscale if self._smooth else pygame.transform.scale
            # In the display's own format: 24-bit surfaces scale five times slower.
            self._scaled = (frame, window, scale(picture.convert(self.surface), size))
        picture = self._scaled[2]
        self.surface.blit(picture, picture.get_rect(center=self.surface.get_rect().center))

    def _draw_panel(self, lines: tuple[tuple[tuple[str, str], ...], ...]) -> None:
        unit = self._unit()
        rows: list[list[pygame.Surface]] = []
        for line in lines:
            row: list[pygame.Surface] = []
            for label, value in line:
                if label:
                    row.append(self._text(label + " ", _DIM))
                row.append(self._text(value + "   ", _INK))
            rows.append(row)
        if not rows:
            return
        high = max(part.get_height() for row in rows for part in row) + unit // 4
        wide = max(sum(part.get_width() for part in row) for row in rows)
        rect = pygame.Rect(unit, unit, wide + unit, high * len(rows) + unit)
        self._box(rect, _PANEL)
        for number, row in enumerate(rows):
            x, y = rect.x + unit * 3 // 4, rect.y + unit // 2 + unit // 8 + number * high
            for part in row:
                self.surface.blit(part, (x, y))
                x += part.get_width()

    def _draw_caps(self, lit: frozenset[str]) -> None:
        unit = self._unit()
        key = unit * 2
        bottom = self._bottom - unit - HEIGHT * key
        for cap in key_caps(lit, self._labels):
            rect = pygame.Rect(unit + round(cap.left * key), round(bottom + cap.top * key), round(cap.width * key), key)
            self._box(rect, _CAP_DOWN if cap.down else _CAP, _CAP_EDGE)
            label = self._text(cap.label, (10, 14, 18) if cap.down else _INK, 0.85)
            self.surface.blit(label, label.get_rect(center=rect.center))

    def bar(self) -> pygame.Rect:
        """Where the timeline's bar lies in the window."""
        width, height = self.surface.get_size()
        unit = self._unit()
        return pygame.Rect(unit, height - unit * 2, max(1, width - 2 * unit), max(3, unit // 2))

    def on_timeline(self, place: tuple[int, int]) -> bool:
        """Is this place in the window meant for the timeline? The bar is thin, so a bit beside it counts."""
        return place[1] >= self.bar().top - self._unit() * 2

    def _draw_timeline(self, timeline: Timeline) -> None:
        unit, bar = self._unit(), self.bar()
        self._bottom = bar.top - unit * 2
        text = self._text(timeline.clock(), _INK, 0.85)
        self._box(bar.inflate(unit, unit).union(text.get_rect(bottomleft=bar.topleft).inflate(unit, unit)), _PANEL)
        self.surface.blit(text, text.get_rect(bottomleft=(bar.left, bar.top - unit // 3)))
        pygame.draw.rect(self.surface, (70, 78, 90), bar)
        done = bar.copy()
        done.width = round(bar.width * timeline.share(timeline.position))
        pygame.draw.rect(self.surface, _ACCENT, done)
        for marks, colour in ((timeline.cuts, _DIM), (timeline.bookmarks, (250, 210, 90))):
            for mark in marks:
                x = bar.left + round(bar.width * timeline.share(mark))
                pygame.draw.rect(self.surface, colour, (x - 1, bar.top - unit // 4, 3, bar.height + unit // 2))
        pygame.draw.circle(self.surface, _INK, (done.right, bar.centery), max(3, unit // 2))

    def _draw_hint(self, hint: str) -> None:
        unit = self._unit()
        text = self._text(hint, _INK, 0.85)
        rect = text.get_rect(bottomright=(self.surface.get_width() - unit * 3 // 2, self._bottom - unit * 3 // 2))
        self._box(rect.inflate(unit, unit * 2 // 3), _PANEL)
        self.surface.blit(text, rect)

    def _draw_badge(self, badge: str) -> None:
        unit = self._unit()
        text = self._text(badge, _ACCENT)
        rect = text.get_rect(topright=(self.surface.get_width() - unit * 3 // 2, unit * 3 // 2))
        self._box(rect.inflate(unit, unit), _PANEL)
        self.surface.blit(text, rect)

    def _draw_centre(self, line: str) -> None:
        text = self._text(line, _INK, 1.25)
        rect = text.get_rect(center=self.surface.get_rect().center)
        self._box(rect.inflate(self._unit() * 3, self._unit() * 2), _PANEL)
        self.surface.blit(text, rect)

    def _draw_toast(self, line: str) -> None:
        unit = self._unit()
        text = self._text(line, _INK)
        rect = text.get_rect(midbottom=(self.surface.get_width() // 2, self._bottom - 8 * unit))
        self._box(rect.inflate(unit * 2, unit), _PANEL, (*_ACCENT, 160))
        self.surface.blit(text, rect)

    def _draw_help(self) -> None:
        unit = self._unit()
        rows = [(self._text(key, _ACCENT), self._text(what, _INK)) for key, what in self._keys]
        left = max(key.get_width() for key, _ in rows)
        right = max(what.get_width() for _, what in rows)
        high = rows[0][0].get_height() + unit // 3
        rect = pygame.Rect(0, 0, left + right + 5 * unit, high * len(rows) + 2 * unit)
        rect.center = self.surface.get_rect().center
        self._box(rect, (14, 18, 24, 225), _CAP_EDGE)
        for number, (key, what) in enumerate(rows):
            y = rect.y + unit + unit // 8 + number * high
            self.surface.blit(key, (rect.x + unit * 3 // 2 + left - key.get_width(), y))
            self.surface.blit(what, (rect.x + unit * 3 + left, y))

    def _draw_loading(self, view: View) -> None:
        width, height = self.surface.get_size()
        for y in range(0, height, 4):
            share = y / height
            colour = (round(20 + 12 * share), round(28 + 26 * share), round(40 + 18 * share))
            self.surface.fill(colour, (0, y, width, 4))
        unit = self._unit()
        title = self._text("loading the world" + "." * (1 + int(view.elapsed * 2) % 3), _INK, _LARGE)
        # The dots move; the words stand still.
        still = self._text("loading the world...", _INK, _LARGE).get_rect(center=(width // 2, height // 2 - unit))
        self.surface.blit(title, still)
        stage = self._text(f"{view.stage}   {view.elapsed:.0f} s", _DIM)
        self.surface.blit(stage, stage.get_rect(center=(width // 2, height // 2 + 2 * unit)))
