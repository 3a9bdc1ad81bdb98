"""Builds ONNX graphs operation by operation, with weights in 8, 16 or 32 bits. It knows arrays, not models.

What is computed is float32 whatever the weights are stored in: a runtime turns them into float32 once, when it loads
the graph (ONNX Runtime does so with `session.disable_quant_qdq`, see SETTINGS).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from worldmodel.types import WorldModelError

OPSET = 21  # the first with GroupNormalization as PyTorch has it
IR_VERSION = 10
SETTINGS = {"session.disable_quant_qdq": "1"}
"""Of ONNX Runtime's sessions: 8-bit weights become float32 when the graph is loaded, not in every pass."""

Bits = Literal[8, 16, 32]
Array = NDArray[np.float32]
KINDS = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int32): TensorProto.INT32}


def quantise(weight: Array) -> tuple[NDArray[np.int8], Array]:
    """Symmetric, one scale for each index of axis 0: its largest magnitude becomes 127."""
    largest = np.abs(weight).max(tuple(range(1, weight.ndim)), keepdims=True)
    scale = (np.where(largest > 0, largest, 1) / 127).astype(np.float32)
    return np.clip(np.rint(weight / scale), -127, 127).astype(np.int8), scale


def halves(array: Array) -> NDArray[np.float16]:
    """WorldModelError for what 16 bits do not hold."""
    largest = float(np.abs(array).max(initial=0))
    if largest > np.finfo(np.float16).max:
        raise WorldModelError(f"a weight of {largest:g} does not fit 16 bits: this checkpoint cannot be exported")
    return array.astype(np.float16)


class Graph:
    """A graph that is being built. Values are named by strings."""

    def __init__(self, name: str, bits: Bits) -> None:
        self.name, self.bits = name, bits
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._count = 0

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = self._new(kind)
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def input(self, name: str, kind: type, *shape: int | str) -> str:
        """shape: sizes, or names of sizes that differ from run to run."""
        self._inputs.append(helper.make_tensor_value_info(name, KINDS[np.dtype(kind)], shape))
        return name

    def output(self, value: str, name: str, kind: int, *shape: int | str) -> None:
        """kind: one of TensorProto's."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def constant(self, value: Any, kind: type = np.float32) -> str:
        """A value as it is. The same one is stored once."""
        if isinstance(value, torch.Tensor):
            value = value.detach().float().cpu().numpy()
        array = np.asarray(value, kind)
        key = f"{array.dtype}{list(array.shape)}{array.tobytes().hex()}" if array.size <= 8 else self._new("constant")
        if key not in self._constants:
            self._constants[key] = numpy_helper.from_array(array, self._new("value"))
        return self._constants[key].name

    def integers(self, *values: int) -> str:
        """A shape, or axes."""
        return self.constant(list(values), np.int64)

    def table(self, weight: torch.Tensor | Array) -> str:
        """A table or a bias: in 16 bits, or 32."""
        array = weight if isinstance(weight, np.ndarray) else weight.detach().float().cpu().numpy()
        if self.bits == 32:
            return self.constant(array)
        return self.op("Cast", self.constant(halves(array), np.float16), to=TensorProto.FLOAT)

    def matrix(self, weight: torch.Tensor) -> str:
        """A weight whose axis 0 is the output's."""
        if self.bits != 8:
            return self.table(weight)
        values, scale = quantise(weight.detach().float().cpu().numpy())
        return self.op("DequantizeLinear", self.constant(values, np.int8), self.constant(scale.ravel()), axis=0)

    def swish(self, x: str) -> str:
        return self.op("Mul", x, self.op("Sigmoid", x))

    def model(self) -> onnx.ModelProto:
        """The finished graph, checked."""
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, list(self._constants.values()))
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="worldmodel")
        onnx.checker.check_model(model)
        return model

    def _new(self, kind: str) -> str:
        self._count += 1
        return f"{kind}.{self._count}"
