"""ExpShift, I-ViT's integer exponential (arXiv 2207.01405): what the operators that take one share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw
from edgeq.hardware import Cost
from edgeq.ops import _cost

if TYPE_CHECKING:
    from edgeq.lower.onnx import Body

EXP_BITS = 30
"""Most bits of point + shift: an exponential is at most 2^(point+shift), and one bit more while it is shifted."""
PRODUCT_BITS = 61
"""Bits that hold x * slope."""
LUT_PER_SHIFTED_BIT = 0.6


def exp_shift(t: np.ndarray, point: int, shift: int) -> np.ndarray:
    """About 2^(point+shift) * exp(t / 2^point), in [2^point, 2^(point+shift)].  t: int64 in (-2^61, 0].

    t*log2(e) by shifts, cut off at -shift; the whole part shifts the line 1 + r/2 through 1/2 and 1 at its ends.  With the
    constant -2^point in place of I-ViT's floor(-1/S) there is no division.
    """
    t = np.maximum(t + (t >> 1) - (t >> 4), -shift << point)
    q = -t >> point
    r = t + (q << point)
    return ((r + (2 << point)) << (shift - q)) >> 1


def far(slope: int, point: int, shift: int) -> int:
    """The least distance d with ExpShift(-d*slope) at its least: exponentials of larger ones are the same."""
    return -(-(shift << point) // slope)


def to_onnx(body: Body, d: str, slope: int, point: int, shift: int) -> str:
    """ExpShift(-d*slope) in standard operators, uint32.  d: int32 or int64, 0 or more."""
    end = far(slope, point, shift)

    def right(x: str, bits: str) -> str:
        return body.op("BitShift", x, bits, direction="RIGHT")

    def u32(value: int) -> str:
        return body.const(np.uint32(value))

    near = body.extreme("Min", d, body.const(np.array(end, body.result_dtype(d))))
    u = body.op("Mul", body.cast(near, np.uint32), u32(min(slope, shift << point)))  # -t, less than 2^31; all below fits, too
    half, sixteenth = (right(body.op("Add", u, u32((1 << n) - 1)), u32(n)) for n in (1, 4))
    v = body.op("Min", body.op("Sub", body.op("Add", u, half), sixteenth), u32(shift << point))
    line = body.op("Sub", u32(2 << point), body.op("BitwiseAnd", v, u32((1 << point) - 1)))
    lifted = body.op("BitShift", line, u32(shift), direction="LEFT")
    return right(lifted, body.op("Add", right(v, u32(point)), u32(1)))


def check(name: str, slope: int, point: int, shift: int, reach: int) -> None:
    """Refuses what no engine takes.  reach: the largest magnitude that meets the slope."""
    if slope < 1:
        raise EdgeqError(f"{name} has a slope of {slope}", fix="1 or more")
    if point < 0 or shift < 1 or point + shift > EXP_BITS:
        fix = f"a point of 0 or more, a shift of 1 or more, at most {EXP_BITS} together"
        raise EdgeqError(f"{name} has the point {point} and a shift of {shift}", fix=fix)
    if reach * slope >> PRODUCT_BITS:
        raise EdgeqError(f"{name} multiplies {reach} by {slope}, which passes {PRODUCT_BITS} bits", fix="requantize before it")


def sample(draw: Draw, span: int, most: int) -> tuple[int, int, int]:
    """Random (slope, point, shift), point + shift at most `most`; distances up to `span` pass from a part of 1 to the cutoff."""
    shift = draw(1, min(most, 15))
    point = draw(0, most - shift)
    return max(1, (draw(1, 16 * shift) << point) // (8 * span)), point, shift


def shifted(name: str, constant: int, exponent: int) -> int:
    """constant * 2^exponent, where that is an integer."""
    if exponent < 0 and constant % (1 << -exponent):
        raise EdgeqError(f"{name}, {constant}, is no multiple of 2^{-exponent}", fix="a point that leaves room for it")
    return constant << exponent if exponent >= 0 else constant >> -exponent


def params(slope: int, point: int, shift: int) -> dict[str, int | str]:
    """Those of eq_exp_shift.sv."""
    return {"Slope": min(slope, shift << point), "Point": point, "Shift": shift}


def config(slope: int, point: int, shift: int) -> dict[str, int]:
    """What eq_exp_shift.h reads."""
    return {"slope": min(slope, shift << point), "point": point, "shift": shift, "far": far(slope, point, shift)}


def cost(bits: int, slope: int, point: int, shift: int) -> Cost:
    """eq_exp_shift on distances of `bits` bits."""
    cut, end, slope = (shift << point).bit_length(), far(slope, point, shift), min(slope, shift << point)
    near, out = min(bits, end.bit_length()), point + shift + 1
    scale = _cost.product(near, slope.bit_length()) if slope & (slope - 1) else Cost()
    logic = Cost(lut=bits / 2 + near + 3 * cut + LUT_PER_SHIFTED_BIT * out * shift.bit_length(), ff=near + 2 * cut + out)
    return scale + logic
