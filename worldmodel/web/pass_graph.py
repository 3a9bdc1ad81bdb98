"""A pass of the transformer as one ONNX graph for every width: rows in, logits and their keys and values out.

Twin of engine/openvino_graphs.py's passes, but the embeddings are in the graph: a page sends small integers. Each row
of "rows" names the rows of one table (TableRows) whose sum is its input: two for its token's parts, its place, what
stands for a frame before where there is none; then two of the frame before's token, which `previous_proj` turns, and
the action's, which `action_proj` turns. Where there is less to add, the table's zero is named.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto

from worldmodel.model.layout import BlockLayout
from worldmodel.model.transformer import Layer, VisualActionTransformer
from worldmodel.tokenizers.action import ACTION_VOCABULARY, TOKENS_PER_ACTION
from worldmodel.types import Tokens
from worldmodel.web.graph import Bits, Graph

OWN, BEFORE = 4, 2  # columns of "rows": added as they are, and of the frame before; then the action's
COLUMNS = OWN + BEFORE + TOKENS_PER_ACTION


@dataclass(frozen=True, slots=True)
class TableRows:
    """Where things lie in the table of input embeddings. codes, main: of the image tokenizer; detail: codes of a
    token's second part (1: it has none); the rest: first rows."""

    codes: int
    main: int
    detail: int
    action: int
    start: int
    no_previous: int
    zero: int
    place: int

    @staticmethod
    def of(model: VisualActionTransformer) -> TableRows:
        action = len(model.embed_tokens.weight) - ACTION_VOCABULARY
        after = len(model.embed_tokens.weight)
        return TableRows(model.codes, model.main, model.detail, action, after, after + 1, after + 2, after + 3)


class RowInputs:
    """What a page sends for the slots of a block: int32 (n, COLUMNS). Stands where InputTables does."""

    def __init__(self, model: VisualActionTransformer) -> None:
        self.at = TableRows.of(model)
        self.chain = None if model.chain is None else model.chain.detach().float().numpy()

    def image(
        self, layout: BlockLayout, part: slice, tokens: Tokens, previous: Tokens | None, action: Tokens | None
    ) -> NDArray:
        sources = layout.sources[part]
        rows = np.full((len(sources), COLUMNS), self.at.zero, np.int32)
        rows[:, :2] = self._token(tokens[np.maximum(sources, 0)])
        rows[sources < 0, :2] = (self.at.start, self.at.zero)
        rows[:, 2] = self.at.place + np.arange(layout.length)[part]
        if previous is None:
            rows[:, 3] = self.at.no_previous
        else:
            rows[:, OWN : OWN + BEFORE] = self._token(previous[layout.places[part]])
        if action is not None:
            rows[:, OWN + BEFORE :] = self._action(action)
        return rows

    def outro(self, layout: BlockLayout, tokens: Tokens, action: Tokens) -> NDArray:
        rows = np.full((layout.outro, COLUMNS), self.at.zero, np.int32)
        tail = len(layout.tail)
        rows[:tail, :2] = self._token(tokens[layout.tail])
        rows[tail:, 0] = self._action(action)
        rows[:, 2] = self.at.place + np.arange(layout.image, layout.length)
        return rows

    def _token(self, tokens: Tokens) -> NDArray[np.int32]:
        """(n,) -> the rows of their parts (n, 2)."""
        if self.at.detail == 1:
            return np.stack([tokens, np.full_like(tokens, self.at.zero)], -1)
        return np.stack([tokens % self.at.main, self.at.main + tokens // self.at.main], -1)

    def _action(self, tokens: Tokens) -> NDArray[np.int32]:
        return tokens - self.at.codes + self.at.action


def _table(model: VisualActionTransformer) -> torch.Tensor:
    """The rows that TableRows names. What a model does not have is zero."""
    zero = torch.zeros(1, model.config.transformer.hidden)
    place = model.place if model.place is not None else zero.expand(model.layout.length, -1)
    no_previous = model.no_previous[None] if model.no_previous is not None else zero
    return torch.cat([model.embed_tokens.weight, model.start[None], no_previous, zero, place])


def build_pass(model: VisualActionTransformer, bits: Bits = 8) -> onnx.ModelProto:
    """Inputs: rows int32 (n, COLUMNS); cos, sin (n, head_dim/2); past (n, entries), own (n, n) additive masks; wanted
    int32 (m,), the rows whose logits are asked for; then keys.i and values.i (kv_heads, entries, head_dim) of each
    layer. Outputs: logits (m, main + detail codes); then new_keys.i and new_values.i (kv_heads, n, head_dim).

    bits: what the matrices are stored in; 8: the tables in 16.
    """
    t = model.config.transformer
    half = t.head_dim // 2
    graph = Graph("pass", bits)
    op, integers = graph.op, graph.integers

    def rms_norm(x: str, weight: torch.Tensor) -> str:
        mean = op("ReduceMean", op("Pow", x, graph.constant(2)), integers(-1), keepdims=1)
        scale = op("Sqrt", op("Add", mean, graph.constant(t.norm_eps)))
        return op("Mul", op("Div", x, scale), graph.constant(weight))

    def heads(x: str, count: int) -> str:  # (n, count * D) -> (count, n, D)
        return op("Transpose", op("Reshape", x, integers(-1, count, t.head_dim)), perm=[1, 0, 2])

    def rotate(x: str) -> str:
        a, b = graph.ops("Split", 2, x, axis=2, num_outputs=2)
        first = op("Sub", op("Mul", a, cos), op("Mul", b, sin))
        second = op("Add", op("Mul", b, cos), op("Mul", a, sin))
        return op("Concat", first, second, axis=2)

    def turned(x: str) -> str:  # (kv_heads, n, D) -> (kv_heads, D, n)
        return op("Transpose", x, perm=[0, 2, 1])

    rows = graph.input("rows", np.int32, "n", COLUMNS)
    cos, sin = graph.input("cos", np.float32, "n", half), graph.input("sin", np.float32, "n", half)
    past, own = graph.input("past", np.float32, "n", "entries"), graph.input("own", np.float32, "n", "n")
    wanted = graph.input("wanted", np.int32, "m")
    shape = (t.kv_heads, "entries", t.head_dim)
    cache = [
        (graph.input(f"keys.{i}", np.float32, *shape), graph.input(f"values.{i}", np.float32, *shape))
        for i in range(t.layers)
    ]
    seen = op("Concat", past, own, axis=1)
    entries = op("Shape", past, start=1)
    # Query heads that share a key head are packed as rows: (kv_heads, groups * n, D).
    packed, apart = integers(t.kv_heads, -1, t.head_dim), integers(t.heads, -1, t.head_dim)
    together, by_head = integers(t.kv_heads, -1, 0), integers(t.heads, -1, 0)

    x = _embed(graph, model, rows)
    for index, (layer, (keys, values)) in enumerate(zip(model.layers, cache, strict=True)):
        assert isinstance(layer, Layer)
        h = rms_norm(x, layer.input_layernorm.weight)
        weights = [layer.q_proj.weight * t.head_dim**-0.5, layer.k_proj.weight, layer.v_proj.weight]
        sizes = integers(*(len(weight) for weight in weights))
        q, k, v = graph.ops("Split", 3, graph.linear(h, torch.cat(weights)), sizes, axis=1)
        q, k, v = rotate(heads(q, t.heads)), rotate(heads(k, t.kv_heads)), heads(v, t.kv_heads)
        q = op("Reshape", q, packed)
        scores = op("Concat", op("MatMul", q, turned(keys)), op("MatMul", q, turned(k)), axis=2)
        shares = op("Softmax", op("Add", op("Reshape", scores, by_head), seen), axis=-1)
        shares = op("Reshape", shares, together)
        share_past = op("Slice", shares, integers(0), entries, integers(2))
        share_own = op("Slice", shares, entries, integers(2**31 - 1), integers(2))
        mixed = op("Add", op("MatMul", share_past, values), op("MatMul", share_own, v))
        mixed = op("Transpose", op("Reshape", mixed, apart), perm=[1, 0, 2])
        x = op("Add", x, graph.linear(op("Reshape", mixed, integers(-1, t.heads * t.head_dim)), layer.o_proj.weight))
        h = rms_norm(x, layer.post_attention_layernorm.weight)
        gated = op("Mul", graph.swish(graph.linear(h, layer.gate_proj.weight)), graph.linear(h, layer.up_proj.weight))
        x = op("Add", x, graph.linear(gated, layer.down_proj.weight))
        graph.output(k, f"new_keys.{index}", TensorProto.FLOAT, t.kv_heads, "n", t.head_dim)
        graph.output(v, f"new_values.{index}", TensorProto.FLOAT, t.kv_heads, "n", t.head_dim)
    x = rms_norm(op("Gather", x, wanted, axis=0), model.norm.weight)
    logits = graph.linear(x, model.lm_head.weight)
    graph.output(logits, "logits", TensorProto.FLOAT, "m", len(model.lm_head.weight))
    return graph.model()


def _embed(graph: Graph, model: VisualActionTransformer, rows: str) -> str:
    """(n, COLUMNS) -> (n, hidden)."""
    table = graph.table(_table(model))

    def summed(begin: int, end: int) -> str:
        columns = graph.op("Slice", rows, graph.integers(begin), graph.integers(end), graph.integers(1))
        return graph.op("ReduceSum", graph.op("Gather", table, columns, axis=0), graph.integers(1), keepdims=0)

    x = summed(0, OWN)
    if model.previous_proj is not None:
        x = graph.op("Add", x, graph.linear(summed(OWN, OWN + BEFORE), model.previous_proj.weight))
    if model.action_proj is not None:
        x = graph.op("Add", x, graph.linear(summed(OWN + BEFORE, COLUMNS), model.action_proj.weight))
    return x


def with_stored_values(model: VisualActionTransformer, bits: Bits) -> VisualActionTransformer:
    """A copy whose weights are what the graph computes with: Python's engines then play the page's game."""
    from copy import deepcopy

    from worldmodel.web.graph import rounded

    copy = deepcopy(model)
    tables = ("embed_tokens.weight", "start", "no_previous", "place")
    with torch.no_grad():
        for name, parameter in copy.named_parameters():
            if name in tables:
                parameter.copy_(rounded(parameter, bits, axis=None))
            elif parameter.ndim == 2 and name != "chain":
                parameter.copy_(rounded(parameter, bits))
    return copy
