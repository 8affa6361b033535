"""One QONNX node with its inputs, and the register of what is known to read one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
from onnx import helper

from edgeq.errors import EdgeqError
from edgeq.frontend.builder import Builder
from edgeq.frontend.symbols import Const, QConst, Sym, Value, per_channel

NO_PADS = (0, 0, 0, 0)
ANYWHERE = {
    "Add", "BipolarQuant", "Cast", "Clip", "Div", "Flatten", "Gather", "Gelu", "Gemm", "IntQuant",
    "LayerNormalization", "MatMul", "Mul", "Neg", "Normalize", "Quant", "Relu", "Reshape", "Shape", "Slice",
    "Softmax", "Split", "Squeeze", "Sub", "Sum", "Transpose", "Unsqueeze",
}  # fmt: skip
"""Operators whose handlers know that the batch may stand elsewhere than first; the others refuse that."""


class Call:
    """One QONNX node with the values of its inputs."""

    def __init__(self, node: onnx.NodeProto, inputs: list[Value | None], builder: Builder, opset: int, batch: int) -> None:
        self.node, self.inputs, self.builder, self.opset, self.batch = node, inputs, builder, opset, batch
        self.attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}

    def attribute(self, name: str, default: Any) -> Any:
        """The attribute, which must be of its default's kind: an integer, a number, a text, a list of integers or of numbers."""
        value = self.attributes.get(name, default)
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        kinds: Any = {int: int, float: (int, float), str: str, list: list, tuple: (list, tuple)}[type(default)]
        items = (int, float) if isinstance(default, list) and default and isinstance(default[0], float) else int
        if not isinstance(value, kinds) or (isinstance(value, (list, tuple)) and not all(isinstance(v, items) for v in value)):
            raise self.refuse(f"the attribute {name} is {value!r}", f"the kind of value that {default!r} is")
        return value

    def refuse(self, what: str, fix: str = "") -> EdgeqError:
        return EdgeqError(what, where=self.builder.where, fix=fix)

    def value(self, index: int) -> Value | None:
        """The input, None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def sym(self, index: int = 0) -> Sym:
        """An input that must be computed, not constant."""
        value = self.value(index)
        if not isinstance(value, Sym):
            raise self.refuse(f"input {index} of {self.node.op_type} must be an activation", "fold constants before export")
        if value.pads != NO_PADS and self.node.op_type != "Conv":
            raise self.refuse(f"{self.node.op_type} follows a Pad", "only a convolution can take the padding in")
        if value.batch != 0 and self.node.op_type not in ANYWHERE:
            raise self.refuse(f"{self.node.op_type} of {self.full(value)}, whose batch is not the first dimension", "[N, ...]")
        if value.cut:
            raise self.refuse(f"{self.node.op_type} follows the softmax {value.cut!r}", "a Softmax is only supported at the end")
        return value

    def integers(self, index: int = 0) -> Sym:
        """An input that stands on an integer tensor: a quantizer lies before it."""
        sym = self.sym(index)
        if sym.is_input:
            raise self.refuse(
                f"{self.node.op_type} reads the model's input, which no quantizer has made integers of",
                "give the input's type: --input uint8/255, int16/1024, ... (or put a quantizer at the input)",
            )
        return sym

    # Where the batch stands

    def full(self, sym: Sym) -> list[int]:
        """The source's shape."""
        shape = list(sym.shape)
        return shape if sym.batch is None else [*shape[: sym.batch], self.batch, *shape[sym.batch :]]

    def framed(self, sym: Sym, dims: list[int]) -> Sym:
        """The same elements in the shape `dims` of the source. Any dimension of 1 will do for a batch of one, the first best."""
        batch = (dims.index(1) if 1 in dims else None) if self.batch == 1 else 0
        if batch is not None and dims[batch : batch + 1] != [self.batch]:
            what = f"the shape {dims} does not keep the batch of {self.batch} as its first dimension"
            raise self.refuse(what, "reshape to [N, ...], or export with a batch of 1")
        shape = tuple(dims[:batch] + dims[batch + 1 :]) if batch is not None else tuple(dims)
        return replace(self.builder.reshaped(sym, shape), batch=batch)

    def axis(self, sym: Sym, axis: int) -> int:
        """An axis of the source as one of sym.shape."""
        axis %= len(self.full(sym))
        if axis == sym.batch:
            raise self.refuse(f"{self.node.op_type} over the batch")
        return axis - (sym.batch is not None and axis > sym.batch)

    def aligned(self, values: np.ndarray, sym: Sym) -> np.ndarray:
        """A constant that broadcasts over the source's shape, to broadcast over (1, *sym.shape)."""
        full = self.full(sym)
        if sym.batch == 0:
            return values
        dims = (1,) * (len(full) - values.ndim) + values.shape
        if len(dims) > len(full) or any(d not in (1, f) for d, f in zip(dims, full, strict=True)):
            raise self.refuse(f"a constant of shape {values.shape} does not broadcast over {full}", "one value, or one a channel")
        return values.reshape(1, *(d for i, d in enumerate(dims) if i != sym.batch))

    def const(self, index: int) -> Const | QConst | None:
        """A constant input, None where it is left out."""
        value = self.value(index)
        if isinstance(value, Sym):
            raise self.refuse(f"input {index} of {self.node.op_type} is computed from the model's input", "make it a constant")
        return value

    def array(self, index: int) -> np.ndarray | None:
        value = self.const(index)
        return None if value is None else value.array

    def check_finite(self, value: Const | QConst) -> None:
        """Raises EdgeqError where a value is not a finite number."""
        if isinstance(value, Const) and not np.all(np.isfinite(value.array)):
            raise self.refuse("a constant holds NaN or infinity", "train again, or repair the file")

    def finite(self, value: Const | QConst) -> np.ndarray:
        """Its exact values, an object array of Fractions."""
        self.check_finite(value)
        return value.real()

    def channels(self, index: int, sym: Sym) -> tuple[Sym, list[Fraction]]:
        """(sym, a constant operand as one Fraction a channel of its tensor, or one); sym is rearranged where that is needed."""
        value = self.const(index)
        if value is None:
            raise self.refuse(f"input {index} of {self.node.op_type} is missing")
        return self.by_channel(self.finite(value), sym)

    def by_channel(self, values: np.ndarray, sym: Sym) -> tuple[Sym, list[Fraction]]:
        """As `channels`, of exact values."""
        values = self.aligned(values, sym)
        try:
            if (sym.order is not None or sym.shape != sym.type.shape) and len(sym.shape) in (1, 3) and values.size > 1:
                try:
                    return sym, per_channel(values, sym)
                except EdgeqError:
                    sym = self.builder.in_layout(sym)
            return sym, per_channel(values, sym)
        except EdgeqError as error:
            raise self.refuse(error.what, error.fix) from None

    def integers_of(self, index: int, name: str) -> list[int] | None:
        """Integers given as an attribute (older opsets) or as an input; None where they are left out."""
        if name in self.attributes:
            return list(self.attribute(name, []))
        array = self.array(index)
        if array is not None and not np.issubdtype(array.dtype, np.integer):
            raise self.refuse(f"the {name} are of type {array.dtype}", "integers")
        return None if array is None else [int(v) for v in array.ravel()]

    @property
    def output(self) -> str:
        return self.node.output[0]


Handler = Callable[[Call], Value | list[Value]]
"""A list is of a node with several outputs."""
HANDLERS: dict[str, Handler] = {}


def handles(*names: str) -> Callable[[Handler], Handler]:
    def register(function: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, function))
        return function

    return register
