"""What each QONNX operator means on integers: one function an operator, registered under its ONNX name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import prod
from typing import Any, TypeVar

import numpy as np
import onnx
from onnx import helper

from edgeq.errors import EdgeqError
from edgeq.frontend.builder import Builder, shown
from edgeq.frontend.exact import ROUNDINGS, SIGN, UNIT, Lane, Quantizer, is_power_of_two, merge, spread
from edgeq.frontend.symbols import Const, QConst, Shape, Sym, Value, fractions, integer_weights, per_channel
from edgeq.ops.argmax import Argmax
from edgeq.ops.average_pool import AveragePool
from edgeq.ops.binary_conv2d import BinaryConv2d
from edgeq.ops.binary_dense import BinaryDense
from edgeq.ops.concat import Concat
from edgeq.ops.conv2d import Conv2d
from edgeq.ops.dense import Dense
from edgeq.ops.global_average_pool import GlobalAveragePool
from edgeq.ops.max_pool import MaxPool
from edgeq.ops.upsample import Upsample

T = TypeVar("T")
MAX_QUANTIZER_BITS = 16
MAX_CONSTANT_BITS = 32
NO_PADS = (0, 0, 0, 0)
QUANTIZER_DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")


class Call:
    """One QONNX node with the values of its inputs."""

    def __init__(self, node: onnx.NodeProto, inputs: list[Value | None], builder: Builder, opset: int, batch: int) -> None:
        self.node, self.inputs, self.builder, self.opset, self.batch = node, inputs, builder, opset, batch
        self.attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}

    def attribute(self, name: str, default: Any) -> Any:
        value = self.attributes.get(name, default)
        return value.decode(errors="replace") if isinstance(value, bytes) else value

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

    def channels(self, index: int, sym: Sym) -> list[Fraction]:
        """A constant operand as one Fraction a channel of sym, or one."""
        value = self.const(index)
        if value is None:
            raise self.refuse(f"input {index} of {self.node.op_type} is missing")
        try:
            return per_channel(self.finite(value), sym.shape)
        except EdgeqError as error:
            raise self.refuse(error.what, error.fix) from None

    def axes(self, index: int, name: str) -> list[int] | None:
        """Axes given as an attribute (older opsets) or as an input."""
        given = self.attributes.get(name)
        array = self.array(index) if given is None else np.array(given)
        return None if array is None else [int(v) for v in array.ravel()]

    @property
    def output(self) -> str:
        return self.node.output[0]


Handler = Callable[[Call], Value]
HANDLERS: dict[str, Handler] = {}


def handles(*names: str) -> Callable[[Handler], Handler]:
    def register(function: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, function))
        return function

    return register


# Quantizers


def quantizer_parameters(call: Call, index: int) -> tuple[np.ndarray, np.ndarray]:
    """(scale as stored, exact scale); raises EdgeqError unless it is positive and finite."""
    array = call.array(index)
    if array is None or not np.issubdtype(array.dtype, np.number) or array.size == 0:
        raise call.refuse("the scale is missing or not a number")
    wrong = array[~(np.isfinite(array) & (array > 0))]
    if wrong.size:
        raise call.refuse(f"the scale is {wrong.ravel()[0]}; it must be positive and finite", "calibrate or train the quantizer again")
    return array, fractions(array)


def scalar(call: Call, index: int, name: str) -> int:
    """A scalar integer parameter that may be stored as a float."""
    array = call.array(index)
    if array is None or array.size != 1 or not np.isfinite(array).all() or float(array.ravel()[0]) != int(array.ravel()[0]):
        shown_value = None if array is None else array.ravel()[:4]
        raise call.refuse(f"the {name} is {shown_value}; it must be one integer", "one zero point and bit width a tensor")
    return int(array.ravel()[0])


def code_range(call: Call, bits: int, limit: int) -> tuple[int, int]:
    """(lo, hi) of the codes, as qonnx's min_int and max_int."""
    signed, narrow = bool(call.attribute("signed", 1)), bool(call.attribute("narrow", 0))
    if not 1 <= bits <= limit:
        raise call.refuse(f"a quantizer of {bits} bits", f"1 to {limit} bits")
    lo, hi = (-(1 << (bits - 1)) + narrow, (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1 - narrow)
    if hi <= lo:
        raise call.refuse(f"a narrow quantizer of {bits} bits has one level only", "more bits, or narrow=0")
    return lo, hi


def rounding(call: Call, default: str) -> str:
    name = str(call.attribute("rounding_mode", default)).upper()
    if name not in ROUNDINGS:
        raise call.refuse(f"the rounding mode {name!r} is unknown", f"one of {', '.join(ROUNDINGS)}")
    return ROUNDINGS[name]


@handles("Quant", "IntQuant")
def quant(call: Call) -> Value:
    stored, exact = quantizer_parameters(call, 1)
    zero, bits = scalar(call, 2, "zero point"), scalar(call, 3, "bit width")
    constant = not isinstance(call.value(0), Sym)
    if bits == 1 and call.attribute("signed", 1):  # qonnx: the sign, whatever `narrow` says
        if zero:
            raise call.refuse(f"a signed quantizer of one bit has the zero point {zero}", "zero point 0")
        return quantized_constant(call, stored, exact, 0, None) if constant else quantized(call, exact, Quantizer((), 0, -1, 1, SIGN))
    lo, hi = code_range(call, bits, MAX_CONSTANT_BITS if constant else MAX_QUANTIZER_BITS)
    mode = rounding(call, "ROUND")
    if constant:
        return quantized_constant(call, stored, exact, zero, (lo, hi, mode))
    return quantized(call, exact, Quantizer((), zero, lo, hi, mode))


@handles("BipolarQuant")
def bipolar_quant(call: Call) -> Value:
    stored, exact = quantizer_parameters(call, 1)
    if not isinstance(call.value(0), Sym):
        return quantized_constant(call, stored, exact, 0, None)
    return quantized(call, exact, Quantizer((), 0, -1, 1, SIGN))


def quantized(call: Call, scale: np.ndarray, q: Quantizer) -> Sym:
    """A quantizer on an activation."""
    sym = call.sym()
    if scale.size > 1:
        sym = call.builder.in_layout(sym)
    try:
        scales = tuple(per_channel(scale, sym.shape))
    except EdgeqError as error:
        raise call.refuse(f"the scale: {error.what}", error.fix) from None
    return call.builder.quantized(sym, replace(q, scale=merge(scales)), call.output)


ROUND_FLOAT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "HALF_EVEN": np.round,
    "FLOOR": np.floor,
    "CEIL": np.ceil,
    "DOWN": np.fix,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + np.float32(0.5)),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - np.float32(0.5)),
}


def quantized_constant(call: Call, stored: np.ndarray, scale: np.ndarray, zero: int, codes: tuple[int, int, str] | None) -> QConst:
    """A quantizer on a constant, in float32 as every source engine computes it: the weights are theirs. codes: None for a sign."""
    value = call.const(0)
    if value is None:
        raise call.refuse("the quantizer has no input")
    call.check_finite(value)
    x = value.array
    if stored.ndim > x.ndim or any(d not in (1, n) for d, n in zip(stored.shape[::-1], x.shape[::-1], strict=False)):
        raise call.refuse(f"the scale of shape {stored.shape} does not fit {x.shape}", "one scale, or one a channel")
    if codes:
        lo, hi, mode = codes
        rounded = ROUND_FLOAT[mode](np.clip(x / stored + np.float32(zero), lo, hi))
        integers = rounded.astype(np.int64) - zero
    else:
        integers = np.where(x >= 0, 1, -1).astype(np.int64)
    return QConst(integers, scale.reshape((1,) * (x.ndim - scale.ndim) + scale.shape))


@handles("Trunc")
def trunc(call: Call) -> Value:
    """Version 1: x, scale, zero, bits in, bits out. Version 2: x, scale, zero, bits in, scale out, bits out."""
    sym = call.integers()
    count = sum(value is not None for value in call.inputs)
    if count not in (5, 6):
        raise call.refuse(f"Trunc has {count} inputs", "5 (version 1) or 6 (version 2)")
    stored, exact = quantizer_parameters(call, 1)
    zero, mode = scalar(call, 2, "zero point"), rounding(call, "FLOOR")
    if exact.size != 1 or zero:
        raise call.refuse(f"Trunc with {exact.size} scales and the zero point {zero}", "one scale, zero point 0")
    scale = exact.ravel()[0]
    if count == 5:
        bits_in, bits_out = scalar(call, 3, "input bit width"), scalar(call, 4, "output bit width")
        shift, scale_out = bits_in - bits_out, scale
    else:
        stored_out, exact_out = quantizer_parameters(call, 4)
        if exact_out.size != 1:
            raise call.refuse(f"Trunc with {exact_out.size} output scales", "one scale")
        shift, scale_out = int(np.round(np.log2(stored_out / stored)).ravel()[0]), exact_out.ravel()[0]
    if not 0 <= shift <= 60:
        raise call.refuse(f"Trunc by 2^{shift}", "0 to 60 bits")
    # The first rounding finds the integer that the value stands for: v*m + n, if no channel is half a unit away.
    lanes = []
    for lane in sym.tightened().lanes:
        near = lane.scaled(1 / scale)
        m, n = round(near.a), round(near.b)
        drift = max(abs((near.a - m) * v + near.b - n) for v in (sym.type.lo, sym.type.hi))
        if lane.low is not None or lane.high is not None or float(drift) + near.error(sym.reach or 0) + UNIT * abs(m) * (sym.reach or 0) >= 0.5:
            raise call.refuse(
                f"the value of scale {shown(sym.scales)} is not a multiple of Trunc's scale {shown((scale,))}",
                "Brevitas: TruncAvgPool2d after a quantized tensor",
            )
        lanes.append(Lane(Fraction(m, 1 << shift), Fraction(n, 1 << shift)))
    units = sym.with_lanes([lane.scaled(scale_out) for lane in lanes])
    if count == 6:
        lo, hi = code_range(call, scalar(call, 5, "output bit width"), MAX_QUANTIZER_BITS)
    else:  # version 1 does not clip
        ends = [lane.value(v) for lane in lanes for v in (sym.type.lo, sym.type.hi)]
        lo, hi = min(ends).__floor__(), max(ends).__ceil__()
    return call.builder.quantized(units, Quantizer((scale_out,), 0, lo, hi, mode), call.output)


# Sums of products


def padding(call: Call, size: Shape, kernel: Shape, stride: Shape, dilation: Shape) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) from `pads` or `auto_pad`."""
    mode = call.attribute("auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        pads = tuple(int(p) for p in call.attribute("pads", [0, 0, 0, 0]))
        if len(pads) != 4:
            raise call.refuse(f"pads are {pads}", "top, left, bottom, right")
        return pads  # type: ignore[return-value]
    if mode == "VALID":
        return NO_PADS
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise call.refuse(f"auto_pad is {mode!r}", "explicit pads")
    before, after = [], []
    for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        total = max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
        small = total // 2
        before.append(small if mode == "SAME_UPPER" else total - small)
        after.append(total - before[-1])
    return before[0], before[1], after[0], after[1]


def pair(call: Call, name: str, default: Any = (1, 1)) -> tuple[int, int]:
    values = tuple(int(v) for v in call.attribute(name, default))
    if len(values) != 2:
        raise call.refuse(f"{name} is {list(values)}", "two-dimensional windows on [N, C, H, W]")
    return values  # type: ignore[return-value]


def weights(call: Call, index: int) -> tuple[np.ndarray, np.ndarray]:
    value = call.const(index)
    if value is None:
        raise call.refuse("the weights are missing")
    try:
        return integer_weights(value)
    except EdgeqError as error:
        raise call.refuse(error.what, error.fix) from None


def output_scales(call: Call, scale: np.ndarray, axis: int) -> list[Fraction]:
    """Weight scales as one a output channel, or one; axis: that of the output channels."""
    if any(d != 1 for i, d in enumerate(scale.shape) if i != axis):
        raise call.refuse(f"the weights have scales of shape {scale.shape}", "one scale a tensor, or one an output channel")
    return list(scale.ravel())


def operand(call: Call, sym: Sym, groups: int, padded: bool) -> tuple[Sym, tuple[Fraction, ...], tuple[Fraction, ...]]:
    """(activation, its scale, its offset, each one a group or one a channel) ready for a sum of products.

    Where nothing is padded an offset stays outside: sum w*(a*v + b) = a*sum w*v + b*sum w.
    """
    sym = call.builder.in_layout(sym.tightened())
    size = sym.shape[0] // groups
    scales = sym.scales if len(sym.scales) > 1 else sym.scales * sym.shape[0]
    grouped = [merge(scales[i : i + size]) for i in range(0, len(scales), size)]
    uniform = all(len(g) == 1 for g in grouped)
    if not sym.clips and uniform and sym.offsets == (0,):
        return sym, merge(g[0] for g in grouped), (Fraction(0),)
    try:
        made = call.builder.scaled(sym)
        call.builder.narrow(made)
        return made, made.scales, (Fraction(0),)
    except EdgeqError:
        if sym.clips or not uniform or padded:
            raise
        return sym, merge(g[0] for g in grouped), sym.offsets


def product(
    call: Call, made: Sym, x: Sym, weight: np.ndarray, scale: list[Fraction], x_scale: tuple[Fraction, ...], base: list[Fraction],
    bias: Const | QConst | None, factor: Fraction,
) -> Sym:  # fmt: skip
    """The real value of an accumulator: x_scale * scale * factor * v + base + bias, one a output channel, recorded."""
    count = len(weight)
    per_group = np.repeat(np.array(x_scale, dtype=object), count // len(x_scale))
    total = [s * t * factor for s, t in zip(np.broadcast_to(np.array(scale, dtype=object), (count,)), per_group, strict=True)]
    extra = [Fraction(0)] * count
    if bias is not None:
        values = call.finite(bias).ravel()
        if values.size not in (1, count):
            raise call.refuse(f"the bias has {values.size} values for {count} channels", "one a channel")
        extra = list(np.broadcast_to(values, (count,)))
    sums = np.abs(weight).reshape(count, -1).sum(axis=1)
    reach, terms = x.reach or 0, weight[0].size
    # The error of the activations in units of their integer; 0 where a float32 holds them exactly.
    unit = max((lane.error(reach) / abs(float(lane.a)) for lane in x.lanes if lane.a), default=0.0)
    lanes, errors = [], []
    for a, b, e, most in zip(total, np.broadcast_to(np.array(base, dtype=object), (count,)), extra, sums.tolist(), strict=True):
        lanes.append(Lane(a, b + e))
        size = abs(float(a)) * most * reach + abs(float(b)) + abs(float(e))
        error = 1.01 * abs(float(a)) * most * unit
        errors.append(error if lanes[-1].is_float32(most * reach) else error + 1.01 * (terms + 6) * UNIT * size)
    return call.builder.record(made.with_lanes(lanes), call.output, errors)


@handles("Conv")
def conv(call: Call) -> Value:
    weight, scale = weights(call, 1)
    if weight.ndim != 4:
        raise call.refuse(f"the weights have shape {weight.shape}", "two-dimensional convolutions, [Cout, Cin/groups, Kh, Kw]")
    sym, waiting = call.integers(), NO_PADS
    if sym.pads != NO_PADS:
        sym, waiting = replace(sym, pads=NO_PADS), sym.pads
    if len(sym.shape) != 3:
        raise call.refuse(f"the input has shape {(call.batch, *sym.shape)}", "images [N, C, H, W]")
    kernel, stride, dilation = weight.shape[2:], pair(call, "strides"), pair(call, "dilations")
    if tuple(call.attribute("kernel_shape", kernel)) != kernel:
        raise call.refuse(f"kernel_shape {call.attribute('kernel_shape', None)} is not that of the weights {weight.shape}")
    size = (sym.shape[1] + waiting[0] + waiting[2], sym.shape[2] + waiting[1] + waiting[3])
    own = padding(call, size, kernel, stride, dilation)
    pads = (own[0] + waiting[0], own[1] + waiting[1], own[2] + waiting[2], own[3] + waiting[3])
    groups = int(call.attribute("group", 1))
    if groups < 1 or weight.shape[1] * groups != sym.shape[0] or len(weight) % groups:
        raise call.refuse(f"{sym.shape[0]} channels do not match weights {weight.shape} in {groups} groups")
    x, x_scale, offset = operand(call, sym, groups, any(pads))
    call.builder.narrow(x)
    binary = x.type.bipolar and bool(np.all(np.abs(weight) == 1))
    op = (BinaryConv2d if binary else Conv2d)(weight, None, stride, pads, dilation, groups)
    tensor, kind = call.builder.emit(op, x.tensor)
    made = Sym(tensor, kind, (), kind.shape)
    per_output = output_scales(call, scale, 0)
    base = offset_of(weight, per_output, offset, groups)
    return product(call, made, x, weight, per_output, x_scale, base, call.const(2), Fraction(1))


def offset_of(weight: np.ndarray, scale: list[Fraction], offset: tuple[Fraction, ...], groups: int) -> list[Fraction]:
    """What an offset of the input channels adds to each output channel: sum over k of scale * weight * offset."""
    if offset == (0,):
        return [Fraction(0)]
    count, per_group = len(weight), weight.shape[1]
    taps = weight.reshape(count, per_group, -1).sum(axis=2)
    channels = np.array(spread(offset, per_group * groups), dtype=object)
    found = []
    for o in range(count):
        first = o // (count // groups) * per_group
        found.append(sum((int(w) * b for w, b in zip(taps[o], channels[first : first + per_group], strict=True)), Fraction(0)))
    return [s * f for s, f in zip(np.broadcast_to(np.array(scale, dtype=object), (count,)), found, strict=True)]


def dense(call: Call, weight: np.ndarray, scale: list[Fraction], bias: Const | QConst | None, factor: Fraction) -> Sym:
    """A vector by weight [O, F]."""
    sym = call.integers()
    if len(sym.shape) != 1:
        raise call.refuse(f"{call.node.op_type} reads a tensor of shape {(call.batch, *sym.shape)}", "flatten to [N, F] before it")
    if weight.shape[1] != sym.shape[0]:
        raise call.refuse(f"{sym.shape[0]} features do not match weights {weight.shape}")
    x, x_scale, offset = operand(call, sym, 1, False)
    call.builder.narrow(x)
    binary = x.type.bipolar and bool(np.all(np.abs(weight) == 1))
    tensor, kind = call.builder.emit((BinaryDense if binary else Dense)(weight), x.tensor)
    base = [factor * b for b in offset_of(weight, scale, offset, 1)]
    return product(call, Sym(tensor, kind, (), kind.shape), x, weight, scale, x_scale, base, bias, factor)


@handles("MatMul")
def matmul(call: Call) -> Value:
    if isinstance(call.value(1), Sym):
        raise call.refuse("a MatMul of two activations, or with the weights first", "activation by weights: x @ w")
    weight, scale = weights(call, 1)
    if weight.ndim != 2:
        raise call.refuse(f"the weights have shape {weight.shape}", "a matrix [F, O]")
    return dense(call, np.ascontiguousarray(weight.T), output_scales(call, scale, 1), None, Fraction(1))


@handles("Gemm")
def gemm(call: Call) -> Value:
    if call.attribute("transA", 0):
        raise call.refuse("Gemm with transA=1", "transA=0: rows are frames")
    weight, scale = weights(call, 1)
    if weight.ndim != 2:
        raise call.refuse(f"the weights have shape {weight.shape}", "a matrix")
    if not call.attribute("transB", 0):
        weight, scale = np.ascontiguousarray(weight.T), scale.T
    alpha, beta = (Fraction(float(call.attribute(name, 1.0))) for name in ("alpha", "beta"))
    if alpha == 0:
        raise call.refuse("Gemm with alpha=0")
    bias = call.const(2)
    if bias is not None and beta != 1:
        bias = QConst(np.ones(bias.shape, np.int64), call.finite(bias) * beta)
    return dense(call, weight, output_scales(call, scale, 0), bias, alpha)


# Affine steps and clips


def affine(call: Call, sym: Sym, values: list[T], step: Callable[[Lane, T], Lane]) -> Sym:
    """step on every lane with its own constant: one a channel, or one."""
    if len(values) > 1:
        sym = call.builder.in_layout(sym)
    count = max(len(values), len(sym.lanes))
    pairs = zip(spread(sym.lanes, count), spread(tuple(values), count), strict=True)
    return sym.with_lanes([step(lane, c) for lane, c in pairs])


def fuzz(call: Call, index: int) -> float:
    value = call.const(index)
    return value.fuzz if value is not None else 0.0


def multiplied(call: Call, sym: Sym, values: list[Fraction], roundings: float) -> Sym:
    def step(lane: Lane, c: Fraction) -> Lane:
        exact = is_power_of_two(c) and roundings == 1
        return lane.scaled(c) if exact else lane.scaled(c).rounded(sym.reach, roundings)

    return affine(call, sym, values, step)


@handles("Mul")
def mul(call: Call) -> Value:
    first = 0 if isinstance(call.value(0), Sym) else 1
    if isinstance(call.value(1 - first), Sym):
        raise call.refuse("a product of two activations", "a product by a constant")
    sym = call.sym(first)
    return multiplied(call, sym, call.channels(1 - first, sym), 1 + fuzz(call, 1 - first))


@handles("Div")
def div(call: Call) -> Value:
    sym = call.sym(0)
    values = call.channels(1, sym)
    if any(v == 0 for v in values):
        raise call.refuse("a division by zero")
    inverse = [1 / v for v in values]
    return multiplied(call, sym, inverse, 1 + fuzz(call, 1))


@handles("Neg")
def neg(call: Call) -> Value:
    return multiplied(call, call.sym(), [Fraction(-1)], 1)


@handles("Add", "Sum")
def add(call: Call) -> Value:
    if len(call.inputs) != 2:
        raise call.refuse(f"a sum of {len(call.inputs)} tensors", "two at a time")
    return sum_of(call, 1)


@handles("Sub")
def sub(call: Call) -> Value:
    return sum_of(call, -1)


def sum_of(call: Call, sign: int) -> Sym:
    if isinstance(call.value(0), Sym) and isinstance(call.value(1), Sym):
        x, y = call.integers(0), call.integers(1)
        return call.builder.record(call.builder.added(x, y, sign), call.output)
    first = 0 if isinstance(call.value(0), Sym) else 1
    sym = call.sym(first)
    values = call.channels(1 - first, sym)
    if first == 0:
        values = [sign * v for v in values]
    elif sign < 0:
        sym = multiplied(call, sym, [Fraction(-1)], 1)
    loose = fuzz(call, 1 - first)

    def step(lane: Lane, c: Fraction) -> Lane:
        if c == 0:
            return lane
        return lane.shifted(c).rounded(sym.reach, 1, loose * abs(float(c)))

    return affine(call, sym, values, step)


@handles("BatchNormalization")
def batch_norm(call: Call) -> Value:
    """gamma * (x - mean) / sqrt(var + eps) + beta, with 1 / sqrt(var + eps) as its float64 value (rule 2)."""
    if call.attribute("training_mode", 0) or call.attribute("spatial", 1) != 1:
        raise call.refuse("BatchNormalization in training mode, or not spatial", "export in evaluation mode")
    sym = call.builder.in_layout(call.sym())
    parameters = []
    for index, name in enumerate(("scale", "bias", "mean", "variance"), start=1):
        value = call.const(index)
        if value is None or value.array.shape != (sym.shape[0],):
            raise call.refuse(f"the {name} does not have one value a channel", f"shape ({sym.shape[0]},)")
        parameters.append(call.finite(value))
    gamma, beta, mean, variance = parameters
    spreads = variance.astype(np.float64) + float(call.attribute("epsilon", 1e-5))
    if np.any(spreads <= 0):
        raise call.refuse("a variance is not positive", "train again")
    slope = gamma * fractions(1 / np.sqrt(spreads))

    def step(lane: Lane, parameters: tuple[Fraction, Fraction, Fraction]) -> Lane:
        k, m, b = parameters
        y = lane.shifted(-m).scaled(k).shifted(b)
        return y.rounded(sym.reach, 8, abs(float(k)) * (2 * abs(float(m)) + abs(float(lane.b))) + 2 * abs(float(b)))

    return affine(call, sym, list(zip(slope, mean, beta, strict=True)), step)


def clipped(call: Call, low: Fraction | None, high: Fraction | None) -> Sym:
    sym = call.sym()
    return sym.with_lanes([lane.clipped(low, high) for lane in sym.lanes])


@handles("Relu")
def relu(call: Call) -> Value:
    return clipped(call, Fraction(0), None)


def bound(call: Call, index: int, name: str) -> Fraction | None:
    """A scalar bound given as an attribute (opset below 11) or as an input; None where it is left out or infinite."""
    given = call.attributes.get(name)
    array = np.array(given, np.float32) if given is not None else call.array(index)
    if array is None:
        return None
    if array.size != 1 or np.isnan(array).any():
        raise call.refuse(f"the bound {name} is {array.ravel()[:4]}", "one number")
    value = array.ravel()[0]
    return Fraction(float(value)) if np.isfinite(value) and abs(value) < np.finfo(np.float32).max else None


@handles("Clip")
def clip(call: Call) -> Value:
    return clipped(call, bound(call, 1, "min"), bound(call, 2, "max"))


@handles("HardTanh", "Hardtanh")
def hard_tanh(call: Call) -> Value:
    low, high = bound(call, 1, "min_val"), bound(call, 2, "max_val")
    return clipped(call, Fraction(-1) if low is None else low, Fraction(1) if high is None else high)


@handles("Min", "Max")
def minimum(call: Call) -> Value:
    if len(call.inputs) != 2 or isinstance(call.value(0), Sym) == isinstance(call.value(1), Sym):
        raise call.refuse(f"{call.node.op_type} of two activations", f"{call.node.op_type} with one constant")
    first = 0 if isinstance(call.value(0), Sym) else 1
    sym = call.sym(first)
    values = call.channels(1 - first, sym)
    if call.node.op_type == "Max":
        return affine(call, sym, values, lambda lane, c: lane.clipped(c, None))
    return affine(call, sym, values, lambda lane, c: lane.clipped(None, c))


@handles("Identity", "Dropout")
def identity(call: Call) -> Value:
    if call.node.op_type == "Dropout" and (training := call.array(2)) is not None and bool(training.any()):
        raise call.refuse("Dropout in training mode", "export in evaluation mode")
    value = call.value(0)
    if value is None:
        raise call.refuse("the input is missing")
    return value


@handles("Cast")
def cast(call: Call) -> Value:
    sym = call.sym()
    kind = helper.tensor_dtype_to_np_dtype(int(call.attribute("to", 1)))
    if kind in (np.dtype(np.float32), np.dtype(np.float64)):
        return sym
    whole = not sym.is_input and not sym.tightened().clips and all(v.denominator == 1 for v in (*sym.scales, *sym.offsets))
    ends = [lane.value(v) for lane in sym.lanes for v in (sym.type.lo, sym.type.hi)]
    if whole and np.issubdtype(kind, np.integer) and np.iinfo(kind).min <= min(ends) and max(ends) <= np.iinfo(kind).max:
        return sym
    raise call.refuse(f"a Cast to {kind} that changes values", "a cast to float, or of integers that fit")


# Windows


def out_size(n: int, kernel: int, stride: int, dilation: int, pads: int, ceil: bool) -> int:
    room = n + pads - (kernel - 1) * dilation - 1
    return (-(-room // stride) if ceil else room // stride) + 1


def window(call: Call, sym: Sym, dilation: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int], tuple[int, int]]:
    """(kernel, stride, pads, pixels that ceil_mode adds below and to the right)."""
    if len(sym.shape) != 3:
        raise call.refuse(f"the input has shape {(call.batch, *sym.shape)}", "images [N, C, H, W]")
    kernel, stride = pair(call, "kernel_shape", ()), pair(call, "strides")
    pads = padding(call, sym.shape[1:], kernel, stride, dilation)
    extra = [0, 0]
    if call.attribute("ceil_mode", 0):
        for i in (0, 1):
            n, room = sym.shape[1 + i], pads[i] + pads[i + 2]
            size = out_size(n, kernel[i], stride[i], dilation[i], room, True)
            if (size - 1) * stride[i] >= n + pads[i]:
                size -= 1  # onnxruntime and PyTorch drop a window that starts beyond the image
            extra[i] = max(0, (size - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 - n - room)
    return kernel, stride, pads, (extra[0], extra[1])


@handles("MaxPool")
def max_pool(call: Call) -> Value:
    if len(call.node.output) > 1 and call.node.output[1]:
        raise call.refuse("MaxPool with an index output", "the first output only")
    sym = call.builder.rising(call.integers())
    dilation = pair(call, "dilations")
    kernel, stride, pads, extra = window(call, sym, dilation)
    pads = (pads[0], pads[1], pads[2] + extra[0], pads[3] + extra[1])  # padding never wins
    tensor, kind = call.builder.emit(MaxPool(kernel, stride, pads, dilation), sym.tensor)
    return call.builder.record(replace(sym, tensor=tensor, type=kind, shape=kind.shape), call.output)


def averaged(call: Call, sym: Sym, op: AveragePool | GlobalAveragePool, count: int) -> Sym:
    """The sum in integers, the division in the scale."""
    tensor, kind = call.builder.emit(op, sym.tensor)
    lanes = []
    for lane in sym.lanes:
        reach = max(abs(kind.lo), abs(kind.hi))
        mean = Lane(lane.a / count, lane.b)
        sums = Lane(lane.a, lane.b * count)
        error = lane.error(sym.reach or 0)
        if error or not sums.is_float32(reach):
            error += (count + 2) * UNIT * (abs(float(mean.a)) * reach + abs(float(mean.b)))
        mean = replace(mean, error0=error)
        lanes.append(mean if not error and is_power_of_two(Fraction(count)) else mean.rounded(reach, 2))
    made = replace(sym, tensor=tensor, type=kind, shape=kind.shape).with_lanes(lanes)
    return call.builder.record(made, call.output)


def poolable(call: Call, padded: bool) -> Sym:
    """An input whose sum over a window is a sum of integers."""
    sym = call.builder.in_layout(call.integers().tightened())
    return call.builder.scaled(sym) if sym.clips or (padded and sym.offsets != (0,)) else sym


@handles("AveragePool")
def average_pool(call: Call) -> Value:
    if pair(call, "dilations") != (1, 1):
        raise call.refuse("AveragePool with dilation", "dilation 1")
    kernel, stride, pads, extra = window(call, call.integers(), (1, 1))
    if any(extra):
        raise call.refuse("AveragePool whose ceil_mode adds windows that leave the image", "ceil_mode=0")
    if any(pads) and not call.attribute("count_include_pad", 0):
        raise call.refuse("AveragePool that divides by another count at the border", "count_include_pad=1, or no padding")
    return averaged(call, poolable(call, any(pads)), AveragePool(kernel, stride, pads), kernel[0] * kernel[1])


def global_average(call: Call) -> Sym:
    sym = poolable(call, False)
    if len(sym.shape) != 3:
        raise call.refuse(f"the input has shape {(call.batch, *sym.shape)}", "images [N, C, H, W]")
    return averaged(call, sym, GlobalAveragePool(), prod(sym.shape[1:]))


@handles("GlobalAveragePool")
def global_average_pool(call: Call) -> Value:
    return global_average(call)


@handles("ReduceMean")
def reduce_mean(call: Call) -> Value:
    rank = 1 + len(call.integers().shape)
    axes = sorted(a % rank for a in call.axes(1, "axes") or [])
    if rank != 4 or axes != [2, 3]:
        raise call.refuse(f"ReduceMean over axes {axes} of {rank} dimensions", "over H and W: axes 2 and 3 of [N, C, H, W]")
    sym = global_average(call)
    return sym if call.attribute("keepdims", 1) else call.builder.reshaped(sym, sym.shape[:1])


@handles("Resize", "Upsample")
def resize(call: Call) -> Value:
    sym = call.builder.in_layout(call.integers())
    if len(sym.shape) != 3 or call.attribute("mode", "nearest") != "nearest" or call.attribute("antialias", 0):
        raise call.refuse(f"{call.node.op_type} with mode {call.attribute('mode', 'nearest')!r}", "nearest neighbour on [N, C, H, W]")
    if call.attributes.get("axes"):
        raise call.refuse("Resize with axes", "scales for all four dimensions")
    old = call.node.op_type == "Upsample" or call.opset < 11
    full = (call.batch, *sym.shape)
    scales = np.array(call.attributes["scales"]) if "scales" in call.attributes else call.array(1 if old else 2)
    if scales is None or scales.size == 0:
        sizes = None if old else call.array(3)
        if sizes is None:
            raise call.refuse(f"{call.node.op_type} without scales")
        scales = sizes.astype(np.float64) / np.array(full)
    factors = [float(v) for v in scales.ravel()]
    if len(factors) != 4 or factors[:2] != [1, 1] or any(f != int(f) or f < 1 for f in factors):
        raise call.refuse(f"{call.node.op_type} by {factors}", "integer factors over H and W")
    factor = (int(factors[2]), int(factors[3]))
    coordinates = "asymmetric" if old else call.attribute("coordinate_transformation_mode", "half_pixel")
    nearest = "floor" if old else call.attribute("nearest_mode", "round_prefer_floor")
    for n, f in zip(sym.shape[1:], factor, strict=True):
        if not repeats(coordinates, nearest, n, f):
            raise call.refuse(
                f"Resize with {coordinates!r} and {nearest!r} by {f} does not repeat each pixel {f} times",
                "coordinate_transformation_mode='asymmetric' with nearest_mode='floor'",
            )
    if factor == (1, 1):
        return sym
    tensor, kind = call.builder.emit(Upsample(factor), sym.tensor)
    return call.builder.record(replace(sym, tensor=tensor, type=kind, shape=kind.shape), call.output)


def repeats(coordinates: str, nearest: str, size: int, factor: int) -> bool:
    """True where ONNX's nearest-neighbour rule is x[i // factor]."""
    for i in range(size * factor):
        match coordinates:
            case "asymmetric":
                at = Fraction(i, factor)
            case "half_pixel":
                at = Fraction(2 * i + 1, 2 * factor) - Fraction(1, 2)
            case "pytorch_half_pixel":
                at = Fraction(2 * i + 1, 2 * factor) - Fraction(1, 2) if size * factor > 1 else Fraction(0)
            case "align_corners":
                at = Fraction(i * (size - 1), size * factor - 1) if size * factor > 1 else Fraction(0)
            case _:
                return False
        below = at.__floor__()
        match nearest:
            case "floor":
                index = below
            case "ceil":
                index = at.__ceil__()
            case "round_prefer_floor":
                index = below + (at - below > Fraction(1, 2))
            case "round_prefer_ceil":
                index = below + (at - below >= Fraction(1, 2))
            case _:
                return False
        if min(max(index, 0), size - 1) != i // factor:
            return False
    return True


@handles("Pad")
def pad(call: Call) -> Value:
    sym = call.integers()
    given = call.attributes.get("pads")
    array = np.array(given) if given is not None else call.array(1)
    value = call.attributes.get("value") if given is not None else call.array(2)
    rank = 1 + len(sym.shape)
    axes = call.array(3)
    if array is None or array.size != 2 * rank or (axes is not None and axes.tolist() != list(range(rank))):
        raise call.refuse("Pad with pads for some axes only", "pads for all dimensions")
    amounts = [int(v) for v in array.ravel()]
    if not any(amounts):
        return sym
    zero = value is None or not np.any(np.asarray(value))
    spatial = rank == 4 and not any(amounts[i] for i in (0, 1, 4, 5)) and min(amounts) >= 0
    if call.attribute("mode", "constant") != "constant" or not zero or not spatial:
        raise call.refuse("Pad with something other than zeros around H and W", "zero padding of images")
    sym = call.builder.in_layout(sym)
    top, left, bottom, right = (amounts[i] for i in (2, 3, 6, 7))
    shape = (sym.shape[0], sym.shape[1], sym.shape[2])
    return replace(sym, pads=(top, left, bottom, right), shape=shape)


@handles("Concat")
def concat(call: Call) -> Value:
    syms = [call.builder.in_layout(call.integers(i)) for i in range(len(call.inputs))]
    if int(call.attribute("axis", 1)) % (1 + len(syms[0].shape)) != 1:
        raise call.refuse(f"Concat along axis {call.attribute('axis', 1)}", "along the channels, axis 1")
    result = syms[0]
    for other in syms[1:]:
        lanes = spread(result.lanes, result.shape[0]) + spread(other.lanes, other.shape[0])
        tensor, kind = call.builder.emit(Concat(), result.tensor, other.tensor)
        result = replace(result, tensor=tensor, type=kind, shape=kind.shape).with_lanes(lanes)
    return call.builder.record(result, call.output)


# Shapes


def frame_shape(call: Call, dims: list[int]) -> Shape:
    """The shape without the batch, which must stay as it is."""
    if not dims or dims[0] != call.batch:
        raise call.refuse(f"the shape {dims} does not keep the batch of {call.batch} as its first dimension", "reshape to [N, ...]")
    return tuple(dims[1:])


@handles("Reshape")
def reshape(call: Call) -> Value:
    value = call.value(0)
    array = call.array(1) if "shape" not in call.attributes else np.array(call.attributes["shape"])
    if array is None:
        raise call.refuse("the shape is missing")
    if isinstance(value, QConst):
        moved = value.values.reshape(array.tolist())
        if value.scale.size == 1:
            return QConst(moved, value.scale.reshape((1,) * moved.ndim))
        return Const(value.array.reshape(array.tolist()), value.fuzz)
    sym = call.sym()
    full, dims = [call.batch, *sym.shape], [int(v) for v in array.ravel()]
    if not call.attribute("allowzero", 0):
        dims = [full[i] if d == 0 and i < len(full) else d for i, d in enumerate(dims)]
    rest = prod(d for d in dims if d != -1)
    if dims.count(-1) == 1 and rest > 0 and prod(full) % rest == 0:
        dims[dims.index(-1)] = prod(full) // rest
    if prod(dims) != prod(full) or min(dims, default=0) < 1:
        raise call.refuse(f"cannot reshape {full} to {array.tolist()}")
    return call.builder.reshaped(sym, frame_shape(call, dims))


@handles("Flatten")
def flatten(call: Call) -> Value:
    sym = call.sym()
    full = [call.batch, *sym.shape]
    axis = int(call.attribute("axis", 1)) % (len(full) + 1)
    return call.builder.reshaped(sym, frame_shape(call, [prod(full[:axis]), prod(full[axis:])]))


@handles("Transpose")
def transpose(call: Call) -> Value:
    value = call.value(0)
    if isinstance(value, QConst):
        perm = call.attribute("perm", list(range(value.values.ndim))[::-1])
        return replace(value, values=value.values.transpose(perm), scale=value.scale.transpose(perm))
    sym = call.sym()
    rank = 1 + len(sym.shape)
    perm = [int(p) for p in call.attribute("perm", list(range(rank))[::-1])]
    if sorted(perm) != list(range(rank)) or perm[0] != 0:
        raise call.refuse(f"Transpose by {perm} moves the batch", "keep axis 0 first")
    if perm == list(range(rank)):
        return sym
    return call.builder.transposed(sym, tuple(p - 1 for p in perm[1:]))


@handles("Squeeze")
def squeeze(call: Call) -> Value:
    sym = call.sym()
    full = [call.batch, *sym.shape]
    axes = call.axes(1, "axes")
    drop = {a % len(full) for a in axes} if axes is not None else {i for i, d in enumerate(full) if d == 1 and i}
    if any(full[a] != 1 for a in drop):
        raise call.refuse(f"cannot squeeze axes {sorted(drop)} of {full}")
    return call.builder.reshaped(sym, frame_shape(call, [d for i, d in enumerate(full) if i not in drop] if 0 not in drop else []))


@handles("Unsqueeze")
def unsqueeze(call: Call) -> Value:
    sym = call.sym()
    axes = call.axes(1, "axes") or []
    rank = 1 + len(sym.shape) + len(axes)
    full = [call.batch, *sym.shape]
    for axis in sorted(a % rank for a in axes):
        full.insert(axis, 1)
    if 0 in {a % rank for a in axes}:
        raise call.refuse("Unsqueeze in front of the batch", "keep the batch first")
    return call.builder.reshaped(sym, frame_shape(call, full))


@handles("Shape")
def shape_of(call: Call) -> Value:
    sym = call.sym()
    full = [call.batch, *sym.shape]
    start, end = int(call.attribute("start", 0)), call.attributes.get("end")
    return Const(np.array(full[start:end], np.int64))


# Ends


@handles("ArgMax")
def argmax(call: Call) -> Value:
    value = call.value(0)
    if isinstance(value, Sym) and value.cut:  # the largest stays the largest
        call.inputs[0] = replace(value, cut="")
    sym = call.integers()
    rank = 1 + len(sym.shape)
    if int(call.attribute("axis", 0)) % rank != 1 or call.attribute("select_last_index", 0):
        raise call.refuse("ArgMax over another axis than the channels, or the last of equals", "axis=1, select_last_index=0")
    sym = call.builder.in_layout(sym.tightened())
    if sym.clips or len(sym.scales) > 1 or len(sym.offsets) > 1 or sym.scales[0] <= 0:
        sym = call.builder.rising(call.builder.scaled(sym))
    tensor, kind = call.builder.emit(Argmax(), sym.tensor)
    made = Sym(tensor, kind, (Lane(Fraction(1)),), kind.shape)
    recorded = call.builder.record(made, call.output, [0.0])
    return recorded if call.attribute("keepdims", 1) else replace(recorded, shape=kind.shape[1:])


@handles("Softmax", "LogSoftmax")
def softmax(call: Call) -> Value:
    sym = call.integers()
    rank = 1 + len(sym.shape)
    if int(call.attribute("axis", -1 if call.opset >= 13 else 1)) % rank != 1:
        raise call.refuse(f"{call.node.op_type} over another axis than the channels", "axis=1")
    return replace(sym, cut=call.node.name or call.node.output[0])
