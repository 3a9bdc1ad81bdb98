"""Runs the page's graphs in Python, with ONNX Runtime behind FrameDecoder: the twin of the page's loop. Tests and
benchmarks need it; exporting and playing do not."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime

from worldmodel.engine.decoder import Array, FrameDecoder, Pass, ring_entries
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.web.graph import SETTINGS, Bits
from worldmodel.web.pass_graph import RowInputs, build_pass

MASKED = np.float32(-1e9)


def open_session(model: onnx.ModelProto, threads: int = 1) -> onnxruntime.InferenceSession:
    """threads: 0 is all cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    for name, value in SETTINGS.items():
        options.add_session_config_entry(name, value)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


class OnnxBackend:
    """Twin of EagerBackend whose x are the rows of RowInputs."""

    name = "onnx"

    def __init__(self, model: VisualActionTransformer, bits: Bits = 32, threads: int = 1) -> None:
        self.ring = ring_entries(model)
        self.layers = model.config.transformer.layers
        t = model.config.transformer
        self.keys = np.zeros((t.layers, t.kv_heads, self.ring, t.head_dim), np.float32)
        self.values = np.zeros_like(self.keys)
        self.session = open_session(build_pass(model, bits), threads)

    def run(self, one: Pass) -> Array:
        seen = np.flatnonzero(one.past.any(0))
        wanted = np.arange(len(one.x), dtype=np.int32)[one.logits]
        given = {
            "rows": one.x,
            "cos": one.cos,
            "sin": one.sin,
            "past": np.where(one.past[:, seen], np.float32(0), MASKED),
            "own": np.where(one.own, np.float32(0), MASKED),
            "wanted": wanted if len(wanted) else np.zeros(1, np.int32),
        }
        for layer in range(self.layers):
            given[f"keys.{layer}"] = self.keys[layer][:, seen]
            given[f"values.{layer}"] = self.values[layer][:, seen]
        names = [f"new_{kind}.{layer}" for layer in range(self.layers) for kind in ("keys", "values")]
        scores, *new = self.session.run(["logits", *names], given)
        targets = np.concatenate([np.arange(part.start, part.stop) for part in one.slots])
        for layer in range(self.layers):
            self.keys[layer][:, targets], self.values[layer][:, targets] = new[2 * layer], new[2 * layer + 1]
        return np.asarray(scores)[: len(wanted)]


def onnx_decoder(model: VisualActionTransformer, bits: Bits = 32, threads: int = 1) -> FrameDecoder:
    """The page's loop over the page's graph, in Python."""
    return FrameDecoder(model.config, RowInputs(model), OnnxBackend(model, bits, threads))
