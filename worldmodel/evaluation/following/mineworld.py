"""MineWorld's evaluation: its clips, and its scores as it publishes them (arXiv 2504.08388, section 4.2).

Clips are `NAME_<int>.mp4` of 16 pictures at 20 Hz with a line of actions each (minecraft/scenes.py): one picture is
given, 15 are generated on the recorded actions, with top-p 0.8 and temperature 1. An inverse dynamics model reads the
actions back. Of seven groups of buttons precision, recall and F1 are averaged over the classes that occur or are read
(macro) and over all steps (micro), then over the groups; the camera is compared in VPT's 11 bins. The published weights
of VPT's model, of LPIPS and of FVD's network are no part of this project.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from worldmodel.data.tokens import save_array
from worldmodel.data.video import ClipError
from worldmodel.evaluation.following.episodes import Episode
from worldmodel.evaluation.following.scores import GROUPS, as_told
from worldmodel.minecraft.scenes import encode, find_scenes, read_scene
from worldmodel.readers.vpt_idm import VPT_CAMERA_MAX_DEGREES, VPT_CAMERA_MU
from worldmodel.readers.vpt_network import VPT_CAMERA_BINS
from worldmodel.types import BUTTONS, NO_ACTION
from worldmodel.worlds.neural import NeuralWorld

CONTEXT, FRAMES = 1, 15
SAMPLING = {"temperature": 1.0, "top_p": 0.8}
SCORED = ("forward/back", "left/right", "sprint/sneak", "use", "attack", "jump", "drop")
NAMED = re.compile(r".+_\d+")


@dataclass(frozen=True, slots=True)
class Transitions:
    """What was told and read of some steps. held, read: bool (N, 23); camera, read_camera: VPT's bins (N, 2)."""

    held: NDArray[np.bool_]
    read: NDArray[np.bool_]
    camera: NDArray[np.int64]
    read_camera: NDArray[np.int64]


def vpt_bins(degrees: NDArray[np.floating]) -> NDArray[np.int64]:
    """Degrees (...) -> VPT's camera bins, 0 to 10: mu-law within +-10 degrees, 5 is no motion."""
    share = np.clip(degrees, -VPT_CAMERA_MAX_DEGREES, VPT_CAMERA_MAX_DEGREES) / VPT_CAMERA_MAX_DEGREES
    bent = np.sign(share) * np.log1p(VPT_CAMERA_MU * np.abs(share)) / np.log1p(VPT_CAMERA_MU)
    return np.round((bent + 1) * (VPT_CAMERA_BINS - 1) / 2).astype(np.int64)


def clip_episodes(
    world: NeuralWorld, folders: Sequence[Path], length: int, most: int, cache: Path, skip_bad: bool = False
) -> list[Episode]:
    """The first `most` clips of the folders, of `length` pictures each; their frames lie in `cache`, memory-mapped.

    ClipError for a clip that cannot be used (skip_bad: it is left out, and named), or where there is none.
    """
    cache.mkdir(parents=True, exist_ok=True)
    paths = [path for folder in folders for path in find_scenes(folder) if NAMED.fullmatch(path.stem)]
    if not paths:
        raise ClipError(f"no clips NAME_<int>.mp4 with lines in {', '.join(map(str, folders))}")
    encode_action, episodes = world.actions.encode, []
    for path in tqdm(paths[:most], desc="encoding clips", unit="clip"):
        try:
            scene = read_scene(path, *world.frame_shape, most=length)
            if len(scene.frames) < length:
                raise ClipError(f"{path}: {len(scene.frames)} pictures, {length} are needed")
            actions = [*scene.leading(world.model.config.action_lead), NO_ACTION]  # nothing follows the last one
        except ClipError as error:
            if not skip_bad:
                raise
            tqdm.write(f"left out: {error}")
            continue
        stored = cache / f"{len(episodes):05d}.npy"
        save_array(stored, scene.frames)
        episodes.append(
            Episode(
                path.stem,
                0,
                np.load(stored, mmap_mode="r", allow_pickle=False),
                encode(world.model.tokenizer, scene.frames),
                np.stack([encode_action(action) for action in actions]),
                np.array([[name in action.buttons for name in BUTTONS] for action in actions]),
                np.array([(action.pitch, action.yaw) for action in actions]),
            )
        )
    if not episodes:
        raise ClipError("none of the clips can be used")
    return episodes


def protocol(parts: Sequence[Transitions]) -> dict[str, Any]:
    """The published scores over all steps: precision, recall, f1 (macro), micro_f1, camera (bins off), and by group."""
    from sklearn.metrics import precision_recall_fscore_support

    scores_of: Any = precision_recall_fscore_support
    held, read = (as_told(np.concatenate([getattr(p, name) for p in parts])) for name in ("held", "read"))
    groups = {}
    for name in SCORED:
        columns = [BUTTONS.index(button) for button in GROUPS[name]]
        told, found = (np.where(x[:, columns].any(1), x[:, columns].argmax(1) + 1, 0) for x in (held, read))
        precision, recall, f1, _ = scores_of(told, found, average="macro", zero_division=0)
        micro = scores_of(told, found, average="micro", zero_division=0)[2]
        groups[name] = {
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "micro_f1": float(micro),
            "support": int((told > 0).sum()),
        }
    means = {
        key: float(np.mean([group[key] for group in groups.values()]))
        for key in ("precision", "recall", "f1", "micro_f1")
    }
    off = np.abs(np.concatenate([p.camera for p in parts]).astype(int) - np.concatenate([p.read_camera for p in parts]))
    axes = dict(zip(("pitch", "yaw"), off.mean(0).tolist(), strict=True))
    return {**means, "camera_bins_off": float(off.mean()), "camera": axes, "steps": len(held), "groups": groups}
