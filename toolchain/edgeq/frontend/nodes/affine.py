"""Scale, shift, BatchNormalization and clips: they change the chain on a tensor, and emit nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import TypeVar

import numpy as np
from onnx import helper

from edgeq.frontend.exact import Lane, common_divisor, is_power_of_two, spread
from edgeq.frontend.nodes.call import Call, handles
from edgeq.frontend.nodes.tokens import position
from edgeq.frontend.symbols import Sym, Value, fractions
from edgeq.ops.add import MAX_MULTIPLIER_BITS, Add
from edgeq.ops.requantize import Requantize

T = TypeVar("T")


def affine(call: Call, sym: Sym, values: list[T], step: Callable[[Lane, T], Lane]) -> Sym:
    """step on every lane with its own constant: one a channel of the tensor, or one."""
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
    return multiplied(call, *call.channels(1 - first, call.sym(first)), 1 + fuzz(call, 1 - first))


@handles("Div")
def div(call: Call) -> Value:
    sym, values = call.channels(1, call.sym(0))
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
        if x.batch != y.batch:
            raise call.refuse(f"tensors of shapes {call.full(x)} and {call.full(y)} are added", "equal shapes")
        return call.builder.record(call.builder.added(x, y, sign), call.output)
    first = 0 if isinstance(call.value(0), Sym) else 1
    if first == 0 or sign > 0:
        placed = position(call, call.sym(first), call.const(1 - first), sign)
        if placed is not None:
            return placed
    sym, values = call.channels(1 - first, call.sym(first))
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


@handles("PRelu", "LeakyRelu")
def prelu(call: Call) -> Value:
    """s*x + (1 - s)*max(x, 0), exactly, where integers of at most 16 bits stand for s and 1 - s of every channel."""
    sym = call.builder.scaled(call.integers())
    leaky = call.node.op_type == "LeakyRelu"
    if leaky:
        slopes = [Fraction(float(np.float32(call.attribute("alpha", 0.01))))]
    else:
        sym, slopes = call.channels(1, sym)
    (unit,), reach = sym.scales, sym.reach or 0
    step = common_divisor((*slopes, *(1 - s for s in slopes)))
    a, b = (np.array([int(v / step) for v in part]) for part in (slopes, [1 - s for s in slopes]))
    if max(np.abs(a).max(), np.abs(b).max()) >= 1 << (MAX_MULTIPLIER_BITS - 1):
        what = f"the slope {float(slopes[0]):.9g} is no multiple of a power of two within {MAX_MULTIPLIER_BITS} bits"
        raise call.refuse(what, f"slopes of at most {MAX_MULTIPLIER_BITS - 2} bits after the point (edgeq.train.FixedPReLU)")
    positive, _ = call.builder.emit(Requantize(np.array([1]), np.array([0]), 0, "floor", 0, max(sym.type.hi, 0)), sym.tensor)
    tensor, kind = call.builder.emit(Add(a, b), sym.tensor, positive)
    loose = max((sym.lanes[0].error(reach) * max(1.0, abs(float(s))) for s in slopes), default=0.0)
    lane = Lane(unit * step, error0=loose).rounded(max(abs(kind.lo), abs(kind.hi)))
    return call.builder.record(replace(sym, tensor=tensor, type=kind).with_lanes([lane]), call.output)


def bound(call: Call, index: int, name: str) -> Fraction | None:
    """A scalar bound given as an attribute (opset below 11) or as an input; None where it is left out or infinite."""
    array = np.array(call.attribute(name, 0.0), np.float32) if name in call.attributes else call.array(index)
    if array is None:
        return None
    if array.size != 1 or not np.issubdtype(array.dtype, np.number) or np.isnan(array).any():
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
    sym, values = call.channels(1 - first, call.sym(first))
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
