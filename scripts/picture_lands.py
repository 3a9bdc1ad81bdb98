"""Draws the picture of the real game's lands: a row a land, four headings from where one begins.

python scripts/picture_lands.py [--out worldmodel/games/luanti/lands.png] [--seed 3]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from worldmodel.games.luanti.display import Display
from worldmodel.games.luanti.game import LuantiGame
from worldmodel.games.luanti.presets import LANDS
from worldmodel.games.luanti.world import derive_map_seed, reduce_frame
from worldmodel.script import main_with_errors

HEADINGS = 4
SHOWN = 112, 192  # pixels: as nano sees it
PITCH = 6.0  # degrees down


@dataclass(frozen=True)
class Arguments:
    """What is drawn."""

    out: Path = Path("worldmodel/games/luanti/lands.png")
    """The picture."""
    lands: tuple[str, ...] = tuple(land for land in LANDS if land != "mixed")
    """Names of presets."""
    seed: int = 3
    """Of the lands."""


def main(args: Arguments) -> None:
    rows = []
    with Display() as display:
        for land in args.lands:
            seed = derive_map_seed("picture", args.seed, land)
            with LuantiGame.start(display.name, map_seed=seed, preset=land) as game:
                frames = []
                for turn in range(HEADINGS):
                    game.look(0 if turn == 0 else 360 / HEADINGS, PITCH)
                    frames.append(reduce_frame(game.frame, *SHOWN))
                rows.append(np.concatenate(frames, 1))
    Image.fromarray(np.concatenate(rows)).save(args.out, optimize=True)


if __name__ == "__main__":
    main_with_errors(main, Arguments)
