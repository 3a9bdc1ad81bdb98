"""Trains a small agent inside a model to keep facing a colour, then tries it in the real game, beside random play.

    pip install -e '.[agent]'
    python scripts/train_agent.py [--out runs/agent.json] [--colour 150 195 240] [--game luanti:meadow]

PPO of stable-baselines3 on environments that are stepped together (worldmodel/worlds/vector.py). The agent sees the
mean colours of a grid of 7 x 12 patches and turns its head: not at all, left, right, up or down. Its reward is the
share of the picture that has the colour (the sky's, unless told otherwise). --game none leaves the real game out. An
example: what is written is one run of one seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray

from worldmodel.checkpoint import weights_hash
from worldmodel.data.frames import write_json
from worldmodel.games import make_game
from worldmodel.measure.provenance import provenance
from worldmodel.script import main_with_errors
from worldmodel.settings import EngineOptions
from worldmodel.types import WorldModelError
from worldmodel.worlds.gym import WorldEnv
from worldmodel.worlds.neural import NeuralWorld
from worldmodel.worlds.vector import NeuralVectorEnv

LOOKS = np.array([[0, 0], [0, -10], [0, 10], [-10, 0], [10, 0]], np.float32)  # degrees of pitch and yaw, of each action
GRID = (7, 12)
SHOWN = 0.8  # of the picture's height, above the hotbar
NEAR = 60.0  # distance in RGB, within which a pixel has the colour


@dataclass(frozen=True)
class Arguments:
    """How the agent is trained, and where it is tried."""

    checkpoint: Path = Path("worldmodel/pretrained/nano")
    """Folder of the world model that it is trained in."""
    out: Path = Path("runs/agent.json")
    """File for what was reached."""
    colour: tuple[int, int, int] = (150, 195, 240)
    """Red, green and blue, 0 to 255, of what is to be faced."""
    game: str = "luanti"
    """The real game that it is tried in; "none" for none."""
    envs: int = 16
    """Environments that are stepped together."""
    updates: int = 10
    """Of the policy."""
    length: int = 20
    """Steps of an episode, and between updates."""
    trials: int = 8
    """Episodes in the real game, of the agent and of random play each."""
    threads: int = 0
    """CPU threads for the model; 0 is all cores."""
    seed: int = 0
    """Of all that is random."""


Pictures = NDArray[np.uint8]
Policy = Callable[[NDArray[np.float32]], NDArray[np.int64]]
"""What is seen (n, 7 * 12 * 3) -> the numbers of actions (n,)."""


def seen(pictures: Pictures) -> NDArray[np.float32]:
    """(n, H, W, 3) -> mean colours of the patches, (n, 7 * 12 * 3), 0 to 1."""
    n, H, W, _ = pictures.shape
    rows, columns = GRID
    cut = pictures[:, : H // rows * rows, : W // columns * columns].astype(np.float32)
    means = cut.reshape(n, rows, H // rows, columns, W // columns, 3).mean((2, 4))
    return means.reshape(n, -1) / 255


def shares(pictures: Pictures, colour: tuple[int, int, int]) -> NDArray[np.float32]:
    """(n, H, W, 3) -> which part of each has the colour, (n,)."""
    shown = pictures[:, : round(SHOWN * pictures.shape[1])].astype(np.float32)
    return (np.linalg.norm(shown - np.asarray(colour, np.float32), axis=-1) < NEAR).mean((1, 2))


def told(choices: NDArray[np.integer]) -> dict[str, Any]:
    """Numbers of actions (n,) -> the environments' actions."""
    still = {name: np.stack([value] * len(choices)) for name, value in WorldEnv.idle().items()}
    return still | {"camera": LOOKS[choices]}


def as_vec_env(envs: VectorEnv, colour: tuple[int, int, int], rewards: list[float]) -> Any:
    """The environments (autoreset: SameStep) as stable-baselines3's. rewards: each step's mean is appended to it."""
    from stable_baselines3.common.vec_env import VecEnv  # pyright: ignore[reportMissingImports] - an optional extra

    class Facing(VecEnv):
        def reset(self) -> NDArray[np.float32]:
            return seen(envs.reset()[0]["pov"])

        def step_async(self, actions: NDArray[np.integer]) -> None:
            self.choices = actions

        def step_wait(self) -> tuple[Any, ...]:
            observation, _, terminations, truncations, infos = envs.step(told(self.choices))
            pictures, over = observation["pov"], terminations | truncations
            last = pictures.copy()  # of the episode, where it is over
            for lane in np.flatnonzero(over):
                last[lane] = infos["final_obs"][lane]["pov"]
            ended = seen(last)
            about = [
                {"terminal_observation": ended[lane], "TimeLimit.truncated": True} if over[lane] else {}
                for lane in range(envs.num_envs)
            ]
            reward = shares(last, colour)
            rewards.append(float(reward.mean()))
            return seen(pictures), reward, over, about

        def close(self) -> None:
            envs.close()

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            return [getattr(envs, attr_name, None)] * envs.num_envs

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
            raise NotImplementedError(attr_name)

        def env_method(self, method_name: str, *_: Any, indices: Any = None, **__: Any) -> list[Any]:
            raise NotImplementedError(method_name)

        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
            return [False] * envs.num_envs

    size = GRID[0] * GRID[1] * 3
    return Facing(envs.num_envs, spaces.Box(0.0, 1.0, (size,), np.float32), spaces.Discrete(len(LOOKS)))


def trial(envs: VectorEnv, policy: Policy, args: Arguments, seed: int) -> list[float]:
    """The mean reward of an episode in each of the environments, which begin alike for the same seed."""
    pictures, found = envs.reset(seed=seed)[0]["pov"], []
    for _ in range(args.length):
        pictures = envs.step(told(policy(seen(pictures))))[0]["pov"]
        found.append(shares(pictures, args.colour))
    return np.mean(found, 0).tolist()


def compared(envs: VectorEnv, policies: dict[str, Policy], args: Arguments, trials: int) -> dict[str, Any]:
    """Of each policy, the mean reward of `trials` episodes or a few more, with its standard error."""
    result = {}
    for name, policy in policies.items():
        seeds = range(10_000, 10_000 + trials, envs.num_envs)  # none that it was trained on
        found = [reward for seed in seeds for reward in trial(envs, policy, args, seed)]
        error = round(float(np.std(found) / (len(found) - 1) ** 0.5), 3) if len(found) > 1 else None
        result[name] = {"episodes": len(found), "mean": round(float(np.mean(found)), 3), "error": error}
    return result


def main(args: Arguments) -> None:
    if find_spec("stable_baselines3") is None:
        raise WorldModelError("training an agent needs stable-baselines3: pip install -e '.[agent]'")
    if min(args.envs, args.updates, args.trials) < 1 or args.length < 2:
        raise WorldModelError("--envs, --updates and --trials must be 1 or more, and --length 2 or more")
    from stable_baselines3 import PPO  # pyright: ignore[reportMissingImports] - an optional extra

    world = NeuralWorld(args.checkpoint, EngineOptions(threads=args.threads))
    # Made now, so that a game which is not there is said at once.
    game = None if args.game == "none" else SyncVectorEnv([lambda: WorldEnv(make_game(args.game, world.frame_shape))])
    model = NeuralVectorEnv(world, args.envs, max_episode_steps=args.length, autoreset_mode=AutoresetMode.SAME_STEP)
    rewards: list[float] = []
    args.out.parent.mkdir(parents=True, exist_ok=True)
    agent = PPO(
        "MlpPolicy", as_vec_env(model, args.colour, rewards), seed=args.seed, device="cpu", verbose=1,
        n_steps=args.length, batch_size=args.envs * args.length, n_epochs=30,
        learning_rate=2e-3, gamma=0.9, ent_coef=0.01,
    )  # fmt: skip
    agent.learn(args.updates * args.envs * args.length)
    rng = np.random.default_rng(args.seed)
    policies: dict[str, Policy] = {
        "agent": lambda what: agent.predict(what, deterministic=False)[0],
        "random": lambda what: rng.integers(len(LOOKS), size=len(what)),
    }
    free = NeuralVectorEnv(world, args.envs)  # its episodes have no end, so that the last picture is the episode's
    reached = {"model": compared(free, policies, args, args.envs)}
    if game is not None:
        reached[args.game] = compared(game, policies, args, args.trials)
        game.close()
    curve = np.asarray(rewards).reshape(args.updates, args.length).mean(1).round(3).tolist()
    write_json(
        args.out,
        {
            "provenance": provenance(),
            "checkpoint_sha256": weights_hash(args.checkpoint),
            "settings": asdict(args),
            "mean_reward_between_updates": curve,
            "mean_reward": reached,
        },
    )
    print(args.out.read_text())


if __name__ == "__main__":
    main_with_errors(main, Arguments)
