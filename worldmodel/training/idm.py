"""Trains the inverse dynamics model on recorded play: the negative log-likelihood of whole actions, which is the sum of
the cross-entropies of every button and of both camera bins.

Half of each batch is play as the image tokenizer shows it: the model reads generated frames later, and must not take
their smoothness for an action. Rare buttons are drawn more often. Resumable to the same curve, EMA weights.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tqdm import tqdm

from worldmodel.checkpoint import load_weights
from worldmodel.data.frames import StoredClip
from worldmodel.data.windows import Windows
from worldmodel.evaluation.following.scores import Counts, as_told, count
from worldmodel.locking import building
from worldmodel.readers.idm import IDMConfig, InverseDynamicsModel, read_actions, save_idm, to_input
from worldmodel.tokenizers.action import ActionTokenizer, camera_bins
from worldmodel.tokenizers.image import ImageTokenizer, to_frames, to_pixels
from worldmodel.training.run.common import Pace, RunLog, autocast, cosine_lr, update_average
from worldmodel.training.run.loop import Run
from worldmodel.training.run.stopping import say_stopped
from worldmodel.types import BUTTONS
from worldmodel.writing import new_array, written

CHUNK = 32  # frames that the image tokenizer takes at once


@dataclass(frozen=True, slots=True)
class IDMTraining:
    """How it is trained."""

    steps: int = 2500
    """How many steps."""
    batch: int = 8
    """Windows a step, half of them as the image tokenizer shows them."""
    clip: int = 12
    """Frames of a window."""
    learning_rate: float = 1.5e-3
    """Its peak."""
    warmup: int = 100
    """Steps over which the learning rate rises."""
    weight_decay: float = 0.01
    """Weight decay of the optimizer."""
    average_decay: float = 0.995
    """Of the moving average of the weights, which is what is kept."""
    balance: float = 0.5
    """Share of the windows that are drawn for a rare action."""
    reconstructed: int = 4
    """One clip in so many is also seen as the image tokenizer shows it."""
    init: Path | None = None
    """A checkpoint to start from instead of random weights."""
    seed: int = 0
    """Of everything that is drawn by chance."""
    device: str = "cpu"
    """Where it is trained: "cpu", "cuda" or "mps"."""
    bf16: bool = True
    """Compute in bf16 where that loses nothing that counts."""
    compile: bool = False
    """Compile the model, which is quicker on a GPU."""
    save_minutes: float = 3.0
    """The state is saved this often: the most that a kill loses."""


@dataclass(frozen=True, slots=True)
class PlayedClip:
    """frames: uint8 (T, H, W, 3); held: bool (T, 23); actions: int32 (T, 11) tokens of base 0; segments: (T,)."""

    frames: NDArray[np.uint8]
    held: NDArray[np.bool_]
    actions: NDArray[np.int32]
    segments: NDArray[np.int32]

    @property
    def bins(self) -> NDArray[np.int64]:
        """Camera bins (T, 2) of [pitch, yaw]."""
        return camera_bins(self.actions)


def played(clip: StoredClip, frames: NDArray[np.uint8] | None = None) -> PlayedClip:
    """A stored clip, or other frames of the same play."""
    encode = ActionTokenizer(0).encode
    actions = np.stack([encode(action) for action in clip.actions()])
    return PlayedClip(clip.frames if frames is None else frames, as_told(clip.buttons), actions, clip.segments)


@torch.inference_mode()
def reconstruct(clip: StoredClip, tokenizer: ImageTokenizer, path: Path, device: torch.device, bf16: bool) -> bool:
    """Writes the clip's frames as the image tokenizer shows them, .npy, atomically. False if that was done already."""
    with building(path.parent):
        if path.exists():
            return False
        with written(path) as temporary:
            made = new_array(temporary, np.uint8, clip.frames.shape)
            for start in range(0, len(clip.frames), CHUNK):
                pixels = to_pixels(torch.from_numpy(np.array(clip.frames[start : start + CHUNK])).to(device))
                with autocast(device, bf16):
                    shown = tokenizer.decode(tokenizer.encode(pixels))
                made[start : start + CHUNK] = to_frames(shown.float()).cpu().numpy()
            made.flush()
            del made
    return True


def count_read(model: InverseDynamicsModel, clip: PlayedClip) -> Counts:
    """Its reading of a whole clip against what was played; transitions across a cut do not count."""
    found = read_actions(model, clip.frames)
    inside = clip.segments[1:] == clip.segments[:-1]
    return count(clip.held[:-1][inside], found.held[inside], clip.bins[:-1][inside], found.bins[inside])


def train_idm(
    config: IDMConfig,
    options: IDMTraining,
    train: Sequence[StoredClip],
    tokenizer: ImageTokenizer,
    out: Path,
    stop_after_minutes: float | None = None,
) -> InverseDynamicsModel | None:
    """Trains, or goes on with, the run in `out`. Returns the averaged model, or None if it stopped early."""
    device = torch.device(options.device)
    real = [played(clip) for clip in train]
    # Before any work: clips that are too short, and weights that are not there.
    Windows(real, options.clip)
    torch.manual_seed(options.seed)
    model = InverseDynamicsModel(config)
    if options.init is not None:
        load_weights(options.init, "idm", model)
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    started = time.monotonic()
    tokenizer = tokenizer.to(device)
    shown = []
    for clip in tqdm(train[:: options.reconstructed], desc="reconstructing", unit="clip"):
        path = out / "reconstructed" / f"{clip.name}.npy"
        made = reconstruct(clip, tokenizer, path, device, options.bf16)
        shown.append(played(clip, np.load(path, mmap_mode="r", allow_pickle=False)))
        # Only after work: a run that is stopped again and again still comes to its end.
        if made and stop_after_minutes is not None and time.monotonic() - started > 60 * stop_after_minutes:
            say_stopped(at="the first steps")
            return None
    halves = [(part, Windows(part, options.clip, options.balance)) for part in (real, shown)]
    average = copy.deepcopy(model).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(
        model.parameters(), options.learning_rate, betas=(0.9, 0.95), weight_decay=options.weight_decay
    )
    parts = {"model": model, "average": average, "optimizer": optimizer}
    run = Run("idm", out, Pace(options.steps, 0), parts, lambda: save_idm(out, average, config))
    log = RunLog(out / "log.jsonl", run.done)
    trained = torch.compile(model) if options.compile else model

    def train_step(step: int, bar: tqdm) -> None:
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * cosine_lr(step, options.steps, options.warmup)
        frames, held, bins = draw(halves, options, np.random.default_rng((options.seed, step)))
        with autocast(device, options.bf16):
            buttons, camera, _ = trained(to_input(frames.to(device)))
        button_loss = len(BUTTONS) * F.binary_cross_entropy_with_logits(buttons.float(), held.to(device).float())
        camera_loss = 2 * F.cross_entropy(camera.float().flatten(0, 2), bins.to(device).flatten())
        loss = button_loss + camera_loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        update_average(average, model, step, options.average_decay)
        if step % 20 == 0:
            log.write(step, loss=loss.item(), buttons=button_loss.item(), camera=camera_loss.item())
            bar.set_postfix(buttons=f"{button_loss.item():.3f}", camera=f"{camera_loss.item():.2f}")

    left = None if stop_after_minutes is None else stop_after_minutes - (time.monotonic() - started) / 60
    return average if run.go(train_step, device, options.save_minutes, left) else None


def draw(
    halves: Sequence[tuple[Sequence[PlayedClip], Windows]], options: IDMTraining, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """-> frames uint8 (batch, clip, H, W, 3), held bool (batch, clip - 1, 23), bins int64 (batch, clip - 1, 2)."""
    frames, held, bins = [], [], []
    for clips, windows in halves:
        for pick in windows.pick(options.batch // len(halves), rng):
            index, start = windows.starts[int(pick)]
            clip, part = clips[index], slice(start, start + options.clip)
            frames.append(clip.frames[part])
            held.append(clip.held[part][:-1])
            bins.append(clip.bins[part][:-1])
    return torch.from_numpy(np.stack(frames)), torch.from_numpy(np.stack(held)), torch.from_numpy(np.stack(bins))
