"""Plays a checkpoint with a fixed script and writes the README's picture and animation.

    python scripts/make_pictures.py --checkpoint worldmodel/pretrained/nano

Writes play.gif and picture.png into the checkpoint's folder: every frame is the model's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from worldmodel.data.animation import write_gif
from worldmodel.training.common import main_with_errors
from worldmodel.types import Action, Frame
from worldmodel.worlds.neural import NeuralWorld

# (steps, buttons, pitch and yaw in degrees a step)
SCRIPT: tuple[tuple[int, tuple[str, ...], float, float], ...] = (
    (6, ("forward",), 0.0, 0.0),
    (8, ("forward",), 0.0, 4.0),
    (8, (), 0.0, -6.0),
    (6, ("forward", "sprint"), 1.0, 0.0),
    (5, (), 6.0, 0.0),
    (8, ("attack",), 0.0, 0.0),
    (5, (), -6.0, 0.0),
    (6, ("back",), 0.0, 2.0),
)


@dataclass(frozen=True)
class Arguments:
    """starts: start scenes to play one after the other; scale: integer upscaling of the pictures."""

    checkpoint: Path = Path("worldmodel/pretrained/nano")
    starts: tuple[int, ...] = (3, 6)
    seed: int = 0
    scale: int = 2


def main(args: Arguments) -> None:
    world = NeuralWorld(args.checkpoint)
    frames: list[Frame] = []
    for start in args.starts:
        frames.append(world.reset(start, args.seed).frame)
        for steps, buttons, pitch, yaw in SCRIPT:
            frames += [world.step(Action(frozenset(buttons), pitch, yaw)).frame for _ in range(steps)]
    height, width = world.frame_shape
    write_gif(args.checkpoint / "play.gif", frames, world.tick_rate, args.scale)
    Image.fromarray(frames[8]).resize((width * 4, height * 4), Image.Resampling.NEAREST).save(
        args.checkpoint / "picture.png", optimize=True
    )
    print(f"{args.checkpoint / 'play.gif'}: {(args.checkpoint / 'play.gif').stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main_with_errors(main, Arguments)
