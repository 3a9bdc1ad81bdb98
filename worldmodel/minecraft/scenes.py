"""MineWorld's scenes and evaluation clips: `NAME.mp4` at 20 Hz and its actions in lines (`NAME.jsonl` or `NAME.json`).

Line k is the action that was taken on picture k: picture k + 1 is its result. One of MineWorld's scripts reads it so,
another takes line k for what leads to picture k; `lead` (WorldModelConfig.action_lead) is 0 and 1 then. Which of them
given weights were trained with, their likelihood on clips tells (`likelier_lead`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from worldmodel.data.video import ClipError, fit_to, fitted, open_video, pictures
from worldmodel.minecraft.lines import read_action_lines
from worldmodel.model.loading import WorldModel
from worldmodel.tokenizers.action import TOKENS_PER_ACTION
from worldmodel.tokenizers.image import ImageTokenizer, to_pixels
from worldmodel.types import Action, StartScene

LINES = (".jsonl", ".json", ".txt")
BATCH = 8  # pictures that are encoded at once: a pyramid takes a gigabyte for so many


@dataclass(frozen=True, slots=True)
class Scene:
    """frames: uint8 (T, H, W, 3), 20 a second; actions: one a line, T or T - 1 of them or more."""

    name: str
    frames: NDArray[np.uint8]
    actions: tuple[Action, ...]

    def leading(self, lead: int) -> list[Action]:
        """The actions that lead to the pictures 1, 2, ...: (T - 1,). ClipError if there are too few."""
        wanted = self.actions[lead : lead + len(self.frames) - 1]
        if len(wanted) < len(self.frames) - 1:
            raise ClipError(
                f"{self.name}: {len(self.frames)} pictures need {len(self.frames) - 1 + lead} lines of actions, it has "
                f"{len(self.actions)}"
            )
        return list(wanted)


def find_scenes(folder: Path) -> list[Path]:
    """The mp4 files of a folder that have lines beside them, sorted. ClipError if there is none."""
    if not folder.is_dir():
        raise ClipError(f"{folder} is no folder of scenes (NAME.mp4 and NAME.jsonl)")
    found = sorted(path for path in folder.rglob("*.mp4") if lines_of(path) is not None)
    if not found:
        raise ClipError(f"no scenes in {folder}: they are NAME.mp4 with NAME.jsonl beside it")
    return found


def lines_of(path: Path) -> Path | None:
    """The file of a scene's actions, if there is one."""
    return next((path.with_suffix(suffix) for suffix in LINES if path.with_suffix(suffix).is_file()), None)


def read_scene(path: Path, height: int, width: int, most: int | None = None) -> Scene:
    """A scene's first `most` pictures (None: all), reduced to (height, width), and its actions. ClipError for a file
    that cannot be read."""
    lines = lines_of(path)
    if lines is None:
        raise ClipError(f"{path} has no {path.stem}.jsonl beside it")
    video = open_video(path)
    fit = fit_to(video, height, width)
    count = video.ticks if most is None else min(most, video.ticks)
    frames = [
        fitted(picture, video, fit, height, width) for picture in pictures(video, range(count)) if picture is not None
    ]
    if len(frames) < count:
        raise ClipError(f"{path}: pauses in its pictures: {len(frames)} of {count} ticks have one")
    return Scene(path.stem, np.stack(frames), tuple(read_action_lines(lines)))


@torch.inference_mode()
def encode(tokenizer: ImageTokenizer, frames: NDArray[np.uint8]) -> NDArray[np.int32]:
    """uint8 (T, H, W, 3) -> image tokens int32 (T, places)."""
    device = next(tokenizer.parameters()).device
    parts = [
        tokenizer.encode(to_pixels(torch.from_numpy(np.ascontiguousarray(frames[at : at + BATCH]))).to(device))
        for at in range(0, len(frames), BATCH)
    ]
    return torch.cat(parts).cpu().numpy().astype(np.int32)


def start_scene(model: WorldModel, scene: Scene) -> StartScene:
    """A scene as an opening."""
    tokenizer = model.config.action_tokenizer()
    actions = [tokenizer.encode(action) for action in scene.leading(model.config.action_lead)]
    told = np.stack(actions) if actions else np.zeros((0, TOKENS_PER_ACTION), np.int32)
    return StartScene(encode(model.tokenizer, scene.frames), told)


@torch.inference_mode()
def likelier_lead(model: WorldModel, scenes: Sequence[Scene]) -> tuple[int, tuple[float, float]]:
    """Which lead makes the scenes' pictures likelier, and nats a token with lead 0 and 1. ClipError if no scene has the
    two pictures and the lines that both need."""
    encode_action = model.config.action_tokenizer().encode
    model.transformer.eval()
    sums, count = np.zeros(2), 0
    for scene in scenes:
        frames = scene.frames[: min(model.config.transformer.window, len(scene.actions))]
        if len(frames) < 2:
            continue
        tokens = torch.from_numpy(encode(model.tokenizer, frames)).long()[None]
        target = tokens[:, 1:, torch.from_numpy(model.transformer.layout.places)]
        for lead in (0, 1):
            told = [encode_action(action) for action in scene.actions[lead : lead + len(frames) - 1]]
            actions = torch.from_numpy(np.stack([*told, told[-1]])).long()[None]  # the last one is not read
            sums[lead] += model.transformer.nats(model.transformer(tokens, actions), target).sum().item()
        count += target.numel()
    if not count:
        raise ClipError("no scene has two pictures and as many lines of actions: the offset cannot be told from them")
    nats = sums / count
    return int(nats.argmin()), (float(nats[0]), float(nats[1]))
