"""What the page's loop must know of a model beside its weights, as plain values (world.json). Every number in it comes
from the model's own configuration."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from kernels.native import SPAN
from kernels.sampling import COLDEST, Sampler
from worldmodel.engine.host.native_model import (
    TABLES,
    layout_tables,
    model_numbers,
    picture_numbers,
    picture_weights,
    weight_names,
)
from worldmodel.model.rotary import rotary_axes
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.tokenizers import action
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.types import BUTTONS, DEGREES_PER_PIXEL, NO_ACTION
from worldmodel.web.stored import SCALE

SCALES = {"behind": SCALE, "span": SPAN}


def describe_pictures(tokenizer: ImageTokenizer) -> dict[str, Any]:
    """JSON: the native image decoder's numbers, the names of its weights, and how tokens become latents: the levels of
    channels, or none where the file has a codebook. WorldModelError for another kind of decoder."""
    return {
        "numbers": picture_numbers(tokenizer),
        "weights": list(picture_weights(tokenizer)),
        "levels": list(tokenizer.config.channel_levels) or None,
        "scales": SCALES,
    }


def describe(model: VisualActionTransformer, sampler: Sampler) -> dict[str, Any]:
    """JSON: the native decoder's numbers and tables, the names of its weights, rotary positions, how actions become
    tokens, and the usual sampler."""
    config, layout = model.config, model.layout
    positions, steps, frequencies = rotary_axes(config, layout)
    held = dict(model.named_parameters())
    return {
        "size": [config.image_tokenizer.height, config.image_tokenizer.width],
        "rate": config.tick_rate,
        "numbers": model_numbers(model),
        "layout": {name: table.tolist() for name, table in layout_tables(model).items()},
        "tables": {field: name for field, name in TABLES.items() if name in held},
        "weights": weight_names(model),
        "scales": SCALES,
        "rotary": {
            "pairs": len(steps),
            "positions": positions.tolist(),
            "steps": steps.tolist(),
            "frequencies": frequencies.tolist(),
        },
        "codes": model.codes,
        "first_action": model.first_action,
        "actions": _actions(config.action_tokenizer()),
        "idle": config.action_tokenizer().encode(NO_ACTION).tolist(),
        "sampler": asdict(sampler),
        "coldest": COLDEST,
    }


def _actions(tokenizer: action.ActionTokenizer) -> dict[str, Any]:
    """ActionTokenizer's numbers."""
    ids = {name: index for index, name in enumerate(BUTTONS)}
    return {
        "base": tokenizer.base,
        "bos": action.ACT_BOS,
        "eos": action.ACT_EOS,
        "none": action.NULL_ACT,
        "slots": [[[name, ids[name]] for name in slot] for slot in action.BUTTON_SLOTS],
        "camera": {
            "degrees": action.CAMERA_MAX_DEGREES,
            "ids": tokenizer.camera_ids.tolist(),
            "bin": action.CAMERA_BIN_SIZE / tokenizer.finer,
            "mu": action.CAMERA_MU,
            "truncated": tokenizer.legacy_camera,
            "told": action.told_degrees(tokenizer.legacy_camera, tokenizer.finer),
            "degrees_per_pixel": DEGREES_PER_PIXEL,
        },
    }
