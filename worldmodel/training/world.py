"""Trains the transformer on stored tokens: cross-entropy of every image token of every frame but the first.

Resumable to the same loss curve (each batch depends on seed and step alone), cosine schedule, gradient clipping,
EMA weights, validation loss, sample rollouts; one device, or several through torchrun (see distributed.py).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from kernels.sampling import Sampler
from worldmodel.checkpoint import load_fitting
from worldmodel.config import WorldModelConfig
from worldmodel.data.frames import StoredClip
from worldmodel.data.tokens import TokenClip, WindowSampler
from worldmodel.engine.decoder import FrameDecoder, InputTables
from worldmodel.engine.host.eager import EagerBackend
from worldmodel.evaluation.following.rollout import rollout_picture, sample_rollouts, score_rollouts
from worldmodel.model.compiled_attention import CompiledAttention, compiled_attention_problem
from worldmodel.model.flex import FlexAttention
from worldmodel.model.loading import load_config, save_starts, save_world_model
from worldmodel.model.transformer import VisualActionTransformer, WholeClips, WindowAttention
from worldmodel.tokenizers.action import ActionTokenizer
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.training.corruption import add_noise, make_stale
from worldmodel.training.distributed import (
    Parallel,
    Trained,
    connect,
    mean_of,
    own_share,
    plain,
    recompute,
    shard,
    whole_model,
)
from worldmodel.training.flops import Meter
from worldmodel.training.guided import GuidedTeacher, check_teacher
from worldmodel.training.optimizers import Kind, Optimizers
from worldmodel.training.run.common import (
    Pace,
    RunLog,
    autocast,
    computes_bf16,
    cosine_lr,
    moved,
    tell_start,
    update_average,
)
from worldmodel.training.run.loop import Run
from worldmodel.training.run.state import SpreadState
from worldmodel.training.run.stopping import processes, rank
from worldmodel.training.starts import pick_starts
from worldmodel.types import WorldModelError

LOG_STEPS = 20
HELD_OUT_WINDOWS, HELD_OUT_FRAMES = 24, 13  # as many windows, and frames of each that have a whole context


@dataclass(frozen=True, slots=True)
class WorldTraining:
    """How it is trained."""

    steps: int = 4000
    """How many steps."""
    minutes: float = 0.0
    """If above 0: as many steps as fit into so many minutes, by the pace of the first ones."""
    batch: int = 3
    """Clips a step, of all processes together."""
    micro_batch: int = 0
    """Clips that a process computes at once; the gradients of its share are added up. 0: its whole share."""
    clip: int = 12
    """Frames a clip, more than the model's window."""
    learning_rate: float = 2e-3
    """Its peak."""
    warmup: int = 100
    """Steps over which the learning rate rises."""
    optimizer: Kind = "muon"
    """Of the layers' matrices: "muon", or "adamw", with which MineWorld was trained."""
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
    guidance: float = 0.0
    """If above 0, what is learned is to play as the weights of --init do when they are guided so strongly: a sampler's
    guidance costs a second lane, this none. Validation losses are those of guided play then, which are higher."""
    init: Path | None = None
    """A checkpoint to start from instead of random weights. Sizes that are not given are its own; what has another
    shape there starts at random."""
    seed: int = 0
    """Of everything that is drawn by chance."""
    device: str = "cpu"
    """Where it is trained: "cpu", "cuda" or "mps"."""
    bf16: bool = True
    """Compute in bf16 where that loses nothing that counts."""
    compile: bool = False
    """Compile the layers: steps are quicker then, on a CPU, too, where that takes a C++ compiler."""
    parallel: Parallel = "ddp"
    """With several processes (torchrun): "ddp" gives each a copy of the model, "fsdp" a part of it."""
    recompute: bool = False
    """Keep only the layers' inputs for the backward pass, and compute the rest again (activation checkpointing)."""
    attention: Literal["auto", "flex", "compiled", "dense"] = "auto"
    """"flex": FlexAttention, which knows the mask as a rule; "compiled": our own, on a CPU with tiles (AMX) and in bf16
    alone; "dense": a mask in memory. auto: flex on a GPU, compiled where it can be had."""
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


def start_from(folder: Path, model: VisualActionTransformer) -> None:
    """Fills what fits from a checkpoint, perhaps of a model of other tokens, whose actions' embeddings are the same, or
    of one that is told the camera otherwise."""
    others = load_fitting(folder, "transformer", model)
    table, rows = others.get("embed_tokens.weight"), model.embed_tokens.weight
    if table is not None and table.shape[1:] == rows.shape[1:]:
        told = load_config(folder).action_tokenizer()
        table = table.to(rows.dtype)
        with torch.no_grad():
            rows[model.first_action :] = action_rows(table[-told.size :], told, model.config.action_tokenizer())
            if len(table) - told.size == model.first_action:
                rows[: model.first_action] = table[: model.first_action]
                del others["embed_tokens.weight"]
    tell_start(folder, "transformer", others)


def action_rows(table: Tensor, told: ActionTokenizer, wanted: ActionTokenizer) -> Tensor:
    """The action tokens' embeddings (ids, hidden) of another vocabulary: camera bins between those of the table lie
    between their neighbours."""
    if told.finer >= wanted.finer:
        return table[: wanted.size]
    rows = torch.cat([table, table.new_zeros(wanted.size - told.size, table.shape[1])])
    bins = np.arange(wanted.camera_ids.shape[1]) * told.finer / wanted.finer
    below, share = np.floor(bins).astype(int), torch.from_numpy(bins % 1).to(rows.dtype)[:, None]
    above = np.minimum(below + 1, told.camera_ids.shape[1] - 1)
    for ids, known in zip(wanted.camera_ids, told.camera_ids, strict=True):
        rows[ids] = (1 - share) * table[known[below]] + share * table[known[above]]
    return rows


def attention_of(options: WorldTraining, config: WorldModelConfig, device: torch.device) -> WholeClips:
    """What --attention names. WorldModelError where it cannot be had."""
    if options.attention == "flex" or (options.attention == "auto" and device.type == "cuda"):
        return FlexAttention
    if options.attention == "dense" or (options.attention == "auto" and device.type != "cpu"):
        return WindowAttention
    problem = compiled_attention_problem(config.transformer.head_dim)
    if device.type != "cpu" or not options.bf16 or not computes_bf16(device):
        problem = "it computes in bf16 on a CPU alone"
    if not problem:
        return CompiledAttention
    if options.attention == "compiled":
        raise WorldModelError(f"the compiled attention cannot be had ({problem}): leave --attention at auto")
    return WindowAttention


def targets_of(tokens: Tensor, model: VisualActionTransformer) -> Tensor:
    """tokens (B, T, places) -> (B, T - 1, image): what each slot of frames 1.. predicts."""
    return tokens[:, 1:, torch.from_numpy(model.layout.places).to(tokens.device)]


@torch.no_grad()
def validation_loss(model: VisualActionTransformer, tokens: Tensor, actions: Tensor, bf16: bool) -> tuple[float, float]:
    """Mean cross-entropy (nats a token) and share of tokens that are guessed right (see `guessed`), over all clips."""
    model.eval()
    device = model.lm_head.weight.device
    losses, hits = [], []
    for clip, action in zip(tokens, actions, strict=True):
        clip, action = clip[None].to(device), action[None].to(device)
        with autocast(device, bf16):
            logits = model(clip, action)
        target = targets_of(clip, model)
        losses.append(model.nats(logits, target).mean().item())
        hits.append(model.guessed(logits, target).float().mean().item())
    return float(np.mean(losses)), float(np.mean(hits))


def held_out_loss(model: VisualActionTransformer, clips: Sequence[TokenClip]) -> dict[str, float]:
    """What a checkpoint is told by in its scores.json and in a sweep: `validation_loss` of windows that are spread over
    all clips."""
    sampler = WindowSampler(clips, model.config.transformer.window + HELD_OUT_FRAMES)
    tokens, actions = sampler.spread(HELD_OUT_WINDOWS)
    loss, accuracy = validation_loss(model, tokens, actions, bf16=False)
    return {"loss_nats_per_token": loss, "accuracy": accuracy, "windows": len(tokens)}


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
    if options.guidance > 0:
        check_teacher(options.init, config, options.guidance)
    share = own_share(options.batch)
    ours = processes() > 1 and not torch.distributed.is_initialized()  # else whoever connected them goes on with them
    device = connect(torch.device(options.device))
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
        start_from(options.init, model)
    model.whole_clips = attention_of(options, config, device)
    model = model.to(device)
    average = copy.deepcopy(model).requires_grad_(False)
    teacher = GuidedTeacher(copy.deepcopy(model), options.guidance) if options.guidance > 0 else None
    tokenizer = tokenizer.to(device)
    if options.recompute:
        recompute(model)
    spread = processes() > 1 and options.parallel == "fsdp"
    if spread:
        shard(model, device, options.bf16)
        shard(average, device, options.bf16)
    optimizers = Optimizers(model, options)
    pace = Pace(options.steps, options.minutes)

    def export() -> None:
        whole = whole_model(average, config)
        if whole is not None and rank() == 0:
            save_world_model(out, config, tokenizer, whole)

    parts = {"model": model, "average": average, "optimizers": optimizers}
    run = Run("world", out, pace, parts, export, SpreadState(out, spread))
    order = torch.from_numpy(model.layout.places).to(device)
    if options.compile:  # a layer at a time: all are one piece of code, compiled once
        for layer in (*model.layers, *(teacher.model.layers if teacher else ())):
            layer.compile()
    trained = Trained(model, options.parallel, teacher)
    log = RunLog(out / "log.jsonl", run.done) if rank() == 0 else None
    meter = Meter(config, options.batch, options.clip, device, run.done)

    def report(step: int, bar: tqdm) -> None:
        whole = whole_model(average, config)
        if log is None or whole is None:
            return
        began = time.monotonic()
        loss, accuracy = validation_loss(whole, val_tokens, val_actions, options.bf16)
        decoder = FrameDecoder(config, InputTables.of(whole), EagerBackend(whole))
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
        meter.leave_out(time.monotonic() - began)

    def inputs_of(tokens: Tensor, step: int, place: int) -> Tensor:
        """What the model is given of one clip (1, T, places), the batch's clip `place`."""
        clip = step * options.batch + place
        generator = torch.Generator(device).manual_seed(options.seed * 1_000_003 + clip)
        inputs = make_stale(tokens, order, options.stale, generator) if options.stale > 0 else tokens
        return add_noise(inputs, tokenizer, options.noise, generator) if options.noise > 0 else inputs

    def train_step(step: int, bar: tqdm) -> None:
        model.train()
        drawn = sampler.draw(options.batch, np.random.default_rng((options.seed, step, 0)), share)
        tokens, actions = moved(device, drawn.tokens, drawn.actions)
        loss = torch.zeros((), device=device)
        size = options.micro_batch or len(share)
        for first in range(0, len(share), size):
            part = slice(first, min(first + size, len(share)))
            given = [inputs_of(tokens[at : at + 1], step, share[at]) for at in range(part.start, part.stop)]
            with autocast(device, options.bf16):
                loss += trained.backward(
                    torch.cat(given),
                    actions[part],
                    targets_of(tokens[part], model),
                    weight=len(given) / len(share),
                    last=part.stop == len(share),
                )
        norm = plain(nn.utils.clip_grad_norm_(model.parameters(), 1.0))
        optimizers.step(options.learning_rate * cosine_lr(step, pace.steps, options.warmup))
        update_average(average, model, step, options.average_decay)
        if step % LOG_STEPS == 0:
            mean = mean_of(loss)
            if log is not None:
                log.write(step, loss=mean, gradient=float(norm), **meter.read(step + 1))
                bar.set_postfix(loss=f"{mean:.3f}")

    done = run.go(train_step, device, options.save_minutes, stop_after_minutes, report, options.eval_steps)
    if done:
        with tqdm(disable=True) as bar:
            report(run.done, bar)
    if ours:
        torch.distributed.destroy_process_group()
    return done
