"""Record random play of a real game as training clips in the VPT contractor format.

For ViZDoom, MineRL and Gymnasium environments (Luanti has a player of its own: worldmodel record). By hand:
worldmodel play --world GAME --clips FOLDER.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from worldmodel.games import LISTED, game_of, make_game
from worldmodel.games.clip_recorder import record_clips
from worldmodel.settings import check_least
from worldmodel.types import WorldModelError


@dataclass(frozen=True)
class Arguments:
    """What is recorded."""

    world: str
    """The game: "vizdoom[:SCENARIO]", "minerl[:ENV_ID]", "gym:ENV_ID" or "luanti[:LAND]"."""
    out: Path
    """Folder of the clips; those that are there already are left alone."""
    clips: int = 4
    """How many clips."""
    frames: int = 600
    """Steps of each, if the game does not end before."""
    seed: int = 0
    """Of the first clip; the others have the next ones."""
    height: int = 224
    """Height of the frames in pixels."""
    width: int = 384
    """Width of the frames in pixels."""


def main(args: Arguments) -> None:
    check_least(1, clips=args.clips, frames=args.frames, height=args.height, width=args.width)
    found = game_of(args.world)
    if found is None:
        raise WorldModelError(f"no game {args.world!r}; known are {LISTED}")
    world = make_game(args.world, (args.height, args.width))
    try:
        for path in record_clips(world, args.out, args.clips, args.frames, args.seed, found[0]):
            print(path)
    finally:
        world.close()
    print(f"clips of {world.name} in {args.out}", file=sys.stderr)
