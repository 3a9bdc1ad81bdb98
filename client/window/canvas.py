"""The window's surface: its size, text and boxes that grow with it, and which places are taken.

`Screen` paints on it. It knows pygame surfaces, not what is shown.
"""

from __future__ import annotations

import warnings

import pygame

from client.window.layout import settle

INK, DIM, ACCENT = (238, 241, 245), (160, 170, 182), (126, 211, 160)
PANEL = (14, 18, 24, 170)
SMALL = 1.0


class Canvas:
    """A resizable window, and what has been placed in it since the last picture."""

    def __init__(self, title: str, size: tuple[int, int]) -> None:
        self._windowed = size
        self._full, self._corner = False, (0, 0)  # and where the window was before
        self.surface = pygame.display.set_mode(size, pygame.RESIZABLE)
        pygame.display.set_caption(title)
        self.placed: dict[str, pygame.Rect] = {}  # what was drawn last, and where
        self._fonts: dict[int, pygame.font.Font] = {}

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
            self._corner = pygame.display.get_window_position()
            if pygame.display.get_num_displays() == 1:
                pygame.display.set_window_position((0, 0))  # without a window manager, nobody else moves it there
            self.surface = pygame.display.set_mode((0, 0), pygame.FULLSCREEN)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # on X11 the first one leaves it as large as the screen
                pygame.display.set_mode(self._windowed, pygame.RESIZABLE)
            self.surface = pygame.display.set_mode(self._windowed, pygame.RESIZABLE)
            pygame.display.set_window_position(self._corner)

    def _place(self, name: str, rect: pygame.Rect, up: bool = True) -> pygame.Rect | None:
        """A place for a thing, at `rect` or above (below) it; None if there is none. It is taken from then on."""
        found = settle(rect, tuple(self.placed.values()), self.surface.get_rect(), self._unit() // 2, up)
        if found is not None:
            self.placed[name] = found
        return found

    # The text's size follows the window.
    def _unit(self) -> int:
        width, height = self.surface.get_size()
        return int(min(26, max(11, min(height / 38, width / 58))))

    def _text(
        self, text: str, colour: tuple[int, int, int], size: float = SMALL, wrap: int | None = None
    ) -> pygame.Surface:
        """wrap: pixels that a line may be wide, if it is to be broken."""
        points = round(self._unit() * size)
        font = self._fonts.get(points)
        if font is None:
            font = self._fonts[points] = pygame.font.Font(None, round(points * 1.5))
        return font.render(text, True, colour, wraplength=0 if wrap is None else max(1, wrap))

    def _box(
        self, rect: pygame.Rect, fill: tuple[int, int, int, int], edge: tuple[int, int, int, int] | None = None
    ) -> None:
        layer = pygame.Surface(rect.size, pygame.SRCALPHA)
        radius = max(3, self._unit() // 3)
        pygame.draw.rect(layer, fill, layer.get_rect(), border_radius=radius)
        if edge is not None:
            pygame.draw.rect(layer, edge, layer.get_rect(), width=1, border_radius=radius)
        self.surface.blit(layer, rect)

    def _draw_box(
        self,
        name: str,
        rect: pygame.Rect,
        text: pygame.Surface,
        up: bool = True,
        edge: tuple[int, int, int, int] | None = None,
    ) -> None:
        """Text in a box, if there is a place for it."""
        place = self._place(name, rect, up)
        if place is not None:
            self._box(place, PANEL, edge)
            self.surface.blit(text, text.get_rect(center=place.center))
