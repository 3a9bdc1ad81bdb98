"""A model as the native decoder takes it (kernels/cpu/model.h): its numbers, its tables, and its weights by name. For the
engine, and for a page that runs the same decoder."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worldmodel.model.transformer import VisualActionTransformer

TABLES = {
    "embedding": "embed_tokens.weight",
    "start": "start",
    "place": "place",
    "no_previous": "no_previous",
    "previous": "previous_proj.weight",
    "action": "action_proj.weight",
    "chain": "chain",
}
"""Fields that are float32 arrays -> parameters. A model need not have all of them."""
_LAYER = (
    "input_layernorm",
    *(f"{name}_proj" for name in "qkvo"),
    "post_attention_layernorm",
    *(f"{name}_proj" for name in ("gate", "up", "down")),
)


def weight_names(model: VisualActionTransformer) -> list[str]:
    """Parameters in the decoder's order."""
    layers = [f"layers.{index}.{name}.weight" for index in range(len(model.layers)) for name in _LAYER]
    return [*layers, "norm.weight", "lm_head.weight"]


def model_numbers(model: VisualActionTransformer) -> dict[str, int | float]:
    """Its fields that are numbers, but for those that say how it is played."""
    t, layout = model.config.transformer, model.layout
    return {
        "hidden": t.hidden,
        "mlp": t.mlp,
        "layers": t.layers,
        "heads": t.heads,
        "kv_heads": t.kv_heads,
        "head_dim": t.head_dim,
        "image": layout.image,
        "length": layout.length,
        "tail": len(layout.tail),
        "window": t.window,
        "passes": len(layout.group_slots),
        "offsets": len(t.offsets),
        "main": model.main,
        "detail": model.detail,
        "inputs": len(model.embed_tokens.weight),
        "epsilon": t.norm_eps,
    }


def layout_tables(model: VisualActionTransformer) -> dict[str, NDArray[np.int32]]:
    """Its fields that are int32 arrays."""
    layout = model.layout
    tables = {
        "sources": layout.sources,
        "places": layout.places,
        "tail_places": layout.tail,
        "ends": [part.stop for part in layout.group_slots],
        "offset": model.config.transformer.offsets,
    }
    return {name: np.ascontiguousarray(table, np.int32) for name, table in tables.items()}
