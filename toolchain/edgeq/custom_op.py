"""The operators that QONNX lacks: `FixedQuant`, a cast to `ap_fixed`, `FixedLookup`, a table of codes, and `FixedOperator`.

`Quant` has no rounding of halves to plus or minus infinity, and always saturates. A table says to the last bit what a function
is, which its name does not; a FixedOperator is an operator of the integer graph, as its file in `edgeq.ops` defines it. qonnx
takes a node's domain for the module that defines it, so a file with the domain `edgeq.custom_op` runs in plain qonnx wherever
edgeq is installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto, helper
from qonnx.custom_op.base import CustomOp

from edgeq.fixed_point import FixedPoint
from edgeq.graph import IntType, Op
from edgeq.operators import NAME, build, operator_class, run

__all__ = ["FixedLookup", "FixedOperator", "FixedQuant"]

DEFAULTS = {"bits": 8, "signed": 1, "rounding": "AP_RND", "overflow": "AP_SAT"}


class FixedQuant(CustomOp):
    """y = overflow(round(x / scale)) * scale.

    Inputs: x, float32 of any shape; scale, one power of two. Attributes: bits, signed, rounding, overflow, as in
    `edgeq.fixed_point.FixedPoint`.
    """

    def get_nodeattr_types(self) -> dict[str, tuple[str, bool, Any]]:
        return {name: ("s" if isinstance(value, str) else "i", False, value) for name, value in DEFAULTS.items()}

    def make_shape_compatible_op(self, model: Any) -> NodeProto:
        return helper.make_node("Identity", self.onnx_node.input[:1], self.onnx_node.output)

    def infer_node_datatype(self, model: Any) -> None:
        """qonnx's data types know no binary point: it stays float32."""

    def execute_node(self, context: dict[str, np.ndarray], graph: Any) -> None:
        x, scale = (context[name] for name in self.onnx_node.input)
        kind = FixedPoint(
            self.get_nodeattr("bits"), None, bool(self.get_nodeattr("signed")),
            self.get_nodeattr("rounding"), self.get_nodeattr("overflow"),
        )  # fmt: skip
        context[self.onnx_node.output[0]] = np.asarray(kind.codes(x / scale, np) * scale, np.float32)

    def verify_node(self) -> None:
        """Nothing beyond what FixedPoint checks."""


class FixedLookup(CustomOp):
    """y = table[x / scale - lo] * out_scale, where x / scale is an integer from lo to lo + n - 1.

    Inputs: x, float32 of any shape; scale, one power of two; table, int64 [n]; out_scale, one power of two. Attribute: lo.
    """

    def get_nodeattr_types(self) -> dict[str, tuple[str, bool, Any]]:
        return {"lo": ("i", True, 0)}

    def make_shape_compatible_op(self, model: Any) -> NodeProto:
        return helper.make_node("Identity", self.onnx_node.input[:1], self.onnx_node.output)

    def infer_node_datatype(self, model: Any) -> None:
        """As FixedQuant's."""

    def execute_node(self, context: dict[str, np.ndarray], graph: Any) -> None:
        x, scale, table, out_scale = (context[name] for name in self.onnx_node.input)
        index = x / scale - self.get_nodeattr("lo")
        if not np.all((index == np.floor(index)) & (index >= 0) & (index < len(table))):
            raise ValueError(f"an input is no multiple of {scale}, or the table of {len(table)} entries has none for it")
        context[self.onnx_node.output[0]] = np.asarray(table[index.astype(np.int64)] * out_scale, np.float32)

    def verify_node(self) -> None:
        """Nothing beyond what is checked when it runs."""


class FixedOperator(CustomOp):
    """y = op(x_0 / scale_0, ...) * out_scale, where each x_i / scale_i is an integer tensor.

    Inputs: the tensors x_i, float32 [N, C, H, W] or [N, F]; their scales, positive; the operator's arrays, int64, in the order of
    its fields; out_scale, positive. Where a scale is no power of two, float32 holds its multiples nearly: the nearest is meant.
    Attributes: `operator`, one of `edgeq.operators.carried`, and its integer fields.
    """

    def get_nodeattr_types(self) -> dict[str, tuple[str, bool, Any]]:
        named = [a.name for a in self.onnx_node.attribute if a.name != NAME]
        return {NAME: ("s", True, ""), **{name: ("i", True, 0) for name in named}}

    def _operator(self, arrays: list[np.ndarray]) -> Op:
        fields = {name: self.get_nodeattr(name) for name in self.get_nodeattr_types() if name != NAME}
        return build(self.get_nodeattr(NAME), fields, arrays)

    def _arity(self) -> int:
        return operator_class(self.get_nodeattr(NAME)).arity

    def make_shape_compatible_op(self, model: Any) -> NodeProto:
        arity = self._arity()
        op = self._operator([model.get_initializer(name) for name in self.onnx_node.input[2 * arity : -1]])
        shapes = [model.get_tensor_shape(name) for name in self.onnx_node.input[:arity]]
        made = op.infer(*(IntType(tuple(shape[1:]), 0, 1) for shape in shapes))
        return super().make_const_shape_op([shapes[0][0], *made.shape])

    def infer_node_datatype(self, model: Any) -> None:
        """As FixedQuant's."""

    def execute_node(self, context: dict[str, np.ndarray], graph: Any) -> None:
        arity, values = self._arity(), [context[name] for name in self.onnx_node.input]
        op = self._operator(values[2 * arity : -1])
        scales = [float(v) for v in (*values[arity : 2 * arity], values[-1])]
        context[self.onnx_node.output[0]] = run(op, values[:arity], scales[:-1], scales[-1])

    def verify_node(self) -> None:
        """Nothing beyond what is checked when it runs."""
