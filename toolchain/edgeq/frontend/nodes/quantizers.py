"""Quant, IntQuant, BipolarQuant, Trunc: on constants they make integer weights, on activations integer operators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.frontend.builder import shown
from edgeq.frontend.exact import ROUNDINGS, SIGN, UNIT, Lane, Quantizer, is_power_of_two, merge
from edgeq.frontend.nodes.call import Call, handles
from edgeq.frontend.symbols import QConst, Sym, Value, fractions

MAX_QUANTIZER_BITS = 16
MAX_CONSTANT_BITS = 32


def quantizer_parameters(call: Call, index: int) -> tuple[np.ndarray, np.ndarray]:
    """(scale as stored, exact scale); raises EdgeqError unless it is positive and finite."""
    array = call.array(index)
    if array is None or not np.issubdtype(array.dtype, np.number) or array.size == 0:
        raise call.refuse("the scale is missing or not a number")
    wrong = array[~(np.isfinite(array) & (array > 0))]
    if wrong.size:
        raise call.refuse(
            f"the scale is {wrong.ravel()[0]}; it must be positive and finite", "calibrate or train the quantizer again"
        )
    return array, fractions(array)


def power_of_two(call: Call, index: int) -> Fraction:
    """A scale that is one power of two."""
    stored, exact = quantizer_parameters(call, index)
    if exact.size != 1 or not is_power_of_two(exact.ravel()[0]):
        raise call.refuse(f"a scale is {stored.ravel()[:4]}; it must be one power of two")
    return exact.ravel()[0]


def codes_of(call: Call, index: int, scale: Fraction) -> Sym:
    """An input that is nothing but `scale` times an integer tensor."""
    sym = call.integers(index).tightened()
    if sym.clips or sym.scales != (scale,) or sym.offsets != (0,):
        what = f"values of scale {shown(sym.scales)} and offset {shown(sym.offsets)} are no codes of scale {shown((scale,))}"
        raise call.refuse(what, "a cast to this scale right before it")
    return sym


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
        return (
            quantized_constant(call, stored, exact, 0, None)
            if constant
            else quantized(call, exact, Quantizer((), 0, -1, 1, SIGN))
        )
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
    if sym.is_input and scale.size > 1 and len(sym.shape) != 2:
        sym = call.builder.in_layout(sym)
    try:
        sym, scales = call.by_channel(scale, sym)
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


def quantized_constant(
    call: Call, stored: np.ndarray, scale: np.ndarray, zero: int, codes: tuple[int, int, str] | None
) -> QConst:
    """A quantizer on a constant, in float32 as every source engine computes it. codes: (lo, hi, mode), None for a sign."""
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
        if (
            lane.low is not None
            or lane.high is not None
            or float(drift) + near.error(sym.reach or 0) + UNIT * abs(m) * (sym.reach or 0) >= 0.5
        ):
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
