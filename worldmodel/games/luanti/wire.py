"""shim.c's wire format: the controls of a tick go to the game, the head of a frame comes back."""

from __future__ import annotations

import struct

from worldmodel.games.luanti.controls import KEYSYMS, WHEEL_DOWN, WHEEL_UP, X_BUTTONS, Controls

REQUEST = struct.Struct("=Iiii")
INPUT = struct.Struct("=II")
REPLY = struct.Struct("=IIQ")
KEY_UP, KEY_DOWN, BUTTON_UP, BUTTON_DOWN = range(4)
SOCKET_BUFFER = 1 << 20


def request(before: Controls, controls: Controls, seconds: float) -> bytes:
    """A tick of so many seconds of game time. before: the controls of the last one."""
    events = [(KEY_UP, KEYSYMS[key]) for key in sorted(before.keys - controls.keys)]
    events += [(KEY_DOWN, KEYSYMS[key]) for key in sorted(controls.keys - before.keys)]
    events += [(BUTTON_UP, X_BUTTONS[button]) for button in sorted(before.mouse - controls.mouse)]
    events += [(BUTTON_DOWN, X_BUTTONS[button]) for button in sorted(controls.mouse - before.mouse)]
    if controls.wheel:
        click = WHEEL_UP if controls.wheel > 0 else WHEEL_DOWN
        events += [(BUTTON_DOWN, click), (BUTTON_UP, click)]
    header = REQUEST.pack(round(seconds * 1e6), controls.dx, controls.dy, len(events))
    return header + b"".join(INPUT.pack(*event) for event in events)
