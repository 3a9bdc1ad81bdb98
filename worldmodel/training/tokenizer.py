"""Trains the image tokenizer. Resumable, logged, with held-out scores and sample pictures.

The loss is 2 * weighted MSE + 0.3 * (1 - SSIM), the HUD weighing more than the rest; latent perturbation
is ramped in over the first 30% of the steps. It knows frames only; no actions, no transformer.
"""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from worldmodel.checkpoint import config_to_dict, load_fitting, load_weights, write_checkpoint
from worldmodel.config import ImageTokenizerConfig
from worldmodel.data.frames import StoredClip
from worldmodel.data.hud import HOTBAR_LINES, HUDS, items_told, loss_weights, read_slot
from worldmodel.evaluation.metrics.codes import code_shares, perplexity
from worldmodel.evaluation.metrics.picture import psnr, sharpness, ssim
from worldmodel.tokenizers.image import ImageTokenizer, to_frames, to_pixels
from worldmodel.training.run.common import Pace, RunLog, autocast, cosine_lr, tell_start, update_average
from worldmodel.training.run.loop import Run

PERTURBED_SHARES = (0.01, 0.05, 0.1)  # of the tokens, that are made wrong when it is scored
PATCH, PATCH_STRIDE, PATCH_DIRECTIONS = 5, 2, 24  # pixels, pixels, random ones a step
REGIONS = 4  # a side of the picture: patches are compared within one
PERTURB_RAMP = 0.3  # share of the steps over which latent perturbation is ramped in


@dataclass(frozen=True, slots=True)
class TokenizerTraining:
    """How it is trained."""

    steps: int = 3000
    """How many steps."""
    minutes: float = 0.0
    """If above 0: as many steps as fit into so many minutes, by the pace of the first ones."""
    batch: int = 16
    """Frames a step."""
    learning_rate: float = 1.5e-3
    """Its peak."""
    warmup: int = 100
    """Steps over which the learning rate rises."""
    weight_decay: float = 0.01
    """Weight decay of the optimizer."""
    average_decay: float = 0.998
    """Of the moving average of the weights, which is what is kept."""
    perturb: float = 0.1
    """Share of a frame's tokens that are replaced by a near code, so that the decoder forgives wrong ones."""
    perturbed_share: float = 0.25
    """Share of the frames of which tokens are replaced."""
    ssim_weight: float = 0.3
    """Weight of 1 - SSIM in the loss."""
    grain: float = 0.0
    """Weight of how far the patches of a region differ, wherever in it they stand: what a picture cannot know is then
    drawn crisp instead of blurred. For a second stage, with --freeze-encoder."""
    hud: str = "luanti"
    """Which game's HUD weighs more in the loss."""
    init: Path | None = None
    """A checkpoint to start from instead of random weights. Sizes that are not given are its own; what has another
    shape there starts at random."""
    freeze_encoder: bool = False
    """The codes of --init stay what they are, so that world models that were trained on them stay right; only the
    decoder learns."""
    seed: int = 0
    """Of everything that is drawn by chance."""
    device: str = "cpu"
    """Where it is trained: "cpu", "cuda" or "mps"."""
    bf16: bool = True
    """Compute in bf16 where that loses nothing that counts."""
    save_minutes: float = 4.0
    """The state is saved this often: the most that a kill loses."""
    eval_steps: int = 1000
    """Scores and a sample picture are made every so many steps."""

    def __post_init__(self) -> None:
        if self.freeze_encoder and self.init is None:
            raise ValueError("freeze_encoder needs init, a checkpoint whose codes are to stay")


@dataclass(frozen=True, slots=True)
class TokenizerScores:
    """Held-out scores. psnr in dB and ssim: means over frames; perplexity and used: of the codes; psnr_perturbed: with
    a share of the tokens replaced by a near code; psnr_hud: by region of the HUD; slots_read, items_read: shares of
    frames whose selected hotbar slot, and the item in it, are read from the reconstruction as from the frame;
    sharpness: of the frames (see evaluation.picture), and edges_kept: that of the reconstructions over it."""

    psnr: float
    ssim: float
    perplexity: float
    used: float
    psnr_perturbed: dict[str, float]
    psnr_hud: dict[str, float]
    slots_read: float
    items_read: float
    sharpness: float
    edges_kept: float
    frames: int


def windowed_ssim(a: Tensor, b: Tensor, window: int = 8, stride: int = 4) -> Tensor:
    """Mean SSIM over uniform windows, for the loss (the scores use torchmetrics' Gaussian one).

    a, b: (B, C, H, W) in [-1, 1]. Formula: Wang et al. 2004, eq. 13, with L = 2.
    """
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, window, stride)

    mu_a, mu_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mu_a**2, mean(b * b) - mu_b**2
    covariance = mean(a * b) - mu_a * mu_b
    score = (2 * mu_a * mu_b + c1) * (2 * covariance + c2) / ((mu_a**2 + mu_b**2 + c1) * (var_a + var_b + c2))
    return score.mean()


def patch_distance(made: Tensor, real: Tensor, generator: torch.Generator) -> Tensor:
    """Mean sliced Wasserstein distance between the patches of the same region in two batches of pictures (B, 3, H, W):
    along random directions, the patches of a region sorted, one with one (arXiv 2301.01217 compares such losses)."""
    directions = torch.randn(PATCH_DIRECTIONS, 3, PATCH, PATCH, generator=generator, device=made.device)
    directions /= directions.flatten(1).norm(dim=1)[:, None, None, None]
    height, width = (size // REGIONS // PATCH_STRIDE for size in made.shape[2:])

    def along(x: Tensor) -> Tensor:  # (B, directions, regions, patches of one), sorted
        found = F.conv2d(x, directions.to(x.dtype), stride=PATCH_STRIDE, padding=PATCH // 2)
        found = found[:, :, : height * REGIONS, : width * REGIONS]
        regions = found.unflatten(2, (REGIONS, height)).unflatten(4, (REGIONS, width))
        return regions.transpose(3, 4).flatten(4).flatten(2, 3).sort(-1).values

    return (along(made) - along(real)).abs().mean()


@torch.no_grad()
def score_tokenizer(
    model: ImageTokenizer, frames: NDArray[np.uint8], hud: str, device: torch.device, batch: int = 32
) -> TokenizerScores:
    """frames: uint8 (N, H, W, 3), held out."""
    model.eval()
    scores: dict[str, list[NDArray[Any]]] = defaultdict(list)
    codes = []
    generator = torch.Generator(device).manual_seed(0)

    def shown(tokens: Tensor) -> NDArray[np.uint8]:
        return to_frames(model.decode(tokens)).cpu().numpy()

    for start in range(0, len(frames), batch):
        real = np.ascontiguousarray(frames[start : start + batch])
        tokens = model.encode(to_pixels(torch.from_numpy(real).to(device)))
        made = shown(tokens)
        scores["psnr"].append(psnr(made, real))
        scores["ssim"].append(ssim(made, real))
        scores["sharpness"].append(sharpness(real))
        scores["sharpness_made"].append(sharpness(made))
        for name, region in HUDS[hud].items():
            rows, columns = region.slices(*real.shape[1:3])
            scores[name].append(psnr(made[:, rows, columns], real[:, rows, columns]))
        if hud in HOTBAR_LINES:
            scores["slots"].append(read_slot(made, hud) == read_slot(real, hud))
            scores["items"].append(items_told(made, real, hud))
        for share in PERTURBED_SHARES:
            wrong = torch.rand(tokens.shape, generator=generator, device=device) < share
            near = model.quantizer.neighbours(tokens, generator)
            scores[f"{share:.0%}"].append(psnr(shown(torch.where(wrong, near, tokens)), real))
        codes.append(tokens.flatten().cpu())
    means = {name: float(np.concatenate(parts).mean()) for name, parts in scores.items()}
    every = torch.cat(codes).numpy()
    return TokenizerScores(
        psnr=means["psnr"],
        ssim=means["ssim"],
        perplexity=perplexity(every),
        used=len(code_shares(every)) / model.config.codebook_size,
        psnr_perturbed={name: means[name] for name in (f"{share:.0%}" for share in PERTURBED_SHARES)},
        psnr_hud={name: means[name] for name in HUDS[hud]},
        slots_read=means.get("slots", math.nan),
        items_read=means.get("items", math.nan),
        sharpness=means["sharpness"],
        edges_kept=means["sharpness_made"] / means["sharpness"] if means["sharpness"] else math.nan,
        frames=len(frames),
    )


@torch.no_grad()
def sample_picture(model: ImageTokenizer, frames: NDArray[np.uint8], path: Path, device: torch.device) -> None:
    """Writes originals above their reconstructions. frames: uint8 (N, H, W, 3)."""
    made = to_frames(model.decode(model.encode(to_pixels(torch.from_numpy(frames).to(device))))).cpu().numpy()
    rows = [np.concatenate(list(frames), 1), np.concatenate(list(made), 1)]
    Image.fromarray(np.concatenate(rows, 0)).save(path)


class FrameBank:
    """Draws frames evenly from all steps of all clips. On a GPU they lie in its memory, where they fit into half of
    what is free there: the copies would take longer than the steps."""

    def __init__(self, clips: Sequence[StoredClip], device: torch.device) -> None:
        self.clips, self.device, self.held = clips, device, None
        size = sum(clip.frames.nbytes for clip in clips)
        if device.type == "cuda" and size < torch.cuda.mem_get_info(device)[0] // 2:
            self.held = torch.cat([torch.from_numpy(np.ascontiguousarray(clip.frames)).to(device) for clip in clips])

    def draw(self, count: int, rng: np.random.Generator) -> Tensor:
        """uint8 (count, H, W, 3) on the device."""
        if self.held is None:
            return torch.from_numpy(draw_frames(self.clips, count, rng)).to(self.device)
        return self.held[torch.from_numpy(rng.integers(len(self.held), size=count)).to(self.device)]


def draw_frames(clips: Sequence[StoredClip], count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """`count` frames drawn evenly from all steps of all clips: uint8 (count, H, W, 3)."""
    lengths = np.array([len(clip.frames) for clip in clips])
    ends = lengths.cumsum()
    picks = rng.integers(ends[-1], size=count)
    which = np.searchsorted(ends, picks, side="right")
    return np.stack([clips[i].frames[p - (ends[i] - lengths[i])] for i, p in zip(which, picks, strict=True)])


def train_tokenizer(
    config: ImageTokenizerConfig,
    options: TokenizerTraining,
    train: Sequence[StoredClip],
    held_out: NDArray[np.uint8],
    out: Path,
    stop_after_minutes: float | None = None,
) -> TokenizerScores | None:
    """Trains, or goes on with, the run in `out`. Returns the final scores, or None if it stopped early.

    Every batch is drawn from (seed, step), so that a resumed run sees the same frames.
    """
    device = torch.device(options.device)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    model = ImageTokenizer(config)
    if options.init is not None:
        if options.freeze_encoder:
            load_weights(options.init, "tokenizer", model)
        else:
            tell_start(options.init, "tokenizer", load_fitting(options.init, "tokenizer", model))
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(model).requires_grad_(False)
    if options.freeze_encoder:
        model.encoder.requires_grad_(False)
        model.quantizer.eval()  # its codebook stays, too
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learned, options.learning_rate, betas=(0.9, 0.95), weight_decay=options.weight_decay)
    weights = torch.from_numpy(loss_weights(options.hud, config.height, config.width)).to(device)
    bank, pace = FrameBank(train, device), Pace(options.steps, options.minutes)
    torch.backends.cudnn.benchmark = True  # every step has the same shapes
    parts = {"model": model, "average": average, "optimizer": optimizer}
    saved = {"image_tokenizer": config_to_dict(config)}
    run = Run("tokenizer", out, pace, parts, lambda: write_checkpoint(out, saved, {"tokenizer": average}))
    log = RunLog(out / "log.jsonl", run.done)

    def report(step: int, bar: tqdm) -> TokenizerScores:
        scores = score_tokenizer(average, held_out, options.hud, device)
        values: dict[str, Any] = config_to_dict(scores)
        log.write(step, **values)
        sample_picture(average, held_out[:: max(1, len(held_out) // 6)][:6], out / f"sample_{step:06d}.png", device)
        bar.write(f"step {step}: PSNR {scores.psnr:.2f} dB, SSIM {scores.ssim:.3f}, perplexity {scores.perplexity:.0f}")
        return scores

    def train_step(step: int, bar: tqdm) -> None:
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * cosine_lr(step, pace.steps, options.warmup)
        frames = bank.draw(options.batch, np.random.default_rng((options.seed, step)))
        pixels = to_pixels(frames).contiguous(memory_format=torch.channels_last)
        torch.manual_seed(options.seed * 1_000_003 + step)  # the perturbation, too, depends on the step alone
        ramp = min(1.0, step / (PERTURB_RAMP * pace.steps))
        with autocast(device, options.bf16):
            made, _, quantizer_loss = model(pixels, options.perturb * ramp, options.perturbed_share)
        made = made.float()
        error = (weights * (made - pixels).square()).mean()
        loss = 2 * error + options.ssim_weight * (1 - windowed_ssim(made, pixels)) + quantizer_loss
        if options.grain > 0:
            loss = loss + options.grain * patch_distance(made, pixels, torch.Generator(device).manual_seed(step))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        update_average(average, model, step, options.average_decay)
        if step % 50 == 0:
            log.write(step, loss=loss.item(), mse=error.item())
            bar.set_postfix(loss=f"{loss.item():.4f}")

    if not run.go(train_step, device, options.save_minutes, stop_after_minutes, report, options.eval_steps):
        return None
    with tqdm(disable=True) as bar:
        return report(run.done, bar)
