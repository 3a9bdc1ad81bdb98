"""Real games as Worlds, by name: "luanti[:LAND]", "vizdoom[:SCENARIO]", "minerl[:ENV_ID]", "gym:ENV_ID".

A game's own library is imported when the game is asked for. How to bring a game of your own: README.md.
"""

from __future__ import annotations

from worldmodel.games.luanti.presets import GAME, land_of
from worldmodel.types import World, WorldModelError

NAMES = {GAME: "LAND", "vizdoom": "SCENARIO", "minerl": "ENV_ID", "gym": "ENV_ID"}
PLAYED_FRAME = (224, 384)  # height, width that a real game is played at
LISTED = '"luanti", "vizdoom", "minerl", "gym:ENV_ID"'


def game_of(world: str) -> tuple[str, str] | None:
    """A world's name -> the game and what follows its colon ("" without); None for a world that is no real game.

    WorldModelError for a land of Luanti's that there is not.
    """
    name, _, detail = world.partition(":")
    if name not in NAMES:
        return None
    return (name, land_of(world) or "") if name == GAME else (name, detail)


def make_game(world: str, frame_shape: tuple[int, int]) -> World:
    """The game of that name, with frames of (height, width). WorldModelError where it is not installed."""
    found = game_of(world)
    if found is None:
        raise WorldModelError(f"no game {world!r}; known are {LISTED}")
    name, detail = found
    if name == GAME:
        from worldmodel.games.luanti.options import GameOptions
        from worldmodel.games.luanti.world import LuantiWorld

        return LuantiWorld(frame_shape, options=GameOptions(preset=detail))
    if name == "vizdoom":
        from worldmodel.games.vizdoom import VizdoomWorld

        return VizdoomWorld(detail or "deathmatch", frame_shape)
    if name == "minerl":
        from worldmodel.games.minerl import MineRLWorld, make_env

        env_id = detail or "MineRLHumanSurvival-v0"
        return MineRLWorld(make_env(env_id), env_id, frame_shape)
    from worldmodel.games.gymnasium_world import GymnasiumWorld, make_env

    return GymnasiumWorld(make_env(detail), frame_shape=frame_shape)
