"""Trains a preset's world model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldmodel.config import TransformerConfig
from worldmodel.data.tokens import TokenClip, WindowSampler
from worldmodel.lab.blocks import Blocks
from worldmodel.lab.budget import Budget
from worldmodel.lab.codes import Codes
from worldmodel.lab.heads import head_radices, is_chained
from worldmodel.lab.packing import Packed, Packing
from worldmodel.lab.sequence import NOISE_LEVELS, LabTransformer, world_config
from worldmodel.lab.train import STEP_SEED, run_steps
from worldmodel.training.corruption import noisy
from worldmodel.training.optimizers import Optimizers
from worldmodel.training.run.common import autocast, cosine_lr, update_average
from worldmodel.training.world import WorldTraining

JUDGED = 0.2  # of the tokens that a judge learns from are the model's own


def own_draws(model: LabTransformer, true: Tensor, actions: Tensor, generator: torch.Generator) -> Tensor:
    """Clips' tokens (B, T, places), a share JUDGED of them drawn by the model itself, from frame 1 on."""
    queries = model.layout.queries

    def pick(logits: Tensor, _: int) -> Tensor:
        share = logits.float().softmax(-1)
        return torch.multinomial(share.flatten(0, -2), 1, generator=generator).view(share.shape[:-1])

    with torch.no_grad():
        drawn = model.head.draw(model.hidden(true, actions)[:, :, torch.from_numpy(queries)], pick)
    placed = torch.empty_like(true)
    placed[:, :, torch.from_numpy(model.layout.places[queries])] = drawn
    wrong = torch.rand(true.shape, generator=generator) < JUDGED
    wrong[:, 0] = False
    return torch.where(wrong, placed, true)


def train_lab_world(
    table: tuple[int, int],
    quantizer: Codes,
    head: str,
    transformer: TransformerConfig,
    noise_told: bool,
    blocks: Blocks,
    packing: Packing,
    fed_codes: bool,
    budget: Budget,
    clips: Sequence[TokenClip],
    folder: Path,
    seed: int,
    start: LabTransformer | None = None,
    actions_only: bool = False,
) -> LabTransformer:
    """A world model on finished, packed codes, from scratch or from `start`: the averaged weights. actions_only: only
    the action tokens' embeddings learn."""
    radices = packing.radices(head_radices(head, quantizer.radices))
    options = WorldTraining(batch=budget.world_batch, clip=budget.world_clip)  # whose rates hold here too
    sampler = WindowSampler(clips, options.clip, options.balance)
    torch.manual_seed(seed)
    config = world_config(packing.table(table), radices, transformer)
    chained = is_chained(head) or packing.fuse > 1
    codebook = quantizer.decode(torch.arange(quantizer.codebook_size)) if fed_codes else None
    model = LabTransformer(config, radices, chained, noise_told, blocks, packing.extra, codebook)
    if start is not None:
        model.load_state_dict(start.state_dict())
    average = copy.deepcopy(model).requires_grad_(False)
    optimizers = Optimizers(model, options)
    steps, device, packed = budget.world_steps, torch.device("cpu"), Packed(quantizer, packing)

    def step(number: int) -> float:
        rng = np.random.default_rng((seed, number))
        generator = torch.Generator().manual_seed(seed * STEP_SEED + number)
        drawn = sampler.draw(options.batch, rng)
        share = torch.rand(*drawn.tokens.shape[:2], 1, generator=generator) * options.noise
        given = noisy(drawn.tokens, packed, share, generator)
        levels = (share[..., 0] / options.noise * NOISE_LEVELS).long().clamp_max(NOISE_LEVELS - 1)
        nearest = int(rng.integers(1, len(transformer.offsets) + 1)) if blocks.any_length else None
        with autocast(device, budget.bf16):
            if model.judge is not None:
                given = own_draws(model, drawn.tokens, drawn.actions, generator)
            hidden = model.hidden(given, drawn.actions, levels, nearest)
            loss = model.nats_of(hidden, drawn.tokens).mean()
            if model.judge is not None:
                doubts, places = model.doubts(hidden[:, 1:])
                wrong = (given != drawn.tokens)[:, 1:, torch.from_numpy(places)]
                loss = loss + F.binary_cross_entropy_with_logits(doubts.float(), wrong.float())
        loss.backward()
        if actions_only:
            rows = model.embed_tokens.weight.grad
            model.zero_grad(set_to_none=True)
            assert rows is not None
            rows[: sum(radices)] = 0
            model.embed_tokens.weight.grad = rows
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(options.learning_rate * cosine_lr(number, steps, max(1, steps // 8)))
        update_average(average, model, number, options.average_decay)
        return loss.item()

    state = {"model": model, "average": average, "optimizers": optimizers}
    run_steps("world" if start is None else "tuning", folder, steps, state, step, budget.save_minutes)
    return average.eval()
