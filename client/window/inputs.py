"""What both windows know of pygame's inputs: gamepads, and the names of the client's own keys."""

from __future__ import annotations

import pygame
from pygame._sdl2 import controller

from client.play.bindings import key_name

_PRINTED = frozenset("-=[],.")  # signs that the client's keys are known by, beside the letters


class Pads:
    """The gamepads that are plugged in: one sends events as long as it is kept."""

    def __init__(self) -> None:
        self._kept: list[controller.Controller] = []

    def add(self, index: int) -> bool:
        """False if it is gone again."""
        try:
            self._kept.append(controller.Controller(index))
        except pygame.error:
            return False
        return True

    def drop(self) -> None:
        """Forgets those that are gone."""
        self._kept = [pad for pad in self._kept if pad.attached()]


def shortcut_name(event: pygame.Event) -> str | None:
    """The name of a client's key, of a KEYDOWN: what is printed on it, where that is a Latin letter or one of the
    client's signs; else its place. On a French keyboard, Q is where a US one has A."""
    printed = chr(event.key) if event.key < 128 else ""
    if printed.isalpha():
        return printed.upper()
    return printed if printed in _PRINTED else key_name(event.scancode)
