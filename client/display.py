"""Whether a window can be opened here: known before pygame is imported."""

from __future__ import annotations

import os
import sys

from worldmodel.types import WorldModelError


def check_display(instead: str) -> None:
    """WorldModelError where no window can be opened. instead: what to do there."""
    if sys.platform.startswith("linux") and not any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    ):
        raise WorldModelError(f"there is no display to open a window on; {instead}")
