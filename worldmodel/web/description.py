"""What the page's loop must know of a model beside its graphs, as plain values (world.json). Every number in it comes
from the model's own configuration."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from kernels.sampling import Sampler
from worldmodel.model.rotary import rotary_axes
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.tokenizers import action
from worldmodel.types import BUTTONS, DEGREES_PER_PIXEL, NO_ACTION
from worldmodel.web.pass_graph import BEFORE, COLUMNS, OWN, TableRows


def describe(model: VisualActionTransformer, sampler: Sampler) -> dict[str, Any]:
    """JSON: layout, rotary positions, rows of the graph's table, how actions become tokens, and the usual sampler."""
    config, layout = model.config, model.layout
    t = config.transformer
    positions, steps, frequencies = rotary_axes(config, layout)
    return {
        "size": [config.image_tokenizer.height, config.image_tokenizer.width],
        "rate": config.tick_rate,
        "offsets": list(t.offsets),
        "window": t.window,
        "detail": model.detail,
        "transformer": {"layers": t.layers, "heads": t.kv_heads, "channels": t.head_dim},
        "layout": {
            "image": layout.image,
            "length": layout.length,
            "places": layout.places.tolist(),
            "sources": layout.sources.tolist(),
            "tail": layout.tail.tolist(),
            "rank": layout.rank.tolist(),
            "ends": [part.stop for part in layout.group_slots],
        },
        "rotary": {
            "pairs": len(steps),
            "positions": positions.tolist(),
            "steps": steps.tolist(),
            "frequencies": frequencies.tolist(),
        },
        "table": {"own": OWN, "before": BEFORE, "columns": COLUMNS, **asdict(TableRows.of(model))},
        "actions": _actions(model.codes, config.legacy_camera),
        "idle": config.action_tokenizer().encode(NO_ACTION).tolist(),
        "sampler": asdict(sampler),
    }


def _actions(base: int, legacy_camera: bool) -> dict[str, Any]:
    """ActionTokenizer's numbers."""
    ids = {name: index for index, name in enumerate(BUTTONS)}
    return {
        "base": base,
        "bos": action.ACT_BOS,
        "eos": action.ACT_EOS,
        "none": action.NULL_ACT,
        "pitch": action.PITCH_BASE,
        "yaw": action.YAW_BASE,
        "slots": [[[name, ids[name]] for name in slot] for slot in action.BUTTON_SLOTS],
        "camera": {
            "degrees": action.CAMERA_MAX_DEGREES,
            "bin": action.CAMERA_BIN_SIZE,
            "mu": action.CAMERA_MU,
            "truncated": legacy_camera,
            "degrees_per_pixel": DEGREES_PER_PIXEL,
        },
    }
