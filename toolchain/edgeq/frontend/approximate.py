"""Float functions that integer operators approximate: GELU, softmax, layer normalization (I-ViT, arXiv 2207.01405).

A node of the source becomes nodes that name the operator, `FixedOperator` of `edgeq.custom_op`, with the scale of the codes
before it. From there on the import is exact, and the QONNX file with these nodes in place of the float ones is the source that
every engine is compared with. What the substitution changes is measured (`measure`), and told.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeq.engines.reference import ReferenceEngine
from edgeq.errors import EdgeqError
from edgeq.fixed_point import DOMAIN, INTEGER
from edgeq.frontend.ends import apply_tail
from edgeq.frontend.execute import QonnxEngine
from edgeq.frontend.nodes.call import Call
from edgeq.frontend.patterns import gelu
from edgeq.frontend.symbols import Sym
from edgeq.graph import Graph, Op
from edgeq.operators import NAME
from edgeq.ops.layer_norm import LayerNorm
from edgeq.ops.shift_gelu import ShiftGELU
from edgeq.ops.shiftmax import SUM_TOP, Shiftmax

GELU_BITS, GELU_SLOPE_BITS, EXPONENT_BITS, MAX_SHIFT = 8, 8, 30, 15
"""Bits of ShiftGELU's sigmoid; of its slope, at least; of a point and a shift together, at most; of a shift, at most."""
SOFTMAX_BITS, PROBES, SHIFTS = 16, 64, range(4, MAX_SHIFT + 1)
NORM_SHIFT, NORM_BITS = 15, 14
"""LayerNorm's results have 16 bits; its operands at least 14, so that a mean is rounded to less than a code."""
MAX_REACH = 1 << 20
"""Codes below it are found again in float32, whatever the scale."""
MOST_CODES = 1 << 17
FRAMES = 32


class Substitute:
    """Nodes in place of one of the source; the last one gives its output.

    function: what it is, in words, and its parameters; codes: the tensor of the operator's result.
    """

    def __init__(self, call: Call, function: dict[str, Any]) -> None:
        self.call, self.function = call, function
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []
        self.codes = ""
        sym = call.sym()
        self.x, self.batch = call.node.input[0], sym.batch
        if self.batch != 0:
            self.x = self.op("Reshape", self.x, self.const([1, *sym.shape], np.int64))

    def const(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"{self.call.output}_c{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{self.call.output}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def operator(self, op: Op, x: str, scale: Fraction, out: float) -> str:
        """The operator on x in units of `scale`."""
        self.function |= {"operator": op.kind(), **op.attributes(), "scale": str(scale), "unit": str(Fraction(out))}
        attributes: dict[str, Any] = {NAME: op.kind(), **op.attributes()}
        inputs = (x, self.const(float(scale)), self.const(out))
        self.codes = self.op(INTEGER, *inputs, domain=DOMAIN, **attributes)
        return self.codes

    def moved(self, x: str, perm: list[int]) -> str:
        return x if perm == sorted(perm) else self.op("Transpose", x, perm=perm)

    def seen(self, x: str, shape: tuple[int, ...]) -> str:
        """In another shape, without the batch."""
        return self.op("Reshape", x, self.const([0, *shape], np.int64))

    def finish(self) -> Substitute:
        if self.batch != 0:
            self.op("Reshape", self.nodes[-1].output[0], self.const(self.call.full(self.call.sym()), np.int64))
        self.nodes[-1].output[0] = self.call.output
        if self.codes == f"{self.call.output}_{len(self.nodes) - 1}":
            self.codes = self.call.output
        return self


def operand(call: Call, reach: int) -> tuple[Sym, Fraction]:
    """(the input, its scale as a float32): codes with one scale, below `reach`."""
    sym = call.integers().tightened()
    fix = "a quantizer right before it (Brevitas: QuantIdentity)"
    if sym.clips or len(sym.scales) > 1 or sym.offsets != (0,) or sym.scales[0] <= 0:
        raise call.refuse(f"{call.node.op_type} of values that are no codes of one scale", fix)
    if (sym.reach or 0) >= reach:
        raise call.refuse(f"{call.node.op_type} of codes up to {sym.reach:,}", f"{fix}, of {reach.bit_length()} bits at most")
    return sym, Fraction(float(np.float32(float(sym.scales[0]))))


def axis_of(call: Call, axis: int) -> tuple[int, int]:
    """(the axis, the rank) with the batch first."""
    return 1 + call.axis(call.sym(), axis), 1 + len(call.sym().shape)


def softmax_axis(call: Call) -> tuple[int, int]:
    return axis_of(call, call.attribute("axis", -1 if call.opset >= 13 else 1))


def as_pixels(s: Substitute, x: str, shape: tuple[int, ...], axis: int) -> tuple[str, Callable[[str], str], int]:
    """(x with this axis as channels of an image, what undoes that, the number of other axes); of a vector, itself."""
    rank = 1 + len(shape)
    perm = [0, axis, *(a for a in range(1, rank) if a != axis)]
    back = [int(v) for v in np.argsort(perm)]
    turned = tuple(shape[p - 1] for p in perm[1:])
    x = s.moved(x, perm)
    if rank == 3:
        x = s.seen(x, (turned[0], 1, turned[1]))
        return x, lambda y: s.moved(s.seen(y, turned), back), 2
    if rank not in (2, 4):
        raise s.call.refuse(f"{s.call.node.op_type} of {rank} dimensions", "[N, F], [N, T, D] or [N, C, H, W]")
    return x, lambda y: s.moved(y, back), rank - 2


def substitute_gelu(call: Call) -> Substitute:
    form = call.attribute("approximate", "none")
    if form not in ("none", "tanh"):
        raise call.refuse(f"the form {form!r} of Gelu is unknown", "none or tanh")
    sym, scale = operand(call, (1 << 24 - GELU_BITS) + 1)
    s = Substitute(call, {"function": "Gelu", "form": form})
    x, back, _ = as_pixels(s, s.x, sym.shape, len(sym.shape) if len(sym.shape) == 2 else 1)
    point = min(max(math.ceil(GELU_SLOPE_BITS - math.log2(1.702 * scale)), 0), EXPONENT_BITS - MAX_SHIFT // 2)
    slope = round(1.702 * scale * (1 << point))
    if slope < 1:
        raise call.refuse(f"Gelu of codes of the scale {float(scale):.3g}", "a larger scale, fewer bits")
    op = ShiftGELU(slope, point, min(MAX_SHIFT, EXPONENT_BITS - point), sym.type.hi, GELU_BITS)
    back(s.operator(op, x, scale, float(scale) / (1 << GELU_BITS)))
    return s.finish()


def substitute_softmax(call: Call) -> Substitute:
    if call.node.op_type != "Softmax":
        raise call.refuse(f"{call.node.op_type} between layers", "only at the end, over axis 1")
    axis, rank = softmax_axis(call)
    if rank > 4 or (axis != rank - 1 and call.opset < 13):
        raise call.refuse(f"Softmax over axis {axis} of {rank} dimensions", "over the last one of at most four")
    sym, scale = operand(call, MAX_REACH)
    s = Substitute(call, {"function": "Softmax"})
    perm = [*(a for a in range(rank) if a != axis), axis]
    x, turned = s.moved(s.x, perm), tuple(sym.shape[p - 1] for p in perm[1:])
    if rank < 4:
        x = s.seen(x, (*(1,) * (4 - rank), *turned))
    op = softmax_operator(call, float(scale), sym.type.hi - sym.type.lo, turned[-1])
    y = s.operator(op, x, scale, 2.0 ** (1 - SOFTMAX_BITS))
    if rank < 4:
        y = s.seen(y, turned)
    s.moved(y, [int(v) for v in np.argsort(perm)])
    return s.finish()


def softmax_operator(call: Call, scale: float, span: int, width: int) -> Shiftmax:
    """The Shiftmax of least error on random rows of one, a few and many large values."""
    rng = np.random.default_rng(0)
    spread = span * np.linspace(0.02, 0.4, PROBES)[:, None]
    x = np.clip(np.rint(rng.normal(size=(PROBES, width)) * spread), -(span // 2), span - span // 2).astype(np.int64)
    exact = softmax(x * scale)
    room, found = min((SUM_TOP // width).bit_length() - 1, EXPONENT_BITS), []
    for total in range(max(room - 6, 1), room + 1):
        for shift in SHIFTS:
            point = total - shift
            slope = round(scale * 2.0**point) if point >= 0 else 0
            if slope >= 1 and span * slope < 1 << 60:
                op = Shiftmax(slope, point, shift, SOFTMAX_BITS)
                y = op.reference(x[None, None])[0, 0] * 2.0 ** (1 - SOFTMAX_BITS)
                found.append((float(np.square(y - exact).mean()), op))
    if not found:
        raise call.refuse(f"Softmax of codes of the scale {scale:.3g} in rows of {width}", "a larger scale, fewer bits")
    return min(found, key=lambda one: one[0])[1]


def substitute_layer_norm(call: Call) -> Substitute:
    own = call.node.op_type == "Normalize"
    axes = call.attribute("axes", [0]) if own else [call.attribute("axis", -1)]
    if len(axes) > 1:
        raise call.refuse(f"a layer normalization over the axes {axes}", "over one axis")
    axis, rank = axis_of(call, axes[0])
    if not own and axis != rank - 1:
        raise call.refuse(f"LayerNormalization over the axes from {axis} of {rank}", "over the last one")
    sym, scale = operand(call, MAX_REACH)
    size = sym.shape[axis - 1]
    op = LayerNorm(NORM_SHIFT)
    lift = max(0, NORM_BITS - sym.type.width)
    kind = replace(sym.type, shape=(size,), step=1)
    while lift and op.squares(replace(kind, lo=kind.lo << lift, hi=kind.hi << lift)) >> 48:
        lift -= 1
    s = Substitute(call, {"function": "LayerNormalization", "epsilon": float(call.attribute("epsilon", 1e-5))})
    x, back, others = as_pixels(s, s.x, sym.shape, axis)
    y = s.operator(op, x, scale / (1 << lift), 2.0 ** (NORM_SHIFT - EXPONENT_BITS))
    gamma, beta = (None if own else call.const(i) for i in (1, 2))
    for index, value in ((1, gamma), (2, beta)):
        if value is not None and value.array.size not in (1, size):
            raise call.refuse(f"input {index} has {value.array.size} values for {size} features", "one a feature")
    root = math.sqrt(size) * (np.ones(1) if gamma is None else gamma.array.ravel().astype(np.float64))
    y = s.op("Mul", y, s.const(root.reshape(-1, *(1,) * others)))
    if beta is not None:
        y = s.op("Add", y, s.const(beta.array.reshape(-1, *(1,) * others)))
    back(y)
    return s.finish()


SUBSTITUTES: dict[str, Callable[[Call], Substitute]] = {
    "Gelu": substitute_gelu, "Softmax": substitute_softmax, "LogSoftmax": substitute_softmax,
    "LayerNormalization": substitute_layer_norm, "Normalize": substitute_layer_norm,
}  # fmt: skip


# What it changes


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def measure(graph: Graph, codes: np.ndarray) -> list[dict[str, Any]]:
    """Fill in, for each approximation of graph.meta: root mean square and largest error against the float function, and of what.

    Of an elementwise function over every code that its input can have; else over the values that occur in the first frames of
    `codes`, [N, *input shape]. Of a layer normalization, before its slope and offset.
    """
    entries: list[dict[str, Any]] = graph.meta.get("approximations", [])
    if entries:
        values, types = ReferenceEngine(graph).run_all(codes[:FRAMES]), graph.types()
        nodes = {node.output: node for node in graph.nodes}
    for entry in entries:
        node = nodes[entry["tensor"]]
        kind, scale, unit = types[node.inputs[0]], float(Fraction(entry["scale"])), float(Fraction(entry["unit"]))
        v = values[node.inputs[0]]
        every = node.op.elementwise and kind.hi - kind.lo < MOST_CODES
        if every:
            v = np.arange(kind.lo, kind.hi + 1).reshape(-1, 1)
        x = v * scale
        y = node.op.reference(v) * unit
        match entry["function"]:
            case "Gelu":
                exact = gelu(x, entry["form"])
            case "Softmax":
                exact = softmax(x)
            case _:
                y = y * math.sqrt(x.shape[1])
                exact = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + entry["epsilon"])
        error = np.abs(y - exact)
        entry |= {
            "rms": float(np.sqrt(np.square(error).mean())), "largest": float(error.max()), "reach": float(np.abs(exact).max()),
            "values": int(error.size), "over": "all codes" if every else f"{min(len(codes), FRAMES)} frames",
        }  # fmt: skip
    return entries


def network_error(graph: Graph, source: onnx.ModelProto, floats: np.ndarray, outputs: np.ndarray) -> dict[str, Any]:
    """Root mean square and largest difference of the integers' real outputs from those of the source with its float functions."""
    ours, exact = apply_tail(graph, outputs[:FRAMES]), QonnxEngine(source).run(floats[:FRAMES])
    if graph.meta["tail"]["softmax"]:
        ours = np.moveaxis(softmax(np.moveaxis(ours, 1, -1)), -1, 1)
    error = np.abs(ours.reshape(exact.shape) - exact)
    return {
        "rms": float(np.sqrt(np.square(error).mean())), "largest": float(error.max()), "reach": float(np.abs(exact).max()),
        "values": int(error.size), "over": f"{len(exact)} frames",
    }  # fmt: skip


def note(builder_graph: Graph, where: str, s: Substitute, sym: Sym) -> None:
    """Record a substitution, of which sym is the operator's result."""
    if sym.is_input:
        raise EdgeqError("an approximation gave no integers", where=where)
    builder_graph.meta["approximations"].append({"node": where, "tensor": sym.tensor} | s.function)
