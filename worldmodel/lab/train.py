"""The laboratory's three trainings: tokenizer, tiny prior, world. Each is a step that depends on (seed, step) alone, in
one resumable loop: what a killed run has lost it does again, to the same weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from worldmodel.data.frames import StoredClip
from worldmodel.data.hud import loss_weights
from worldmodel.lab.autoencoder import CONDITION_DROP, MOVE_DEGREES, Condition, LabTokenizer, TokenizerParts
from worldmodel.lab.budget import HUD, Budget, Objectives
from worldmodel.lab.codes import Codes
from worldmodel.lab.heads import Prior, head_radices, is_chained
from worldmodel.lab.scores import GLYPH_SIZES, glyph, paste_glyphs
from worldmodel.readers.idm import SHRINK, InverseDynamicsModel
from worldmodel.tokenizers.image import to_pixels
from worldmodel.training.run.common import Pace, autocast, cosine_lr, update_average
from worldmodel.training.run.loop import Run
from worldmodel.training.run.state import Stateful
from worldmodel.training.tokenizer import PERTURB_RAMP, TokenizerTraining, windowed_ssim
from worldmodel.types import WorldModelError

GLYPH_WEIGHT = 4.0  # of pasted glyphs in the loss, as the HUD's
STEP_SEED = 1_000_003


def run_steps(
    name: str,
    folder: Path,
    steps: int,
    parts: Mapping[str, Stateful],
    step: Callable[[int], float],
    save_minutes: float,
) -> None:
    """Does the steps that are not done yet. parts: what is saved in `folder`, and restored from there; step: its number
    -> the loss that the progress bar shows."""

    def shown(number: int, bar: tqdm) -> None:
        bar.set_postfix(loss=f"{step(number):.3f}", refresh=False)

    Run(name, folder, Pace(steps, 0), parts).go(shown, torch.device("cpu"), save_minutes)


def moves_of(clip: StoredClip) -> NDArray[np.float32]:
    """What was done in each step, for a decoder's condition: float32 (T, MOVE)."""
    return move_vectors(clip.buttons, clip.camera)


def move_vectors(held: NDArray[np.bool_], camera: NDArray[np.floating]) -> NDArray[np.float32]:
    """held: (T, 23); camera: degrees (T, 2) -> float32 (T, MOVE)."""
    return np.concatenate([held, camera / MOVE_DEGREES], 1).astype(np.float32)


class Pairs:
    """Draws frames with the frame and the step before them."""

    def __init__(self, clips: Sequence[StoredClip]) -> None:
        self.clips, self.moves = clips, [moves_of(clip) for clip in clips]
        inside = [1 + np.flatnonzero(clip.segments[1:] == clip.segments[:-1]) for clip in clips]
        self.places = np.array([(i, t) for i, steps in enumerate(inside) for t in steps])
        if not len(self.places):
            raise WorldModelError("the clips have no two frames in a row to learn from")

    def draw(
        self, count: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
        """-> frames before and frames, uint8 (count, H, W, 3) each, and moves (count, MOVE)."""
        picks = self.places[rng.integers(len(self.places), size=count)]
        return (
            np.stack([self.clips[i].frames[t - 1] for i, t in picks]),
            np.stack([self.clips[i].frames[t] for i, t in picks]),
            np.stack([self.moves[i][t - 1] for i, t in picks]),
        )


def reader_map(reader: InverseDynamicsModel, before: Tensor, after: Tensor) -> Tensor:
    """What the reader sees at each place of the token grid: pixels (B, 3, H, W) twice -> (B, channels, H/16, W/16)."""
    return reader.seen(F.avg_pool2d(torch.cat([before, after]), SHRINK).unflatten(0, (2, -1)).transpose(0, 1))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def make_prior(tokens: int, quantizer: Codes, head: str) -> Prior:
    return Prior(tokens, quantizer.code_dim, head_radices(head, quantizer.radices), is_chained(head))


def train_autoencoder(
    parts: TokenizerParts,
    objectives: Objectives,
    head: str,
    budget: Budget,
    clips: Sequence[StoredClip],
    reader: InverseDynamicsModel | None,
    folder: Path,
    seed: int,
) -> LabTokenizer:
    """The averaged tokenizer. WorldModelError for alignment without a reader."""
    if objectives.align > 0 and reader is None:
        raise WorldModelError("this preset aligns the tokenizer with an inverse dynamics model: give one with --reader")
    options = TokenizerTraining()  # whose rates and weights hold here too
    pairs = Pairs(clips)
    torch.manual_seed(seed)
    model = LabTokenizer(parts).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(model).requires_grad_(False)
    beside = nn.ModuleDict()
    if objectives.with_prior:
        beside["prior"] = make_prior(parts.tokens, model.quantizer, head)
    if reader is not None and objectives.align > 0:
        aligned = objectives.align_code or parts.decoder_channels[0]
        beside["align"] = nn.Conv2d(aligned, reader.squeeze.in_channels, 1)
    optimizer = torch.optim.AdamW(
        [*model.parameters(), *beside.parameters()],
        options.learning_rate,
        betas=(0.9, 0.95),
        weight_decay=options.weight_decay,
    )
    weights = torch.from_numpy(loss_weights(HUD, parts.height, parts.width))
    steps, device = budget.tokenizer_steps, torch.device("cpu")
    warmup = min(options.warmup, steps // 5)

    def spoil(rate: float) -> Callable[[Tensor, Tensor], Tensor]:
        def wrong(codes: Tensor, vectors: Tensor) -> Tensor:
            chosen = torch.rand(len(codes), 1) < objectives.perturbed_share
            hit = (torch.rand(codes.shape) < rate) & chosen
            prior = beside["prior"] if objectives.perturb == "prior" else None
            other = prior.draw(vectors) if prior is not None else model.quantizer.neighbours(codes)  # type: ignore[operator]
            return torch.where(hit, other, codes)

        return wrong

    def step(number: int) -> float:
        rng = np.random.default_rng((seed, number))
        torch.manual_seed(seed * STEP_SEED + number)
        set_rate(optimizer, options.learning_rate * cosine_lr(number, steps, warmup))
        before, frames, moves = pairs.draw(budget.tokenizer_batch, rng)
        weighed = weights.expand(len(frames), 1, -1, -1)
        if objectives.glyphs > 0:
            frames, weighed = _with_glyphs(frames, weighed, objectives.glyphs, rng)
        pixels, earlier = (
            to_pixels(torch.from_numpy(f)).contiguous(memory_format=torch.channels_last) for f in (frames, before)
        )
        rate = objectives.perturb_rate * min(1.0, number / (PERTURB_RAMP * steps))
        with autocast(device, budget.bf16):
            condition = None
            if parts.previous:
                known = torch.rand(len(pixels)) >= CONDITION_DROP
                condition = Condition(model.encode(earlier), torch.from_numpy(moves), known)
            result = model(pixels, condition, spoil(rate) if objectives.perturb != "none" and rate > 0 else None)
            extra = torch.zeros(())
            if "prior" in beside:
                weight = objectives.prior_weight
                vectors = result.vectors if weight > 0 else result.vectors.detach()
                extra = extra + (weight or 1.0) * beside["prior"].loss(vectors, result.codes).mean()  # type: ignore[operator]
            if "align" in beside:
                assert reader is not None, "checked above"
                with torch.no_grad():
                    seen = reader_map(reader, earlier, pixels).float()
                trunk, own = result.trunk, objectives.align_code
                if own:
                    trunk = result.vectors[..., :own].transpose(1, 2).unflatten(2, model.grid)
                extra = extra + objectives.align * (1 - F.cosine_similarity(beside["align"](trunk), seen).mean())
        made = result.made.float()
        error = (weighed * (made - pixels).square()).mean()
        loss = 2 * error + options.ssim_weight * (1 - windowed_ssim(made, pixels)) + result.loss + extra
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for module in (model, *beside.children()):
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        update_average(average, model, number, options.average_decay)
        return loss.item()

    state = {"model": model, "average": average, "beside": beside, "optimizer": optimizer}
    run_steps("tokenizer", folder, steps, state, step, budget.save_minutes)
    return average.eval()


def _with_glyphs(
    frames: NDArray[np.uint8], weights: Tensor, share: float, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], Tensor]:
    """A digit of some size in `share` of the frames, and their loss weights (N, 1, H, W)."""
    frames, weights = frames.copy(), weights.clone()
    for at in np.flatnonzero(rng.random(len(frames)) < share):
        size = int(rng.choice(GLYPH_SIZES))
        height, width = glyph(0, size).shape
        pasted, _, ((top, left),) = paste_glyphs(frames[at : at + 1], size, rng)
        frames[at] = pasted[0]
        weights[at, :, top : top + height, left : left + width] = GLYPH_WEIGHT
    return frames, weights


def train_prior(
    codes: Sequence[NDArray[np.integer]], quantizer: Codes, head: str, budget: Budget, folder: Path, seed: int
) -> Prior:
    """The tiny prior of finished codes, (T, tokens) a clip."""
    every = np.concatenate([np.asarray(part) for part in codes])
    torch.manual_seed(seed)
    model = make_prior(every.shape[1], quantizer, head)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, betas=(0.9, 0.95), weight_decay=0.01)
    steps, device = budget.prior_steps, torch.device("cpu")

    def step(number: int) -> float:
        rng = np.random.default_rng((seed, number))
        set_rate(optimizer, 1.5e-3 * cosine_lr(number, steps, max(1, steps // 10)))
        drawn = torch.from_numpy(every[rng.integers(len(every), size=budget.prior_batch)].astype(np.int64))
        with autocast(device, budget.bf16):
            loss = model.loss(quantizer.decode(drawn), drawn).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    run_steps("prior", folder, steps, {"model": model, "optimizer": optimizer}, step, budget.save_minutes)
    return model.eval()
