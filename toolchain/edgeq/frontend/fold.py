"""Constant subgraphs, evaluated by ONNX's own reference implementation, with a bound on every result's size."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from edgeq.errors import EdgeqError
from edgeq.graph import MAX_ELEMENTS

MOVES = {
    "Cast", "Concat", "Flatten", "Gather", "Identity", "Reshape", "Shape", "Size", "Slice", "Squeeze", "Transpose", "Unsqueeze",
}  # fmt: skip
"""Operators whose result is no larger than their operands, and rounds nothing."""
ARITHMETIC = {
    "Abs", "Add", "And", "Ceil", "Clip", "Div", "Equal", "Exp", "Floor", "Greater", "Less", "Log", "Max", "Min", "Mod", "Mul",
    "Neg", "Not", "Or", "Pow", "Reciprocal", "Relu", "Round", "Sign", "Sqrt", "Sub", "Where",
}  # fmt: skip
FILLS = {"ConstantOfShape", "Expand"}
FOLDABLE = MOVES | ARITHMETIC | FILLS


def fold(node: onnx.NodeProto, operands: list[np.ndarray | None], opset: int) -> np.ndarray:
    """The first output of a node whose inputs are all constant; an absent optional input is None."""
    try:
        size = _size(node, [a for a in operands if a is not None])
    except Exception as error:
        raise EdgeqError(f"the constant {node.op_type} has unfit operands ({error})") from None
    if size > MAX_ELEMENTS:
        raise EdgeqError(f"a constant of {size:,} elements; the limit is {MAX_ELEMENTS:,}")
    feeds = {name: a for name, a in zip(node.input, operands, strict=True) if a is not None}
    single = helper.make_graph(
        [node],
        "constant",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in feeds.items()],
        [helper.make_empty_tensor_value_info(node.output[0])],
    )
    model = helper.make_model(single, opset_imports=[helper.make_opsetid("", opset)])
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused where it is used
            result: Any = ReferenceEvaluator(model).run(None, feeds)[0]
    except Exception as error:
        raise EdgeqError(f"the constant {node.op_type} cannot be computed ({error})") from None
    return np.asarray(result)


def _size(node: onnx.NodeProto, operands: list[np.ndarray]) -> int:
    """At least the elements of the result."""
    if node.op_type in ARITHMETIC:
        return _elements(np.broadcast_shapes(*(a.shape for a in operands)))
    if node.op_type in FILLS:
        return max(_elements(operands[-1].tolist()), operands[0].size)
    return sum(a.size for a in operands) * (_elements(operands[1].shape) if node.op_type == "Gather" else 1)


def _elements(dims: Any) -> int:
    return int(np.prod([int(d) for d in dims], dtype=object)) if len(dims) else 1
