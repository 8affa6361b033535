"""GELU as x * sigmoid(1.702 x), in integers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import Draw, IntType, Op, range_width
from edgeq.hardware import Cost, HlsCall, RtlInstance, Stage
from edgeq.ops import _cost, _exp_shift, _rtl, _sample, _schedule

if TYPE_CHECKING:
    from edgeq.lower.onnx import Body

MAX_BITS = 16


@dataclass(frozen=True, eq=False)
class ShiftGELU(Op):
    """y = m * (((one if m >= 0 else E) << bits) // (one + E)), m = min(x, hi), E = ExpShift(-|m * slope|, point, shift),
    one = 2^(point+shift).

    x, y: (C, H, W) or (C,); a unit of y is S / 2^bits for x in units of S.  bits: 1 to 16, of the sigmoid, which is below 2^bits.
    slope: 1 or more, round(1.702 * S * 2^point); |m| * slope < 2^61.  point: 0 or more.  shift: 1 or more; together at most 30.
    hi: at least the least x; round(lambda / S), or the largest x, which cuts nothing.
    I-ViT's ShiftGELU (arXiv 2207.01405) with the maximum of x and 0 in place of a row's, and the clip of lambda-ShiftGELU
    (I-Segmenter, arXiv 2509.10334).
    """

    slope: int
    point: int
    shift: int
    hi: int
    bits: int = 7

    elementwise = True
    carried = True
    summary = "x * sigmoid(1.702 x): exponentials by shifts, one division an element"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        x = _sample.int_type(draw, _sample.any_shape(draw))
        slope, point, shift = _exp_shift.sample(draw, max(-x.lo, x.hi), draw(1, _exp_shift.EXP_BITS))
        hi = x.hi - draw(0, (x.hi - x.lo) // 2) if _sample.rare(draw, 3) else x.hi
        return cls(slope, point, shift, hi, draw(1, MAX_BITS) if _sample.rare(draw, 3) else draw(5, 9)), (x,)

    def clipped(self, x: IntType) -> IntType:
        """min(x, hi)."""
        return IntType(x.shape, x.lo, min(x.hi, self.hi))

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        if not x.lo <= self.hi < 1 << 62:
            raise EdgeqError(f"ShiftGELU cuts {x} off at {self.hi}", fix=f"{x.lo} to 2^62 - 1")
        if not 1 <= self.bits <= MAX_BITS:
            raise EdgeqError(f"ShiftGELU has {self.bits} bits", fix=f"1 to {MAX_BITS}")
        m = self.clipped(x)
        _exp_shift.check("ShiftGELU", self.slope, self.point, self.shift, max(-m.lo, m.hi))
        if max(-m.lo, m.hi) << self.bits >> 61:
            raise EdgeqError(f"ShiftGELU multiplies {x} by {self.bits} bits, which passes 61", fix="fewer bits")
        return IntType(x.shape, *_ends(self.slope, self.point, self.shift, self.bits, m.lo, m.hi))

    def rescaled(self, *exponents: int) -> tuple[Op, int]:
        (e,) = exponents
        slope = _exp_shift.shifted("the slope of ShiftGELU", self.slope, e)
        return replace(self, slope=slope, hi=_exp_shift.shifted("the end of ShiftGELU", self.hi, -e)), e

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        (x,) = xs
        m = np.minimum(x, self.hi)
        return m * _sigmoid(m, self.slope, self.point, self.shift, self.bits)

    def to_onnx(self, body: Body, *xs: str) -> str:
        (x,) = xs
        t, m = body.type(x), self.clipped(body.type(x))
        wide = np.int32 if max(-t.lo, t.hi) >> 31 == 0 else np.int64

        def const(value: int) -> str:
            return body.const(np.array(value, wide))

        x = body.cast(x, wide)
        if m.hi < t.hi:
            x = body.extreme("Min", x, const(m.hi))
        e = _exp_shift.to_onnx(body, body.op("Abs", x), self.slope, self.point, self.shift)
        one = 1 << (self.point + self.shift)
        falls = body.op("Less", x, const(0), dtype=np.bool_)
        above = body.op("Where", falls, body.cast(e, np.int32), body.const(np.int32(one)), dtype=np.int32)
        divided = np.int32 if one << self.bits < 1 << 31 else np.int64  # of positive numbers: nothing is below 0
        dividend = body.op("Mul", body.cast(above, divided), body.const(np.array(1 << self.bits, divided)))
        divisor = body.op("Add", body.cast(e, divided), body.const(np.array(one, divided)))
        sigmoid = body.op("Div", dividend, divisor)
        product = np.promote_types(wide, body.wide)
        return body.cast(body.op("Mul", body.cast(x, product), body.cast(sigmoid, product)), body.out.storage)

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        (x,) = xs
        pe, m = _rtl.lanes(fold, x.channels), self.clipped(x)
        value = range_width(min(x.lo, -max(x.hi, -x.lo)), max(x.hi, -x.lo))
        return HlsCall(
            "eq_shift_gelu",
            {"n_pixels": x.pixels, "pe": pe, "folds": x.channels // pe, "hi": m.hi, "bits": self.bits}
            | _exp_shift.config(self.slope, self.point, self.shift),
            types={"value_t": (value, True), "dividend_t": (self.point + self.shift + 1 + self.bits, False)},
        )

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        (x,) = xs
        sizes = {"Channels": x.channels, "Pe": _rtl.lanes(fold, x.channels), **_rtl.narrow(fold)}
        sizes["Hi"] = 1 << 64 | self.clipped(x).hi & ((1 << 64) - 1)
        curve = _exp_shift.params(self.slope, self.point, self.shift) | {"Bits": self.bits}
        return RtlInstance(
            "eq_shift_gelu", sizes | _rtl.one_input(x) | curve | _rtl.output(self.infer(x)), uses=("eq_shift_gelu",)
        )

    @property
    def latency(self) -> int:
        """Latency of eq_shift_gelu.sv."""
        return self.bits + 9

    def _depth(self, parts: int) -> int:
        """FifoDepth of eq_shift_gelu.sv."""
        return (self.latency + 1) // parts + 2

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        return _schedule.by_lanes(fold, xs[0], self._depth, latency=self.latency)

    def folds(self, *xs: IntType) -> list[Fold]:
        channels = xs[0].channels
        return [Fold("folded", pe) for pe in range(1, channels + 1) if channels % pe == 0]

    def narrow_folds(self, *xs: IntType) -> list[Fold]:
        return _rtl.narrow_lane_folds(xs[0].channels)

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        (x,) = xs
        y, pe, bits = self.infer(x), _rtl.lanes(fold, x.channels), x.width + 1
        parts, exp_bits = _rtl.beat_parts(fold, x.channels), self.point + self.shift + 1
        clip = Cost(lut=1.5 * bits, ff=2 * bits)
        delay = Cost(lut=bits * ceil((self.bits + 6) / 32), ff=bits)  # shift registers of a LUT each
        sigmoid = Cost(lut=1.5 * exp_bits, ff=2 * exp_bits) + _cost.divide(exp_bits + 1, self.bits)
        lane = clip + delay + sigmoid + _exp_shift.cost(bits, self.slope, self.point, self.shift)
        lane += _cost.product(bits, self.bits + 1) + Cost(ff=y.width)
        out = _cost.fifo(parts * pe * y.width, self._depth(parts)) + Cost(ff=(parts - 1) * pe * y.width)
        return _cost.scaled(lane, pe) + _cost.slices(parts * pe * x.width, parts) + out


def _sigmoid(m: np.ndarray, slope: int, point: int, shift: int, bits: int) -> np.ndarray:
    """About 2^bits / (1 + exp(-m*slope / 2^point)), in [0, 2^bits); it never falls when m grows."""
    one = 1 << (point + shift)
    e = _exp_shift.exp_shift(-np.abs(m * slope), point, shift)
    return (np.where(m >= 0, one, e) << bits) // (one + e)


@lru_cache(maxsize=1024)
def _ends(slope: int, point: int, shift: int, bits: int, lo: int, hi: int) -> tuple[int, int]:
    """The exact range of m * sigmoid for m in [lo, hi].

    From 0 on it rises. Below 0 the sigmoid steps through few values, and the extreme products of each are at its least and its
    greatest m, which are found by bisection.
    """

    def sigmoid(m: np.ndarray) -> np.ndarray:
        return _sigmoid(m, slope, point, shift, bits)

    top = max(lo, min(hi, 0))
    levels = np.arange(int(sigmoid(np.array(top))) + 1)
    low, high = np.full_like(levels, lo), np.full_like(levels, top)  # the least m that reaches each level lies in [low, high]
    while np.any(low < high):
        middle = (low + high) >> 1
        reached = sigmoid(middle) >= levels
        low, high = np.where(reached, low, middle + 1), np.where(reached, middle, high)
    m = np.concatenate([[lo, hi], low, np.maximum(low - 1, lo)])
    found = m * sigmoid(m)
    return int(found.min()), int(found.max())
