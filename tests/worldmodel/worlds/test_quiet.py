"""A game sends nothing: loading and playing a world opens no socket."""

import subprocess
import sys
import textwrap

import pytest

from worldmodel.worlds.neural import PRETRAINED

PROGRAM = """
import socket, sys
def refuse(*args, **kwargs):
    print("a socket was opened", args, file=sys.stderr)
    sys.exit(9)
# Also what other threads or libraries open through Python; the audit hook sees them all.
NETWORK = {"socket.connect", "socket.sendto", "socket.bind"}
sys.addaudithook(lambda event, args: refuse(event, args) if event in NETWORK else None)
from worldmodel.types import Action
from worldmodel.settings import EngineOptions
from worldmodel.worlds.neural import NeuralWorld, PRETRAINED
world = NeuralWorld(PRETRAINED / "nano", EngineOptions(sys.argv[1]))
world.reset()
world.step(Action())
print(world.engine)
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["native", "openvino"])
def test_playing_opens_no_socket(engine):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), engine],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == engine
    assert PRETRAINED.is_dir()
