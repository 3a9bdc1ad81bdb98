"""Our worlds under Gymnasium's ids: `gymnasium.make("worldmodel/nano-v0")`, once this package is installed.

    env = gymnasium.make("worldmodel/nano-v0")                       # the shipped world
    env = gymnasium.make("worldmodel/Checkpoint-v0", folder="runs/world")
    env = gymnasium.make("worldmodel/Game-v0", world="vizdoom")      # a real game
    envs = gymnasium.make_vec("worldmodel/nano-v0", num_envs=16)     # stepped together: one pass for all of them

Gymnasium finds `register_worlds` by itself (an entry point); it imports nothing of a world until one is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldmodel.settings import EngineName
    from worldmodel.worlds.gym import WorldEnv
    from worldmodel.worlds.neural import NeuralWorld
    from worldmodel.worlds.vector import NeuralVectorEnv

NAMESPACE = "worldmodel"


def make_checkpoint(
    folder: str = "nano", render_mode: str | None = "rgb_array", engine: EngineName = "auto", threads: int = 0
) -> WorldEnv:
    """A neural world: "nano" or a checkpoint's folder."""
    from worldmodel.worlds.gym import WorldEnv

    return WorldEnv(_neural(folder, engine, threads), render_mode)


def make_checkpoints(
    num_envs: int = 1,
    folder: str = "nano",
    render_mode: str | None = "rgb_array",
    engine: EngineName = "auto",
    threads: int = 0,
    **options: Any,
) -> NeuralVectorEnv:
    """Environments of one neural world, stepped together. options: see NeuralVectorEnv."""
    from worldmodel.worlds.vector import NeuralVectorEnv

    return NeuralVectorEnv(_neural(folder, engine, threads), num_envs, render_mode, **options)


def _neural(folder: str, engine: EngineName, threads: int) -> NeuralWorld:
    from worldmodel.settings import EngineOptions
    from worldmodel.worlds.neural import NeuralWorld, find_checkpoint

    return NeuralWorld(find_checkpoint(folder), EngineOptions(engine, threads=threads))


def make_game_env(world: str = "vizdoom", render_mode: str | None = "rgb_array", **options: Any) -> WorldEnv:
    """A real game by its name (worldmodel.games). options: frame_shape, (height, width)."""
    from worldmodel.games import make_game
    from worldmodel.worlds.gym import WorldEnv

    return WorldEnv(make_game(world, options.get("frame_shape", (224, 384))), render_mode)


# id: one environment, and several that are stepped together
IDS = {
    "nano-v0": (make_checkpoint, make_checkpoints),
    "Checkpoint-v0": (make_checkpoint, make_checkpoints),
    "Game-v0": (make_game_env, None),
}


def register_worlds() -> None:
    """Registers what is not registered yet."""
    from gymnasium.envs.registration import register, registry  # which calls us while Gymnasium is half imported

    for name, makers in IDS.items():
        if f"{NAMESPACE}/{name}" not in registry:
            one, several = (None if make is None else f"{make.__module__}:{make.__name__}" for make in makers)
            register(f"{NAMESPACE}/{name}", one, order_enforce=False, vector_entry_point=several)
