"""FixedQuant, the cast to `ap_fixed` of `edgeq.custom_op`: every rounding and overflow, on existing integer operators."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.fixed_point import OPERATOR, ROUNDINGS, FixedPoint
from edgeq.frontend.exact import Lane, Quantizer, is_power_of_two
from edgeq.frontend.nodes.call import Call, handles
from edgeq.frontend.nodes.quantizers import MAX_QUANTIZER_BITS, quantizer_parameters
from edgeq.frontend.symbols import QConst, Sym, Value
from edgeq.graph import Op
from edgeq.ops.add import MAX_MULTIPLIER_BITS, Add
from edgeq.ops.requantize import Requantize
from edgeq.ops.threshold import Threshold

MAX_SHIFT = MAX_MULTIPLIER_BITS - 2
"""The largest power of two that an Add multiplies by."""


@handles(OPERATOR)
def fixed_quant(call: Call) -> Value:
    kind = format_of(call)
    stored, exact = quantizer_parameters(call, 1)
    if exact.size != 1 or not is_power_of_two(exact.ravel()[0]):
        raise call.refuse(f"the scale is {stored.ravel()[:4]}; it must be one power of two")
    if not isinstance(call.value(0), Sym):
        value = call.const(0)
        if value is None:
            raise call.refuse("the quantizer has no input")
        call.check_finite(value)
        codes = kind.codes(value.array / stored.ravel()[0], np).astype(np.int64)
        return QConst(codes, np.full((1,) * value.array.ndim, exact.ravel()[0], dtype=object))
    if kind.bits > MAX_QUANTIZER_BITS:
        raise call.refuse(f"an activation of {kind.bits} bits", f"at most {MAX_QUANTIZER_BITS} bits")
    sym = call.sym()
    q = Quantizer((exact.ravel()[0],), 0, kind.lo, kind.hi, ROUNDINGS[kind.rounding])
    if kind.overflow in ("AP_SAT", "AP_SAT_SYM"):
        return call.builder.quantized(sym, q, call.output)
    if sym.is_input:
        what = f"the model's input is cast to {kind}, which is not monotone"
        raise call.refuse(what, "AP_SAT at the input, or give the input's type: --input int8/16")
    sym = sym.tightened()
    ends = [lane.value(v) for lane in q.lanes(sym.lanes) for v in (sym.type.lo, sym.type.hi)]
    wide = replace(q, lo=min(ends).__floor__(), hi=max(ends).__ceil__())
    if q.lo <= wide.lo and wide.hi <= q.hi:
        return call.builder.quantized(sym, q, call.output)
    rounded = call.builder.coded(sym, wide)
    made = (wrapped if kind.overflow == "AP_WRAP" else zeroed)(call, rounded, kind)
    call.builder.graph.meta["quantizers"].append(call.output)
    return call.builder.record(made.with_lanes([Lane(exact.ravel()[0])]), call.output, [0.0])


def format_of(call: Call) -> FixedPoint:
    """The node's attributes as a format; raises EdgeqError where there is none like it."""
    bits, signed = call.attribute("bits", 8), bool(call.attribute("signed", 1))
    rounding, overflow = call.attribute("rounding", "AP_RND"), call.attribute("overflow", "AP_SAT")
    try:
        return FixedPoint(bits, None, signed, rounding, overflow)
    except EdgeqError as error:
        raise call.refuse(error.what, error.fix) from None


def wrapped(call: Call, r: Sym, kind: FixedPoint) -> Sym:
    """r - 2^W * floor((r - lo) / 2^W), W the bits; an Add multiplies by 2^14 at most, so some of 2^W may go before it."""
    shift = min(kind.bits, MAX_SHIFT)
    turns = emitted(call, requantized(r, 1, -kind.lo, kind.bits), r)
    if kind.bits > shift:
        turns = emitted(call, requantized(turns, 1 << (kind.bits - shift), 0, 0), turns)
    return in_word(call, emitted(call, weighted(-(1 << shift)), r, turns), kind)


def zeroed(call: Call, r: Sym, kind: FixedPoint) -> Sym:
    """clip(r, lo, hi), less hi where r lies above and less lo where it lies below."""
    y = in_word(call, r, kind)
    for end, threshold in ((kind.hi, Threshold(np.array([[kind.hi + 1]]), np.array([0]), 0)),
                           (kind.lo, Threshold(np.array([[kind.lo - 1]]), np.array([1]), 0))):  # fmt: skip
        if end:
            y = emitted(call, weighted(-end), y, emitted(call, threshold, r))
    return in_word(call, y, kind)


def in_word(call: Call, y: Sym, kind: FixedPoint) -> Sym:
    return emitted(call, Requantize(np.array([1]), np.array([0]), 0, "floor", kind.lo, kind.hi), y)


def weighted(b: int) -> Add:
    """x0 + b * x1"""
    return Add(np.array([1]), np.array([b]))


def requantized(x: Sym, multiplier: int, offset: int, shift: int) -> Requantize:
    """floor((x * multiplier + offset) / 2^shift), never clipped."""
    lo, hi = ((v * multiplier + offset) >> shift for v in (x.type.lo, x.type.hi))
    return Requantize(np.array([multiplier]), np.array([offset]), shift, "floor", lo, hi)


def emitted(call: Call, op: Op, *inputs: Sym) -> Sym:
    tensor, made = call.builder.emit(op, *(x.tensor for x in inputs))
    return replace(inputs[0], tensor=tensor, type=made)
