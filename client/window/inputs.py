"""pygame's events as the controls' events."""

from __future__ import annotations

import pygame
from pygame._sdl2 import controller

from client.play.bindings import MOUSE_KEYS, PAD_KEYS, key_name
from client.play.controls import Axis, Event, Motion, Press, Release, Wheel

_PRINTED = frozenset("-=[],.")  # signs that the client's keys are known by, beside the letters
_AXES = ("left x", "left y", "right x", "right y", "left trigger", "right trigger")  # in SDL's order


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


def translate(event: pygame.Event) -> Event | None:
    """pygame's event -> the controls' event; None for one that is not a game input."""
    kind = event.type
    if kind in (pygame.KEYDOWN, pygame.KEYUP):
        name = key_name(event.scancode)
        return None if name is None else (Press(name) if kind == pygame.KEYDOWN else Release(name))
    if kind in (pygame.MOUSEBUTTONDOWN, pygame.MOUSEBUTTONUP):
        name = MOUSE_KEYS.get(event.button)
        return None if name is None else (Press(name) if kind == pygame.MOUSEBUTTONDOWN else Release(name))
    if kind == pygame.MOUSEMOTION:
        return Motion(*event.rel)
    if kind == pygame.MOUSEWHEEL:
        return Wheel(event.y)
    if kind in (pygame.CONTROLLERBUTTONDOWN, pygame.CONTROLLERBUTTONUP) and 0 <= event.button < len(PAD_KEYS):
        name = PAD_KEYS[event.button]
        return Press(name) if kind == pygame.CONTROLLERBUTTONDOWN else Release(name)
    if kind == pygame.CONTROLLERAXISMOTION and 0 <= event.axis < len(_AXES):
        return Axis(_AXES[event.axis], max(-1.0, event.value / 32767))
    return None


def shortcut_name(event: pygame.Event) -> str | None:
    """The name of a client's key, of a KEYDOWN: what is printed on it, where that is a Latin letter or one of the
    client's signs; else its place. On a French keyboard, Q is where a US one has A."""
    printed = chr(event.key) if event.key < 128 else ""
    if printed.isalpha():
        return printed.upper()
    return printed if printed in _PRINTED else key_name(event.scancode)
