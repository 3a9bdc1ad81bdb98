"""Trains the transformer on stored tokens: cross-entropy of every image token of every frame but the first.

Resumable to the same loss curve (each batch depends on seed and step alone), cosine schedule, gradient clipping,
EMA weights, validation loss, sample rollouts; one device, or several through torchrun (DDP). Muon for the layers'
matrices (Jordan et al. 2024, as in torch.optim.Muon), AdamW for the rest.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from kernels.sampling import Sampler
from worldmodel.checkpoint import load_weights
from worldmodel.config import WorldModelConfig
from worldmodel.data.frames import StoredClip
from worldmodel.data.tokens import TokenClip, WindowSampler
from worldmodel.engine.decoder import Decoder, FrameDecoder, InputTables
from worldmodel.engine.host.eager import EagerBackend
from worldmodel.evaluation.following.episodes import pick_episodes
from worldmodel.evaluation.following.rollout import Rollout, roll_out, rollout_picture
from worldmodel.evaluation.metrics.picture import psnr
from worldmodel.model.loading import save_starts, save_world_model
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.training.corruption import add_noise, make_stale
from worldmodel.training.run.common import Pace, RunLog, autocast, cosine_lr, moved, update_average
from worldmodel.training.run.loop import Run
from worldmodel.training.run.stopping import processes, rank
from worldmodel.training.starts import pick_starts


@dataclass(frozen=True, slots=True)
class WorldTraining:
    """How it is trained."""

    steps: int = 4000
    """How many steps."""
    minutes: float = 0.0
    """If above 0: as many steps as fit into so many minutes, by the pace of the first ones."""
    batch: int = 3
    """Clips a step and process."""
    clip: int = 12
    """Frames a clip, more than the model's window."""
    learning_rate: float = 2e-3
    """Its peak."""
    warmup: int = 100
    """Steps over which the learning rate rises."""
    weight_decay: float = 0.05
    """Weight decay of the optimizer."""
    average_decay: float = 0.998
    """Of the moving average of the weights, which is what is kept."""
    noise: float = 0.1
    """The largest share of input tokens that are replaced by a near code (the targets stay true), against drift."""
    balance: float = 0.5
    """Share of the windows that are drawn for a rare action."""
    stale: float = 0.0
    """Share of the frames that are begun with the tokens of the frame before."""
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
    save_minutes: float = 4.0
    """The state is saved this often: the most that a kill loses."""
    eval_steps: int = 500
    """Validation loss and rollouts are made every so many steps."""
    val_clips: int = 24
    """Windows of the validation loss."""
    rollouts: int = 4
    """Rollouts of each validation."""
    rollout_frames: int = 15
    """Frames generated in each."""
    context: int = 0
    """Recorded frames before them, and in a start scene. Default: as many as the model sees."""


@dataclass(frozen=True, slots=True)
class RolloutScores:
    """psnr_model, psnr_repeat: dB a frame index, mean over clips, of the rollout and of the repeated last frame."""

    psnr_model: tuple[float, ...]
    psnr_repeat: tuple[float, ...]
    clips: int


class Optimizers:
    """Muon for the layers' matrices and AdamW for everything else, stepped and saved together."""

    def __init__(self, model: VisualActionTransformer, options: WorldTraining) -> None:
        matrices = [p for p in model.layers.parameters() if p.ndim == 2]
        chosen = {id(p) for p in matrices}
        rest = [p for p in model.parameters() if id(p) not in chosen]
        rate, decay = options.learning_rate, options.weight_decay
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, rate, betas=(0.9, 0.95), weight_decay=0.0),
        ]

    def step(self, rate: float) -> None:
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, state: list[dict]) -> None:
        for part, values in zip(self.parts, state, strict=True):
            part.load_state_dict(values)


def targets_of(tokens: Tensor, model: VisualActionTransformer) -> Tensor:
    """tokens (B, T, places) -> (B, T - 1, image): what each slot of frames 1.. predicts."""
    return tokens[:, 1:, torch.from_numpy(model.layout.places).to(tokens.device)]


@torch.no_grad()
def validation_loss(model: VisualActionTransformer, tokens: Tensor, actions: Tensor, bf16: bool) -> tuple[float, float]:
    """Mean cross-entropy (nats a token) and share of tokens whose likeliest (main) code is right, over all clips."""
    model.eval()
    device = model.lm_head.weight.device
    losses, hits = [], []
    for clip, action in zip(tokens, actions, strict=True):
        clip, action = clip[None].to(device), action[None].to(device)
        with autocast(device, bf16):
            logits = model(clip, action)
        target = targets_of(clip, model)
        losses.append(model.nats(logits, target).mean().item())
        hits.append((logits[..., : model.main].argmax(-1) == target % model.main).float().mean().item())
    return float(np.mean(losses)), float(np.mean(hits))


def sample_rollouts(
    decoder: Decoder,
    tokenizer: ImageTokenizer,
    clips: Sequence[tuple[StoredClip, TokenClip]],
    count: int,
    frames: int,
    context: int,
    sampler: Sampler,
) -> list[Rollout]:
    """`count` rollouts from evenly spread places of the validation clips."""
    return [
        roll_out(decoder, tokenizer, episode.frames, episode.tokens, episode.actions, context, sampler, 0)
        for episode in pick_episodes(clips, count, context + frames)
    ]


def score_rollouts(rollouts: list[Rollout]) -> RolloutScores:
    made = np.mean([psnr(rollout.made, rollout.real) for rollout in rollouts], 0)
    repeat = np.mean([psnr(rollout.real, rollout.last[None]) for rollout in rollouts], 0)
    return RolloutScores(tuple(made.round(3).tolist()), tuple(repeat.round(3).tolist()), len(rollouts))


def train_world(
    config: WorldModelConfig,
    options: WorldTraining,
    tokenizer: ImageTokenizer,
    train: Sequence[TokenClip],
    val: Sequence[tuple[StoredClip, TokenClip]],
    out: Path,
    stop_after_minutes: float | None = None,
) -> bool:
    """Trains, or goes on with, the run in `out`. Returns whether it reached its last step."""
    device = torch.device(options.device)
    if processes() > 1:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
    # Raises before any work if the clips are too short.
    sampler = WindowSampler(train, options.clip, options.balance)
    val_tokens, val_actions = WindowSampler([stored for _, stored in val], options.clip).spread(options.val_clips)
    context = options.context or config.transformer.window
    out.mkdir(parents=True, exist_ok=True)
    if rank() == 0:  # first, so that what was trained can be played whenever it stops
        save_starts(out, pick_starts(val, context))
    torch.manual_seed(options.seed)
    model = VisualActionTransformer(config)
    if options.init is not None:
        load_weights(options.init, "transformer", model)
    model = model.to(device)
    average = copy.deepcopy(model).requires_grad_(False)
    tokenizer = tokenizer.to(device)
    optimizers = Optimizers(model, options)
    parts = {"model": model, "average": average, "optimizers": optimizers}
    pace = Pace(options.steps, options.minutes)
    run = Run("world", out, pace, parts, lambda: save_world_model(out, config, tokenizer, average))
    order = torch.from_numpy(model.layout.places).to(device)
    if options.compile:  # a layer at a time: all are one piece of code, compiled once
        for layer in model.layers:
            layer.compile()
    trained: nn.Module = DistributedDataParallel(model) if processes() > 1 else model
    log = RunLog(out / "log.jsonl", run.done) if rank() == 0 else None

    def report(step: int, bar: tqdm) -> None:
        if log is None:
            return
        loss, accuracy = validation_loss(average, val_tokens, val_actions, options.bf16)
        decoder = FrameDecoder(config, InputTables.of(average), EagerBackend(average))
        rollouts = sample_rollouts(
            decoder, tokenizer, val, options.rollouts, options.rollout_frames, context, Sampler()
        )
        scores = score_rollouts(rollouts)
        rollout_picture(rollouts, out / f"rollout_{step:06d}.png")
        made, repeat = np.mean(scores.psnr_model), np.mean(scores.psnr_repeat)
        log.write(step, val_loss=loss, val_accuracy=accuracy, rollout_psnr=float(made), repeat_psnr=float(repeat))
        bar.write(
            f"step {step}: val loss {loss:.3f}, accuracy {accuracy:.1%}, rollout {made:.2f} dB, repeat {repeat:.2f} dB"
        )

    def train_step(step: int, bar: tqdm) -> None:
        model.train()
        rng = np.random.default_rng((options.seed, step, rank()))
        drawn = sampler.draw(options.batch, rng)
        tokens, actions = moved(device, drawn.tokens, drawn.actions)
        generator = torch.Generator(device).manual_seed(options.seed * 1_000_003 + step * processes() + rank())
        inputs = make_stale(tokens, order, options.stale, generator) if options.stale > 0 else tokens
        inputs = add_noise(inputs, tokenizer, options.noise, generator) if options.noise > 0 else inputs
        with autocast(device, options.bf16):
            logits = trained(inputs, actions)
        loss = model.nats(logits, targets_of(tokens, model)).mean()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(options.learning_rate * cosine_lr(step, pace.steps, options.warmup))
        update_average(average, model, step, options.average_decay)
        if log is not None and step % 20 == 0:
            log.write(step, loss=loss.item(), gradient=float(norm))
            bar.set_postfix(loss=f"{loss.item():.3f}")

    done = run.go(train_step, device, options.save_minutes, stop_after_minutes, report, options.eval_steps)
    if done:
        with tqdm(disable=True) as bar:
            report(run.done, bar)
    if processes() > 1:
        torch.distributed.destroy_process_group()
    return done
