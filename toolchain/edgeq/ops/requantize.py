"""Requantization: multiply, add, shift with rounding, clip."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from edgeq.digits import MAX_CODE_BITS, DigitCode
from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import Draw, IntType, Op, range_width
from edgeq.hardware import Cost, HlsCall, HlsTable, RtlInstance, Stage, to_bits
from edgeq.ops import _cost, _rtl, _sample, _schedule
from edgeq.ops._hls import digit_config, digit_table, rows_a_cycle
from edgeq.ops.threshold import per_channel
from edgeq.shift_add import Rescale

if TYPE_CHECKING:
    from edgeq.lower.onnx import Body

ROUNDINGS = ("half_even", "floor")


@dataclass(frozen=True, eq=False)
class Requantize(Op):
    """y = clip(round((x*multiplier[c] + offset[c]) / 2^shift), lo, hi).

    multiplier, offset: int64 [C or 1]; |x*multiplier + offset| < 2^61.  shift: 0 to 60.
    rounding: "half_even" (QONNX ROUND) or "floor".  x, y: (C, H, W) or (C,).
    The dyadic form of I-BERT and HAWQ-V3, with the rounding part of the meaning.
    """

    multiplier: np.ndarray
    offset: np.ndarray
    shift: int
    rounding: str
    lo: int
    hi: int

    elementwise = True
    rtl_latency = 3
    summary = "dyadic multiplier a channel, half to even or floor, clip"

    def product_type(self, x: IntType) -> IntType:
        """The exact range of x*multiplier + offset."""
        ends = [int(m) * v + int(b) for m, b in zip(self.multiplier, self.offset, strict=True) for v in (x.lo, x.hi)]
        return IntType(x.shape, min(ends), max(ends))

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        x = _sample.int_type(draw, _sample.any_shape(draw), bits=30)
        return cls.sample_for(draw, x), (x,)

    @classmethod
    def sample_for(cls, draw: Draw, x: IntType) -> Requantize:
        """A random instance that reads x of at most 30 bits; small shifts, and so ties, are frequent."""
        limit = 1 << _sample.choice(draw, [draw(0, 4), draw(0, 29)])
        multiplier = _sample.spread(draw, x.channels, -limit if _sample.rare(draw, 3) else 1, limit)
        reach = int(np.abs(multiplier).max()) * max(abs(x.lo), abs(x.hi), 1)
        offset = _sample.array(draw, multiplier.shape, -reach, reach)
        shift = draw(0, min(reach.bit_length(), _sample.choice(draw, [4, 60])))
        whole = cls(multiplier, offset, shift, _sample.choice(draw, ROUNDINGS), -(1 << 61), 1 << 61)
        y = whole.infer(x)
        cut = (y.hi - y.lo) // _sample.choice(draw, [4, 8, 1 << 62])
        return replace(whole, lo=y.lo + draw(0, cut), hi=y.hi - draw(0, cut))

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        if self.rounding not in ROUNDINGS:
            raise EdgeqError(f"the rounding {self.rounding!r} is unknown", fix=f"one of {', '.join(ROUNDINGS)}")
        shapes = self.multiplier.shape, self.offset.shape
        if not 0 <= self.shift <= 60 or shapes not in (((1,), (1,)), ((x.channels,), (x.channels,))):
            raise EdgeqError(f"a shift of {self.shift}, multipliers {shapes[0]}, offsets {shapes[1]} for {x}")
        if self.lo > self.hi:
            raise EdgeqError(f"a requantize clips to [{self.lo}, {self.hi}]")
        product = self.product_type(x)
        if product.lo <= -(1 << 61) or product.hi >= 1 << 61:
            raise EdgeqError(f"products reach from {product.lo} to {product.hi}", fix="use a shorter multiplier")
        rounded = self.rounded_type(x)
        return IntType(x.shape, *(min(max(v, self.lo), self.hi) for v in (rounded.lo, rounded.hi)))

    def rounded_type(self, x: IntType) -> IntType:
        """The exact range before clipping."""
        product = self.product_type(x)
        return IntType(x.shape, *(int(v) for v in self.round(np.array([product.lo, product.hi]))))

    def round(self, product: np.ndarray) -> np.ndarray:
        """product / 2^shift, rounded."""
        if self.rounding == "floor" or self.shift == 0:
            return product >> self.shift
        shifted = product + (1 << (self.shift - 1))
        y = shifted >> self.shift
        tie = (shifted & ((1 << self.shift) - 1)) == 0
        return y - (tie & (y & 1 == 1))

    def rises(self) -> bool:
        return bool(np.all(self.multiplier >= 0))

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        (x,) = xs
        product = x * per_channel(self.multiplier, x) + per_channel(self.offset, x)
        return np.clip(self.round(product), self.lo, self.hi)

    def to_onnx(self, body: Body, *xs: str) -> str:
        (x,) = xs
        i64, u64 = np.dtype(np.int64), np.dtype(np.uint64)
        wide = body.cast(x, i64)
        m, b = (body.per_channel(body.cast(body.param(name), i64), x) for name in ("multiplier", "offset"))
        y = body.op("Add", body.op("Mul", wide, m), b)
        if self.shift:
            # onnxruntime shifts unsigned integers only: move the range above zero by a multiple of 2^shift.
            lift = 1 << 62
            half = 1 << (self.shift - 1) if self.rounding == "half_even" else 0
            lifted = body.cast(body.op("Add", y, body.const(np.array(lift + half))), u64)
            shifted = body.op("BitShift", lifted, body.const(np.array(self.shift, np.uint64)), direction="RIGHT")
            if half:
                rest = body.op("BitwiseAnd", lifted, body.const(np.array((1 << self.shift) - 1, np.uint64)))
                tie = body.op("Equal", rest, body.const(np.array(0, np.uint64)), dtype=np.bool_)
                odd = body.op("BitwiseAnd", shifted, body.const(np.array(1, np.uint64)))
                shifted = body.op("Sub", shifted, body.op("Mul", odd, body.cast(tie, u64)))
            y = body.op("Sub", body.cast(shifted, i64), body.const(np.array(lift >> self.shift)))
        rounded = self.rounded_type(body.type(x))
        narrow = body.wide if rounded.storage != np.int64 else i64
        y = body.cast(y, narrow)
        for emit, bound, end in (("Max", body.out.lo, rounded.lo), ("Min", body.out.hi, rounded.hi)):
            if bound != end:
                y = body.extreme(emit, y, body.const(np.array(bound, narrow)))
        return body.cast(y, body.out.storage)

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        (x,) = xs
        product = self.product_type(x)
        half = 1 << (self.shift - 1) if self.shift and self.rounding == "half_even" else 0
        wide = max(range_width(min(product.lo, self.lo, -1), max(product.hi + half, self.hi)), self.shift + 2)
        code = self.digit_code(fold.digits)
        config = {
            "n_pixels": x.pixels,
            "folds": x.channels // _rtl.lanes(fold, x.channels),
            "rows": len(self.multiplier),
            "lanes": rows_a_cycle(fold, len(self.multiplier)),
            "shift": self.shift,
            "half_even": int(self.rounding == "half_even"),
            "lo": self.lo,
            "hi": self.hi,
            **digit_config(code),
        }
        tables = {"multiplier": digit_table(self.multiplier, code), "offset": HlsTable.of(self.offset)}
        return HlsCall("eq_requantize", config, types={"wide_t": (wide, True)}, tables=tables)

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        return _rtl.pointwise(self, fold, xs[0], self.infer(*xs))

    def widths(self, x: IntType) -> tuple[int, int]:
        """Bits of a multiplier and of x*multiplier + offset in two's complement."""
        product = self.product_type(x)
        ends = (product.lo, product.hi, int(self.offset.min()), int(self.offset.max()))
        multiplier_bits = _rtl.signed_bits(int(self.multiplier.min()), int(self.multiplier.max()))
        return multiplier_bits, max(_rtl.signed_bits(min(ends), max(ends)), self.shift + 1)

    def rtl_compare(self, channels: int) -> None:
        """More than one bit."""

    @cached_property
    def _code(self) -> DigitCode:
        return DigitCode.of(self.multiplier)

    def digit_code(self, digits: bool) -> DigitCode | None:
        """How the multipliers are stored as digits; None where they are multiplied by. digits: as `Fold.digits`."""
        return self._code if self._code.free or (digits and self._code.width <= MAX_CODE_BITS) else None

    def multiplies(self) -> bool:
        return self.digit_code(False) is None and self.digit_code(True) is not None

    def rtl_rescale(self, channels: int, y: IntType) -> Rescale:
        multiplier, offset = (np.ascontiguousarray(np.broadcast_to(v, channels)) for v in (self.multiplier, self.offset))
        return Rescale(multiplier, offset, self.shift, self.rounding == "half_even", y.lo, y.hi, y.width)

    def rtl_post(self, x: IntType, bits: int, digits: bool) -> _rtl.Post:
        """For eq_requantize.sv, whose products wrap: only x*multiplier + offset has to fit."""
        y = self.infer(x)
        multiplier_bits, sum_bits = self.widths(x)
        multiplier, how = to_bits(self.multiplier[:, None], multiplier_bits), int(self.rounding == "half_even")
        if code := self.digit_code(digits):
            multiplier = code.bits(self.multiplier[:, None])
            how |= code.count << 8 | code.max_shift << 16
        config = (multiplier.shape[1], y.lo, y.hi, sum_bits, self.shift, how)
        return _rtl.Post.of(2, y, *config, bits=np.hstack([multiplier, to_bits(self.offset[:, None], sum_bits)]))

    def folds(self, *xs: IntType) -> list[Fold]:
        return _rtl.lane_folds(xs[0].channels, (False, True) if self.multiplies() else (False,))

    def narrow_folds(self, *xs: IntType) -> list[Fold]:
        return _rtl.narrow_lane_folds(xs[0].channels, (False, True) if self.multiplies() else (False,))

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        return _schedule.by_lanes(fold, xs[0], lambda parts: _rtl.credits(parts, latency=4), latency=1 + self.rtl_latency)

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        return _cost.pointwise(self, fold, xs[0], self.infer(*xs))

    def cost_post(self, x: IntType, bits: int, lanes: int, words: int, digits: bool) -> Cost:
        """Of `lanes` values at a time, each for `words` channels in turn."""
        multiplier_bits, sum_bits = self.widths(x)
        return _cost.requantize(bits, multiplier_bits, sum_bits, self.infer(x).width, lanes, words, self.digit_code(digits))
