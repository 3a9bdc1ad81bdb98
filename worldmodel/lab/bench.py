"""One preset from recorded clips to a row of columns.

Every stage leaves a file in a folder that is named after all that it depends on: what is done is not done again, and
presets that share a stage (samplers over the same world) share its files. A killed run goes on where it was.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from worldmodel.checkpoint import weights_hash
from worldmodel.data.frames import write_json
from worldmodel.evaluation.metrics.picture import psnr
from worldmodel.lab import scores
from worldmodel.lab.budget import Budget
from worldmodel.lab.clips import Data, clip_codes, decode_clip, digest, open_data
from worldmodel.lab.heads import head_radices
from worldmodel.lab.picture_columns import (
    GLYPH_FRAMES,
    SCORED_EVERY,
    Columns,
    decoder_ms,
    score_codes,
    score_glyphs,
    score_pictures,
)
from worldmodel.lab.table import read_rows
from worldmodel.lab.train import moves_of, train_autoencoder, train_prior
from worldmodel.lab.train_world import train_lab_world
from worldmodel.lab.variant import Variant
from worldmodel.lab.world_columns import score_world, token_clips
from worldmodel.measure.provenance import provenance
from worldmodel.readers.idm import InverseDynamicsModel, load_idm
from worldmodel.types import WorldModelError


def chosen(part: Any) -> Any:
    """A part's values that are not defaults, as plain ones: a part that is added later renames no finished stage."""
    if isinstance(part, tuple | list):
        return [chosen(value) for value in part]
    if not is_dataclass(part) or isinstance(part, type):
        return part
    values = {}
    for field in fields(part):
        value = getattr(part, field.name)
        plain = field.default if field.default_factory is MISSING else field.default_factory()
        if value != plain:
            values[field.name] = chosen(value)
    return values


def stage(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The stage's result from its file, made and written now if it is not there. NaN is None: an empty column."""
    if not path.is_file():
        made = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in make().items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, made)
    return json.loads(path.read_text())


# --- tokenizer ---


def measure(
    variant: Variant,
    data: Data,
    reader: InverseDynamicsModel | None,
    reader_key: str,
    out: Path,
    budget: Budget,
    seed: int,
) -> Columns:
    """All columns of a variant, from what is done already on."""
    head_radices(variant.head, [part.codebook_size for part in variant.tokenizer.codes])  # refuses before any work
    sizes = asdict(budget)
    steps = {name: sizes[name] for name in sizes if name.startswith(("tokenizer_", "train_", "bf16"))}
    aligned = reader_key if variant.objectives.align > 0 else ""
    learned = (chosen(variant.tokenizer), chosen(variant.objectives), variant.head, steps, seed, data.key, aligned)
    folder = out / f"tokenizer-{digest(*learned)}"
    tokenizer = train_autoencoder(
        variant.tokenizer, variant.objectives, variant.head, budget, data.train, reader, folder, seed
    )
    codes = clip_codes(tokenizer, data.train, folder / "codes" / "train", "encoding")
    held_out = clip_codes(tokenizer, data.val, folder / "codes" / f"val-{data.key}", "encoding")
    packing = variant.packing
    scored = digest(sizes, data.key, reader_key)

    def pictures() -> dict[str, Any]:
        prior = train_prior(
            codes, tokenizer.quantizer, variant.head, budget, folder / f"prior-{budget.prior_steps}", seed
        )
        frames = np.concatenate([clip.frames[:: len(data.val)] for clip in data.val])
        some = frames[np.linspace(0, len(frames) - 1, min(GLYPH_FRAMES, len(frames))).astype(int)]
        torch.manual_seed(seed)
        common = scores.common_codes(np.concatenate(codes))
        return {
            **score_pictures(tokenizer, prior, data.val, held_out, common, reader),
            **score_glyphs(tokenizer, some),
            **score_codes(tokenizer, data.val, held_out),
            "decoder_ms": decoder_ms(tokenizer, held_out[0]),
        }

    columns = stage(folder / f"scores-{scored}.json", pictures)
    lengths = [sizes[f"world_{name}"] for name in ("steps", "batch", "clip")]
    parts = {**chosen(variant.blocks), **chosen(packing), **({"fed_codes": True} if variant.fed_codes else {})}
    head = variant.world_head or variant.head
    if head != variant.head:
        parts["head"] = head
    world = digest(chosen(variant.transformer), variant.noise_told, *lengths, *([parts] if parts else []))
    stages = [f"world-{world}", *([f"world-{world}-{variant.tuned}"] if variant.tuned else [])]
    radices = head_radices(head, tokenizer.quantizer.radices)

    def rollouts() -> dict[str, Any]:
        thinned, thin = (
            [packing.thinned(own, clip, tokenizer.grid) for own, clip in zip(part, clips, strict=True)]
            for part, clips in ((codes, data.train), (held_out, data.val))
        )
        train, model = token_clips(data.train, thinned, radices, packing), None
        for name in stages:
            model = train_lab_world(
                variant.tokenizer.table, tokenizer.quantizer, head, variant.transformer, variant.noise_told,
                variant.blocks, packing, variant.fed_codes, budget, train, folder / name, seed,
                model, model is not None and variant.tuned == "actions",
            )  # fmt: skip
        assert model is not None, "there is a stage"
        drawn = folder / stages[-1] / f"rollouts-{digest(chosen(variant.sampler), scored)}"
        val = token_clips(data.val, thin, radices, packing)
        found = score_world(variant, tokenizer, model, data.val, val, reader, budget, drawn)
        if packing.still > 0:
            found |= score_codes(tokenizer, data.val, thin)
            shown = [
                psnr(
                    decode_clip(tokenizer, own, moves_of(clip), clip.segments, SCORED_EVERY),
                    clip.frames[::SCORED_EVERY],
                )
                for own, clip in zip(thin, data.val, strict=True)
            ]
            found["psnr"] = float(np.concatenate(shown).mean())
        return {**found}

    return {**columns, **stage(folder / f"{stages[-1]}-{digest(chosen(variant.sampler), scored)}.json", rollouts)}


def run(
    name: str,
    variant: Variant,
    train: Sequence[Path],
    val: Path,
    reader: Path | None,
    out: Path,
    results: Path,
    budget: Budget,
    seed: int,
) -> dict[str, Any]:
    """Measures a preset and adds its row to `results`, unless it is there."""
    model, reader_key = None, ""
    if reader is not None:
        model = load_idm(reader)
        size = (model.config.height, model.config.width)
        if size != (variant.tokenizer.height, variant.tokenizer.width):
            raise WorldModelError(
                f"{reader} reads frames of {size[1]}x{size[0]}, the laboratory's are "
                f"{variant.tokenizer.width}x{variant.tokenizer.height}: train one with worldmodel train idm"
            )
        reader_key = weights_hash(reader)
    elif variant.objectives.align > 0:
        raise WorldModelError(f"{name} aligns its tokenizer with an inverse dynamics model: give one with --reader")
    data = open_data(train, val, out / "frames", (variant.tokenizer.height, variant.tokenizer.width), budget)
    what = {name: value for name, value in chosen(variant).items() if name not in ("about", "reading")}
    conditions = asdict(budget), data.key, reader_key
    key, bench = digest(what, *conditions), digest(*conditions)
    rows = read_rows(results) if results.is_file() else []
    for row in rows:
        if (row["preset"], row["seed"], row["key"]) == (name, seed, key):
            return row
    columns = measure(variant, data, model, reader_key, out, budget, seed)
    made = {"columns": columns, "budget": asdict(budget), "provenance": provenance()}
    row = {"preset": name, "seed": seed, "key": key, "bench": bench, **made}
    results.parent.mkdir(parents=True, exist_ok=True)
    rows = read_rows(results) if results.is_file() else []  # others may have been added meanwhile
    kept = [old for old in rows if (old["preset"], old["seed"], old["bench"]) != (name, seed, bench)]
    write_json(results, [*kept, row])
    return row
