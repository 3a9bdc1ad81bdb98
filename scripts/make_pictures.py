"""Plays a checkpoint with a fixed script and writes the README's picture and animation.

    python scripts/make_pictures.py --checkpoint worldmodel/pretrained/nano

Writes play.gif and picture.png into the checkpoint's folder. Every frame is the model's own. The commands are those
that anyone has: `worldmodel play --actions FILE --record` and `worldmodel replay --export play.gif --keys`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from recordings.reader import read_session
from worldmodel.data.played import decode_tokens
from worldmodel.data.ticks import action_lines
from worldmodel.model.loading import load_tokenizer
from worldmodel.script import main_with_errors
from worldmodel.types import Action, WorldModelError

# (steps, buttons, pitch and yaw in degrees a step)
SCRIPT: tuple[tuple[int, tuple[str, ...], float, float], ...] = (
    (3, (), 0.0, 0.0),
    (14, ("forward",), 0.0, 1.5),
    (9, (), 0.0, 10.0),  # round
    (10, ("forward", "sprint"), 0.0, 0.0),
    (1, ("hotbar.9",), 0.0, 0.0),  # bricks
    (4, (), 6.0, 0.0),
    (2, (), 0.0, 0.0),
    (1, ("use",), 0.0, 0.0),
    (4, (), 0.0, 0.0),
    (3, (), 0.0, 6.0),  # and one beside it
    (1, ("use",), 0.0, 0.0),
    (5, (), 0.0, 0.0),
    (5, (), 0.0, 8.85),  # away and back
    (3, (), 0.0, 0.0),
    (5, (), 0.0, -8.85),
    (4, (), 0.0, 0.0),
    (8, ("back",), 0.0, 0.0),
    (5, (), -4.0, -8.0),
    (12, ("forward",), 0.0, -2.0),
)
PICTURE_STEP = 10
PICTURE_SCALE = 4


@dataclass(frozen=True)
class Arguments:
    """What is played and drawn."""

    checkpoint: Path = Path("worldmodel/pretrained/nano")
    """Folder of a world model, where the pictures are put."""
    start: int = 7
    """Start scene to play."""
    seed: int = 1
    """Of the tokens."""
    scale: int = 2
    """Pixels of the animation for each of the frame."""


def worldmodel(*arguments: object) -> None:
    """One call of the command. WorldModelError with its last line if it fails."""
    command = [sys.executable, "-m", "client.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WorldModelError(f"{' '.join(command)} failed: {done.stderr.strip().splitlines()[-1]}")


def main(args: Arguments) -> None:
    actions = [Action(frozenset(buttons), pitch, yaw) for steps, buttons, pitch, yaw in SCRIPT for _ in range(steps)]
    animation = args.checkpoint / "play.gif"
    with tempfile.TemporaryDirectory() as name:
        lines, session = Path(name) / "play.jsonl", Path(name) / "play.wms"
        lines.write_text("".join(line + "\n" for line in action_lines(actions)))
        played = ["--world", args.checkpoint, "--start", args.start, "--seed", args.seed, "--actions", lines]
        worldmodel("play", "--headless", *played, "--record", session)
        worldmodel("replay", session, "--export", animation, "--keys", "--scale", args.scale)
        tokens = read_session(session).steps[PICTURE_STEP].tokens
    assert tokens is not None, "a neural world has tokens"
    frame = decode_tokens(load_tokenizer(args.checkpoint), tokens[None])[0]
    height, width = frame.shape[:2]
    size = (width * PICTURE_SCALE, height * PICTURE_SCALE)
    Image.fromarray(frame).resize(size, Image.Resampling.NEAREST).save(args.checkpoint / "picture.png", optimize=True)
    print(f"{animation}: {animation.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main_with_errors(main, Arguments)
