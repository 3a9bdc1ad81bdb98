"""PyPI's minerl 0.4.4 without its build, which needs Java 8: its fake environment steps without a game.

    python tests/minerl_from_pypi.py FOLDER                                           # fetches it, 120 MB, with pip
    WORLDMODEL_MINERL=FOLDER python -m pytest tests/worldmodel/games/test_games.py    # its tests, skipped without

Beside it lie gym 0.19, the last that it knows, and what it imports. To be run in a process of its own (PLAY): it needs
names that NumPy no longer has.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

FOLDER = "WORLDMODEL_MINERL"
MINERL = "minerl-0.4.4"
BUILT_WITH = "setuptools<66\nwheel<0.38\n"  # gym 0.19 names a requirement that later ones refuse
NEEDED = ("Pyro4", "serpent", "lxml", "xmltodict", "psutil", "coloredlogs", "humanfriendly", "daemoniker")
PICTURES = "opencv-python-headless"

PLAY = """
import numpy as np
np.int, np.float, np.object = int, float, object
from minerl.herobraine.envs import MINERL_NAVIGATE_DENSE_V0
from worldmodel.games.minerl import MineRLWorld
from worldmodel.types import BUTTONS, Action

env = MINERL_NAVIGATE_DENSE_V0.make(fake=True)
told = []
step = env.step
env.step = lambda action: told.append(action) or step(action)
world = MineRLWorld(env, "fake", (48, 80))
assert world.reset(1, 5).frame.shape == (48, 80, 3)
for _ in range(3):  # it has no hotbar
    made = world.step(Action(frozenset({"forward", "jump", "hotbar.1"}), 2.0, -300.0))
assert made.frame.shape == (48, 80, 3) and made.frame.std() > 1
assert all(env.action_space.contains(action) for action in told)
assert [name for name in BUTTONS if told[-1].get(name)] == ["forward", "jump"]
assert told[-1]["camera"].tolist() == [2.0, -180.0] and told[-1]["place"] == "none"
print("played", len(told))
"""


def paths(folder: Path) -> list[str]:
    """What PYTHONPATH needs."""
    return [str(folder / MINERL), str(folder / "libraries")]


def fetch(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "built-with.txt").write_text(BUILT_WITH)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run([*pip, "download", "--no-deps", "--no-binary", ":all:", "minerl==0.4.4", "-d", folder], check=True)
    with tarfile.open(folder / f"{MINERL}.tar.gz") as archive:
        wanted = [member for member in archive if "/Malmo/" not in member.name]  # the game's own build
        archive.extractall(folder, wanted, filter="data")
    install = [*pip, "install", "--no-deps", "--target", folder / "libraries"]
    old = {**os.environ, "PIP_CONSTRAINT": str(folder / "built-with.txt")}
    subprocess.run([*install, "--no-binary", "gym", "gym==0.19.0"], check=True, env=old)
    subprocess.run([*install, *NEEDED, PICTURES], check=True)


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
