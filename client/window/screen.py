"""The window's picture: the model's frame, the panel over it, key caps, help, and the picture while loading.

`Screen.draw` paints a `View`, each thing where `layout` finds a place for it. It knows pygame surfaces, not worlds or
events.
"""

from __future__ import annotations

from collections.abc import Mapping

import pygame

from client.play.caps import HEIGHT, key_caps
from client.play.keys import PLAY, help_lines
from client.sessions.timeline import Timeline
from client.window.canvas import ACCENT, DIM, INK, PANEL, Canvas
from client.window.layout import bars_of, fit
from client.window.view import View
from worldmodel.types import Frame

WINDOW = (960, 560)  # five times nano's frame
_CAP, _CAP_DOWN = (14, 18, 24, 140), (126, 211, 160, 235)
_CAP_EDGE = (255, 255, 255, 60)
_LARGE = 1.7
_HELP_SIZES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)  # the largest that fits is taken


class Screen(Canvas):
    """Paints views. smooth: bilinear upscale that fills the window; otherwise whole, sharp pixels.

    labels: game button -> the name of its key, for the key caps; keys: which keys do what, for the help.
    """

    def __init__(
        self,
        title: str,
        labels: Mapping[str, str],
        smooth: bool = True,
        size: tuple[int, int] = WINDOW,
        keys: tuple[tuple[str, str], ...] = help_lines(PLAY),
    ) -> None:
        super().__init__(title, size)
        self._labels, self._smooth, self.keys = labels, smooth, keys
        self._scaled: tuple[Frame, tuple[int, int], pygame.Surface] | None = None

    def draw(self, view: View) -> None:
        """Paints the view and shows it. What comes first finds its place first."""
        self.surface.fill((0, 0, 0))
        self.placed = {}
        if view.frame is None:
            self._draw_loading(view)
        else:
            if view.timeline is not None:
                self._draw_timeline(view.timeline)
            self._draw_frame(view.frame)
            self._draw_over(view)
        pygame.display.flip()

    def _draw_over(self, view: View) -> None:
        """What lies over the game's picture."""
        if view.help:
            self._draw_help(view.note)
        elif view.invitation:
            self._draw_invitation(view.invitation)
        if view.badge:
            self._draw_badge(view.badge)
        if view.help:
            return
        if view.hud:
            self._draw_panel(view.lines)
        if view.toast:
            self._draw_toast(view.toast)
        if view.hud:
            self._draw_hint(view.hint)
        if view.hud and view.caps:
            self._draw_caps(view.lit)

    def _draw_frame(self, frame: Frame) -> None:
        """In the middle of the window, or of what the timeline leaves of it."""
        window = self.surface.get_rect()
        if "timeline" in self.placed:
            window.height = self.placed["timeline"].top
        if not window.height:
            return
        if self._scaled is None or self._scaled[0] is not frame or self._scaled[1] != window.size:
            picture = pygame.image.frombuffer(frame.tobytes(), (frame.shape[1], frame.shape[0]), "RGB")
            size = fit(picture.get_size(), window.size, not self._smooth)
            scale = pygame.transform.smoothscale if self._smooth else pygame.transform.scale
            # In the display's own format: 24-bit surfaces scale five times slower.
            self._scaled = (frame, window.size, scale(picture.convert(self.surface), size))
        picture = self._scaled[2]
        rect = picture.get_rect(center=window.center)
        self.surface.blit(picture, rect)
        self.placed["bars"] = bars_of(rect)

    def _draw_panel(self, lines: tuple[tuple[tuple[str, str], ...], ...]) -> None:
        unit, window = self._unit(), self.surface.get_rect()
        badge = self.placed.get("badge")
        room = (window.right if badge is None else badge.left) - 3 * unit
        rows: list[list[pygame.Surface]] = []
        for line in lines:
            width = room + 1
            for label, value in line:
                pair = [self._text(label + " ", DIM)] if label else []
                pair.append(self._text(value + "   ", INK))
                width += sum(part.get_width() for part in pair)
                if width > room:  # a row of its own
                    rows.append([])
                    width = sum(part.get_width() for part in pair)
                rows[-1].extend(pair)
        taken = tuple(self.placed.values())
        while rows:
            high = max(part.get_height() for row in rows for part in row) + unit // 4
            wide = min(room, max(sum(part.get_width() for part in row) for row in rows))
            rect = pygame.Rect(unit, unit, wide + unit, high * len(rows) + unit)
            if window.contains(rect) and rect.collidelist(taken) < 0:
                break
            rows.pop()
        else:
            return
        self.placed["panel"] = rect
        self._box(rect, PANEL)
        self.surface.set_clip(rect)
        for number, row in enumerate(rows):
            x, y = rect.x + unit * 3 // 4, rect.y + unit // 2 + unit // 8 + number * high
            for part in row:
                self.surface.blit(part, (x, y))
                x += part.get_width()
        self.surface.set_clip(None)

    def _draw_caps(self, lit: frozenset[str]) -> None:
        unit = self._unit()
        key = unit * 2
        caps = key_caps(lit, self._labels)
        size = (round(max(cap.left + cap.width for cap in caps) * key), round(HEIGHT * key))
        place = self._place("caps", pygame.Rect((unit, self._bottom() - unit - size[1]), size))
        if place is None:
            return
        for cap in caps:
            left, top = place.left + round(cap.left * key), place.top + round(cap.top * key)
            rect = pygame.Rect(left, top, round(cap.width * key), key)
            self._box(rect, _CAP_DOWN if cap.down else _CAP, _CAP_EDGE)
            label = self._text(cap.label, (10, 14, 18) if cap.down else INK, 0.85)
            self.surface.blit(label, label.get_rect(center=rect.center))

    def _bottom(self) -> int:
        """Of the window, or where the timeline begins."""
        return self.placed["timeline"].top if "timeline" in self.placed else self.surface.get_height()

    def bar(self) -> pygame.Rect:
        """Where the timeline's bar lies in the window."""
        width, height = self.surface.get_size()
        unit = self._unit()
        return pygame.Rect(unit, height - unit * 2, max(1, width - 2 * unit), max(3, unit // 2))

    def on_timeline(self, place: tuple[int, int]) -> bool:
        """Is this place in the window meant for the timeline? The bar is thin, so all of its strip counts."""
        return place[1] >= self._strip().top

    def _strip(self) -> pygame.Rect:
        """The timeline's part of the window: the game's picture lies above it."""
        width, height = self.surface.get_size()
        top = max(0, self.bar().top - self._unit() * 2)
        return pygame.Rect(0, top, width, height - top)

    def _draw_timeline(self, timeline: Timeline) -> None:
        unit, bar = self._unit(), self.bar()
        self.placed["timeline"] = self._strip()
        text = self._text(timeline.clock(), INK, 0.85)
        self.surface.blit(text, text.get_rect(bottomleft=(bar.left, bar.top - unit // 3)))
        pygame.draw.rect(self.surface, (70, 78, 90), bar)
        done = bar.copy()
        done.width = round(bar.width * timeline.share(timeline.position))
        pygame.draw.rect(self.surface, ACCENT, done)
        for marks, colour in ((timeline.cuts, DIM), (timeline.bookmarks, (250, 210, 90))):
            for mark in marks:
                x = bar.left + round(bar.width * timeline.share(mark))
                pygame.draw.rect(self.surface, colour, (x - 1, bar.top - unit // 4, 3, bar.height + unit // 2))
        pygame.draw.circle(self.surface, INK, (done.right, bar.centery), max(3, unit // 2))

    def _draw_hint(self, hint: str) -> None:
        unit, width = self._unit(), self.surface.get_width()
        text = self._text(hint, INK, 0.85)
        rect = text.get_rect().inflate(unit, unit * 2 // 3)
        rect.bottomright = (width - unit, self._bottom() - unit)
        self._draw_box("hint", rect, text)

    def _draw_badge(self, badge: str) -> None:
        unit = self._unit()
        text = self._text(badge, ACCENT)
        rect = text.get_rect().inflate(unit, unit)
        rect.topright = (self.surface.get_width() - unit, unit)
        self._draw_box("badge", rect, text, up=False)

    def _draw_invitation(self, line: str) -> None:
        text = self._text(line, INK, 1.25)
        rect = text.get_rect().inflate(self._unit() * 3, self._unit() * 2)
        rect.center = self.surface.get_rect().center
        self._draw_box("invitation", rect, text)

    def _draw_toast(self, line: str) -> None:
        unit, width = self._unit(), self.surface.get_width()
        text = self._text(line, INK, wrap=width - 4 * unit)
        rect = text.get_rect().inflate(unit * 2, unit)
        rect.midbottom = (width // 2, self._bottom() - 8 * unit)
        self._draw_box("toast", rect, text, edge=(*ACCENT, 160))

    def _draw_help(self, note: str) -> None:
        """In the middle of what is free above the game's bars, as large as fits there."""
        free = self.surface.get_rect()
        free.height = min((place.top for place in self.placed.values()), default=free.height)
        for size in _HELP_SIZES:
            unit = round(self._unit() * size)
            rows = [(self._text(key, ACCENT, size), self._text(what, INK, size)) for key, what in self.keys]
            last = self._text(note, DIM, size)
            left = max(key.get_width() for key, _ in rows)
            right = max(what.get_width() for _, what in rows)
            high = last.get_height() + unit // 3
            rect = pygame.Rect(0, 0, left + right + 5 * unit, high * (len(rows) + 1) + 2 * unit)
            rect.center = free.center
            if free.contains(rect):
                break
        else:
            return
        self.placed["help"] = rect
        self._box(rect, (14, 18, 24, 225), _CAP_EDGE)
        top = rect.y + unit + unit // 8
        for number, (key, what) in enumerate(rows):
            y = top + number * high
            self.surface.blit(key, (rect.x + unit * 3 // 2 + left - key.get_width(), y))
            self.surface.blit(what, (rect.x + unit * 3 + left, y))
        self.surface.blit(last, last.get_rect(midtop=(rect.centerx, top + len(rows) * high)))

    def _draw_loading(self, view: View) -> None:
        width, height = self.surface.get_size()
        for y in range(0, height, 4):
            share = y / height
            colour = (round(20 + 12 * share), round(28 + 26 * share), round(40 + 18 * share))
            self.surface.fill(colour, (0, y, width, 4))
        unit = self._unit()
        if view.help:
            stage = self._text(f"loading the world: {view.stage}   {view.elapsed:.0f} s", DIM)
            self.placed["loading"] = stage.get_rect(midbottom=(width // 2, height - unit))
            self.surface.blit(stage, self.placed["loading"])
            self._draw_help(view.note)
            return
        title = self._text("loading the world" + "." * (1 + int(view.elapsed * 2) % 3), INK, _LARGE)
        # The dots move; the words stand still.
        still = self._text("loading the world...", INK, _LARGE).get_rect(center=(width // 2, height // 2 - unit))
        self.surface.blit(title, still)
        stage = self._text(f"{view.stage}   {view.elapsed:.0f} s", DIM)
        self.surface.blit(stage, stage.get_rect(center=(width // 2, height // 2 + 2 * unit)))
