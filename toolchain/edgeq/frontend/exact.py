"""Exact rational chains after an integer, and the integer operators that are proved equal to them.

A chain is what stands between an accumulator and the next quantizer: scale, bias, BatchNorm, ReLU. Every such step is
affine or a clip, so the chain of one channel is always `clip(a*v + b, low, high)` (rule 2 of docs/design.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd, lcm
from typing import TypeVar

import numpy as np

from edgeq.graph import IntType, Op
from edgeq.ops.requantize import Requantize
from edgeq.ops.threshold import MAX_LEVELS, Threshold

T = TypeVar("T")
UNIT = 2.0**-24
"""The relative rounding error of one float32 operation."""
MAX_PRODUCT_BITS = 60
SMALL_LEVELS = 15
"""Quantizers of at most four bits become thresholds (rule 3)."""
SIGN = "SIGN"
"""The rounding of BipolarQuant: +1 where the value is at least 0, else -1."""
ROUNDINGS = {
    "ROUND": "HALF_EVEN", "HALF_EVEN": "HALF_EVEN", "FLOOR": "FLOOR", "CEIL": "CEIL", "UP": "UP", "DOWN": "DOWN",
    "ROUND_TO_ZERO": "DOWN", "HALF_UP": "HALF_UP", "HALF_DOWN": "HALF_DOWN",
}  # fmt: skip
"""QONNX rounding modes by the name that is used here; UP and HALF_UP round away from zero, DOWN and HALF_DOWN towards it.

Of `ap_fixed` come two more: HALF_CEIL rounds a half to plus infinity, HALF_FLOOR to minus infinity.
"""
ONE_SIDED = {"DOWN": "FLOOR", "UP": "CEIL", "HALF_UP": "HALF_CEIL", "HALF_DOWN": "HALF_FLOOR"}
"""The modes that treat signs alike, with what they are from zero upwards."""


@dataclass(frozen=True)
class Lane:
    """One channel's real value clip(a*v + b, low, high) of an integer v.

    A float32 engine that is given v's real value exactly differs by at most error0 + error1 * |v|.
    """

    a: Fraction
    b: Fraction = Fraction(0)
    low: Fraction | None = None
    high: Fraction | None = None
    error0: float = 0.0
    error1: float = 0.0

    def value(self, v: int | Fraction) -> Fraction:
        return self.clamp(self.a * v + self.b)

    def clamp(self, y: Fraction) -> Fraction:
        if self.low is not None and y < self.low:
            return self.low
        return self.high if self.high is not None and y > self.high else y

    def scaled(self, c: Fraction) -> Lane:
        """c times this; a negative c swaps the bounds, zero gives a constant."""
        if c == 0:
            return Lane(Fraction(0))
        low, high = (None if y is None else y * c for y in (self.low, self.high))
        if c < 0:
            low, high = high, low
        return Lane(self.a * c, self.b * c, low, high, self.error0 * abs(float(c)), self.error1 * abs(float(c)))

    def shifted(self, c: Fraction) -> Lane:
        low, high = (None if y is None else y + c for y in (self.low, self.high))
        return replace(self, b=self.b + c, low=low, high=high)

    def clipped(self, low: Fraction | None, high: Fraction | None) -> Lane:
        """clip(this, low, high); bounds that cross give `high`, as ONNX Clip does."""
        inner = Lane(Fraction(0), low=low, high=high)
        if low is not None and high is not None and low > high:
            inner = replace(inner, low=high)
        bounds = [None if y is None else inner.clamp(y) for y in (self.low, self.high)]
        return replace(
            self,
            low=inner.low if bounds[0] is None else bounds[0],
            high=inner.high if bounds[1] is None else bounds[1],
        )

    def tightened(self, lo: int, hi: int) -> Lane:
        """Without the bounds that no v in [lo, hi] reaches."""
        ends = sorted((self.a * lo + self.b, self.a * hi + self.b))
        low = None if self.low is None or self.low <= ends[0] else self.low
        return replace(self, low=low, high=None if self.high is None or self.high >= ends[1] else self.high)

    def rounded(self, reach: int | None, roundings: float = 1.0, extra: float = 0.0) -> Lane:
        """The same value after float32 roundings of results; a single one is none where every value is a float32.

        reach: |v| <= reach, None where unknown. extra: the magnitude of intermediate results beyond that of the value.
        """
        if roundings == 1 and not extra and reach is not None and self.error0 == self.error1 == 0 and self.is_float32(reach):
            return self
        unit = roundings * UNIT
        bounds = max((abs(float(y)) for y in (self.low, self.high) if y is not None), default=0.0)
        return replace(
            self,
            error0=self.error0 + unit * (abs(float(self.b)) + bounds + extra),
            error1=self.error1 + unit * abs(float(self.a)),
        )

    def is_float32(self, reach: int) -> bool:
        """True where a*v + b is a float32 for every integer |v| <= reach, as are all partial sums, and the bounds."""
        if not (is_dyadic(self.a) and is_dyadic(self.b)):
            return False
        if any(y is not None and Fraction(float(np.float32(float(y)))) != y for y in (self.low, self.high)):
            return False
        grid = Fraction(1, max(self.a.denominator, self.b.denominator))
        if grid == 1:  # both are integers: take out their common power of two
            both = gcd(self.a.numerator, self.b.numerator)
            grid = Fraction(both & -both) if both else grid
        return abs(self.a) * reach + abs(self.b) <= (1 << 24) * grid

    def error(self, reach: float) -> float:
        """The bound for |v| <= reach; a hundredth more covers the second-order terms."""
        return 1.01 * (self.error0 + self.error1 * reach)


def is_dyadic(c: Fraction) -> bool:
    return c.denominator & (c.denominator - 1) == 0


def is_power_of_two(c: Fraction) -> bool:
    """True where a float32 product by c is exact."""
    n = abs(c.numerator)
    return n > 0 and n & (n - 1) == 0 and is_dyadic(c)


def common_divisor(values: Iterable[Fraction]) -> Fraction:
    """The largest positive g of which every value is an integer multiple; 1 where all are zero."""
    found = [v for v in values if v]
    if not found:
        return Fraction(1)
    bottom = lcm(*(v.denominator for v in found))
    return Fraction(gcd(*(int(v * bottom) for v in found)), bottom)


@dataclass(frozen=True)
class Quantizer:
    """code = round(clip(value / scale + zero, lo, hi)), kept as the integer code - zero; mode: a value of ROUNDINGS or SIGN.

    scale: one per channel, or one. Of SIGN the codes are -1 and +1.
    """

    scale: tuple[Fraction, ...]
    zero: int
    lo: int
    hi: int
    mode: str

    def lanes(self, lanes: tuple[Lane, ...]) -> tuple[Lane, ...]:
        """The chain in units of codes: value / scale + zero."""
        count = max(len(lanes), len(self.scale))
        both = zip(spread(lanes, count), spread(self.scale, count), strict=True)
        return merge(lane.scaled(1 / scale).shifted(Fraction(self.zero)) for lane, scale in both)

    def code(self, u: Fraction) -> int:
        """The code of a value in units of codes."""
        twice, strict = boundaries(self.mode, levels(self))
        below = sum(u * 2 > t or (u * 2 == t and not s) for t, s in zip(twice, strict, strict=True))
        return 2 * below - 1 if self.mode == SIGN else self.lo + below

    def reachable(self, lanes: tuple[Lane, ...]) -> tuple[int, int]:
        """The least and the greatest code of any value: bounds of clips inside the range narrow it."""
        ends = [(lane.low, lane.high) if lane.a else (lane.clamp(lane.b),) * 2 for lane in lanes]
        least = min(self.lo if low is None else self.code(low) for low, _ in ends)
        return least, max(self.hi if high is None else self.code(high) for _, high in ends)

    def float_error(self, lane: Lane, reach: float) -> float:
        """The float32 error, in codes, of an engine that computes `lane` (in codes) and may still change a code."""
        most = max(abs(self.lo), abs(self.hi)) + 1
        inside = min(reach, (most + abs(float(lane.b))) / abs(float(lane.a))) if lane.a else reach  # beyond, it saturates
        divided = 0 if all(is_power_of_two(s) for s in self.scale) else most * UNIT
        moved = most * UNIT if self.zero else 0
        return lane.error(inside) + 1.01 * (divided + moved)


def spread(items: tuple[T, ...], count: int) -> tuple[T, ...]:
    """One item a channel."""
    return items * count if len(items) == 1 else items


def merge(items: Iterable[T]) -> tuple[T, ...]:
    """One item where all are equal."""
    found = tuple(items)
    return found[:1] if all(item == found[0] for item in found[1:]) else found


def boundaries(mode: str, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(twice the boundary, strict) of "the code is at least m", for each m of an array of Python integers.

    The rounded value is at least m where u > boundary, or where u = boundary and not strict.
    """
    m = codes
    positive = m >= 1
    half = 2 * m - 1
    never = np.zeros(len(m), bool)
    match mode:
        case "HALF_EVEN":
            return half, np.array(m % 2 == 1, bool)
        case "HALF_UP":
            return half, ~positive.astype(bool)
        case "HALF_DOWN":
            return half, positive.astype(bool)
        case "HALF_CEIL":
            return half, never
        case "HALF_FLOOR":
            return half, ~never
        case "FLOOR":
            return 2 * m, never
        case "CEIL":
            return 2 * (m - 1), ~never
        case "UP":
            return np.where(positive, 2 * (m - 1), 2 * m), positive.astype(bool)
        case "DOWN":
            return np.where(positive, 2 * m, 2 * (m - 1)), ~positive.astype(bool)
        case "SIGN":
            return 0 * m, never
    raise AssertionError(mode)


def python_integers(lo: int, hi: int) -> np.ndarray:
    """lo .. hi as an object array: arithmetic on it never overflows."""
    return np.array(range(lo, hi + 1), dtype=object)


def levels(q: Quantizer) -> np.ndarray:
    """The codes above the lowest, as an object array; SIGN has one."""
    return python_integers(1, 1) if q.mode == SIGN else python_integers(q.lo + 1, q.hi)


def transitions(lane: Lane, q: Quantizer, lo: int, hi: int) -> np.ndarray:
    """For each level of q: where v in [lo, hi] reaches it, int64; lane is in codes.

    With a positive slope the level holds for v >= t, t in [lo, hi + 1]; with a negative one for v <= t, t in
    [lo - 1, hi]; with a zero slope always or never, written as a positive slope.
    """
    twice, strict = boundaries(q.mode, levels(q))

    def reached(u: Fraction) -> np.ndarray:
        sides = twice * u.denominator, 2 * u.numerator
        return np.where(strict, sides[0] < sides[1], sides[0] <= sides[1]).astype(bool)

    if lane.a == 0:
        return np.where(reached(lane.clamp(lane.b)), lo, hi + 1).astype(np.int64)
    # (boundary - b) / a as the quotient num / den with den > 0
    num = (twice * lane.b.denominator - 2 * lane.b.numerator) * lane.a.denominator
    den = 2 * lane.b.denominator * lane.a.numerator
    if den > 0:
        t = np.where(strict, num // den + 1, -(-num // den))
        always, never = lo, hi + 1
    else:
        num, den = -num, -den
        t = np.where(strict, -(-num // den) - 1, num // den)
        always, never = hi, lo - 1
    if lane.low is not None:
        t = np.where(reached(lane.low), always, t)
    if lane.high is not None:
        t = np.where(reached(lane.high), t, never)
    return np.clip(t, min(always, never), max(always, never)).astype(np.int64)


def integer_operator(lanes: tuple[Lane, ...], q: Quantizer, x: IntType) -> Op | None:
    """The operator equal to the quantizer q over the whole range of x; lanes: its chain, in codes. None where there is none.

    At most 15 levels that are reached: a Threshold. More: the Requantize of least shift that is equal at every
    transition (both are monotone, so they are then equal everywhere); if there is none, up to 255 thresholds.
    """
    t = np.stack([transitions(lane, q, x.lo, x.hi) for lane in lanes])
    negative = np.array([lane.a < 0 for lane in lanes], np.int64)
    if q.mode == SIGN:
        return Threshold(t, negative, base=-1, step=2)
    column = negative[:, None] == 1
    always = np.where(column, t >= x.hi, t <= x.lo).sum(axis=1).min()
    possible = np.where(column, t >= x.lo, t <= x.hi).sum(axis=1).max()
    start = min(int(always), t.shape[1] - 1)  # a constant keeps one threshold
    t = t[:, start : max(int(possible), start + 1)]
    base = q.lo - q.zero + start
    if t.shape[1] > SMALL_LEVELS:
        found = exact_requantize(lanes, q, t, negative, base, x)
        if found is None or np.abs(found.multiplier).max() > 1:  # not a plain shift: perhaps a shorter one is equal too
            shorter = searched_requantize(lanes, t, negative, base, x)
            found = min(filter(None, (found, shorter)), key=lambda op: op.shift, default=None)
        if found:
            return found
    return Threshold(t, negative, base) if t.shape[1] <= MAX_LEVELS else None


def exact_requantize(
    lanes: tuple[Lane, ...], q: Quantizer, t: np.ndarray, negative: np.ndarray, base: int, x: IntType
) -> Requantize | None:
    """The chain itself, where every constant is an integer over a power of two and the rounding has a shift's form."""
    form = shift_form(lanes, q)
    return proved(*form, t, negative, base, x) if form else None


def shift_form(lanes: tuple[Lane, ...], q: Quantizer) -> tuple[np.ndarray, np.ndarray, int, str] | None:
    """(multiplier, offset, shift, rounding) of the affine part of the lanes, in codes, with q's rounding; None without one."""
    if q.mode in (SIGN, *ONE_SIDED) or not all(is_dyadic(lane.a) and is_dyadic(lane.b) for lane in lanes):
        return None
    # Half to even commutes with the removal of the zero point only where that is even; the proof decides.
    parts = [(lane.a, lane.b - q.zero) for lane in lanes]
    shift = max(max(a.denominator, b.denominator) for a, b in parts).bit_length() - 1
    half = 1 << shift >> 1
    lift = {"HALF_CEIL": half, "HALF_FLOOR": max(half - 1, 0), "CEIL": (1 << shift) - 1}.get(q.mode, 0)
    multiplier, offset = (np.array([int(p[i] * (1 << shift)) for p in parts], dtype=object) for i in (0, 1))
    return multiplier, offset + lift, shift, "half_even" if q.mode == "HALF_EVEN" else "floor"


def searched_requantize(lanes: tuple[Lane, ...], t: np.ndarray, negative: np.ndarray, base: int, x: IntType) -> Requantize | None:
    """y = (v*m + b) >> shift with the least shift for which every channel has an m and b that meet each transition.

    For a given m, the transition to level y at v = t asks b >= y*2^shift - t*m and b < y*2^shift - (t -+ 1)*m. The m
    for which some real b does so form an interval around the exact slope, so its two integer neighbours are enough.
    The multiplier is short (31 bits do for most layers) unless many channels of very different slopes share the shift.
    """
    reach = max(abs(x.lo), abs(x.hi), 1) + 1
    y = base + 1 + np.arange(t.shape[1], dtype=np.int64)
    sign = np.where(negative == 1, -1, 1)[:, None]
    at, before = t, t - sign  # the last v that has the level, and the first that has not
    reached = (at >= x.lo) & (at <= x.hi)
    missed = (before >= x.lo) & (before <= x.hi)
    most = (1 << MAX_PRODUCT_BITS) // reach
    far = np.int64(1) << 62
    for shift in range(MAX_PRODUCT_BITS - int(np.abs(y).max()).bit_length()):
        low = np.array([(lane.a * (1 << shift)).__floor__() for lane in lanes], dtype=object)
        if max(abs(int(m)) for m in low) + 1 > most:
            return None
        multiplier, offset = np.zeros(len(lanes), np.int64), np.zeros(len(lanes), np.int64)
        open_ = np.ones(len(lanes), bool)
        for m in (low.astype(np.int64), low.astype(np.int64) + 1):
            least = np.where(reached, (y << shift) - at * m[:, None], -far).max(axis=1)
            greatest = np.where(missed, (y << shift) - 1 - before * m[:, None], far).min(axis=1)
            fits = open_ & (least <= greatest)
            middle = np.where(least == -far, greatest, np.where(greatest == far, least, least + (greatest - least) // 2))
            multiplier, offset = np.where(fits, m, multiplier), np.where(fits, middle, offset)
            open_ &= ~fits
        if not open_.any():
            return proved(multiplier.astype(object), offset.astype(object), shift, "floor", t, negative, base, x)
    return None


def proved(
    multiplier: np.ndarray, offset: np.ndarray, shift: int, rounding: str,
    t: np.ndarray, negative: np.ndarray, base: int, x: IntType,
) -> Requantize | None:  # fmt: skip
    """The Requantize with these constants if its reference equals the thresholds on both sides of every transition."""
    reach = max(abs(x.lo), abs(x.hi))
    product = max(abs(int(m)) * reach + abs(int(b)) for m, b in zip(multiplier, offset, strict=True))
    if product >= 1 << MAX_PRODUCT_BITS + 1 or shift > MAX_PRODUCT_BITS:
        return None
    op = Requantize(multiplier.astype(np.int64), offset.astype(np.int64), shift, rounding, base, base + t.shape[1])
    sign = np.where(negative == 1, -1, 1)[:, None]
    ends = np.tile([[x.lo, x.hi]], (len(t), 1))
    points = np.clip(np.concatenate([t, t - sign, ends], axis=1), x.lo, x.hi)
    rows = zip(sign[:, 0], t, points, strict=True)
    expected = base + np.stack([np.searchsorted(s * row, s * v, side="right") for s, row, v in rows])
    return op if np.array_equal(op.reference(points.T).T, expected) else None
