"""The operators that QONNX lacks: `FixedQuant`, a cast to `ap_fixed`, and `FixedLookup`, a function as a table of codes.

`Quant` has no rounding of halves to plus or minus infinity, and always saturates. A table says to the last bit what a function
is, which its name does not. qonnx takes a node's domain for the module that defines it, so a file with the domain
`edgeq.custom_op` runs in plain qonnx wherever edgeq is installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto, helper
from qonnx.custom_op.base import CustomOp

from edgeq.fixed_point import FixedPoint

__all__ = ["FixedLookup", "FixedQuant"]

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
