"""Softmax along a row, in integers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import EMIT, READ, TAKE, Cost, HlsCall, RtlInstance, Stage, memory_cost
from edgeq.ops import _cost, _exp_shift, _rows, _sample

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.lower.onnx import Body

SUM_TOP = (1 << 31) - 1
"""The largest sum of a row, and the dividend of its reciprocal."""
MAX_BITS = 32
EXP_LATENCY, DIVIDED = 6, 3
"""Constants of eq_shiftmax.sv."""


@dataclass(frozen=True, eq=False)
class Shiftmax(Op):
    """y = e * ((2^31 - 1) // sum of e) >> (32 - bits) along W, e = ExpShift((x - the largest of the row) * slope, point, shift).

    x: (heads, H, W), a row of W keys for each of H queries.  y: the same shape, in [0, 2^(bits-1)), one being 2^(bits-1).
    slope: 1 or more, round(S * 2^point) for x in units of S; (hi - lo) * slope < 2^61.  point: 0 or more.  shift: 1 or more.
    W * 2^(point+shift) < 2^31, so no sum is cut off.  bits: 2 to 32.
    The reciprocal is low by up to sum / 2^31 of itself, and a key adds at least 2^-shift: of 197 keys and shift 15, rows sum to
    0.98 or more with a point of 4, to 0.86 with one of 8.
    I-ViT's Shiftmax (arXiv 2207.01405), its point in place of floor(-1/S).
    """

    slope: int
    point: int
    shift: int = 15
    bits: int = 16

    carried = True
    summary = "softmax along rows: exponentials by shifts, one division a row"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        width = draw(8, 40) if _sample.rare(draw, 4) else draw(2, 6)
        x = _sample.int_type(draw, (draw(1, 4), draw(1, 4), width))
        slope, point, shift = _exp_shift.sample(draw, x.hi - x.lo, (SUM_TOP // width).bit_length() - 1)
        return cls(slope, point, shift, draw(2, MAX_BITS) if _sample.rare(draw, 3) else draw(12, 18)), (x,)

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        if len(x.shape) != 3:
            raise EdgeqError(f"Shiftmax reads {x}", fix="its input must be (heads, H, W)")
        span, width = x.hi - x.lo, x.shape[2]
        _exp_shift.check("Shiftmax", self.slope, self.point, self.shift, span)
        if not 2 <= self.bits <= MAX_BITS:
            raise EdgeqError(f"Shiftmax has {self.bits} bits", fix=f"2 to {MAX_BITS}")
        one = 1 << (self.point + self.shift)
        if width * one > SUM_TOP:
            what = f"a row of {width} exponentials of up to 2^{self.point + self.shift} may pass 2^31"
            raise EdgeqError(what, fix=f"point + shift of at most {(SUM_TOP // width).bit_length() - 1}")
        least = int(_exp_shift.exp_shift(np.array(-span * self.slope), self.point, self.shift))
        return IntType(x.shape, 0, one * (SUM_TOP // (one + (width - 1) * least)) >> (MAX_BITS - self.bits))

    def rescaled(self, *exponents: int) -> tuple[Op, int]:
        (e,) = exponents
        return replace(self, slope=_exp_shift.shifted("the slope of Shiftmax", self.slope, e)), 0

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        (x,) = xs
        e = _exp_shift.exp_shift((x - x.max(axis=3, keepdims=True)) * self.slope, self.point, self.shift)
        return e * (SUM_TOP // e.sum(axis=3, keepdims=True)) >> (MAX_BITS - self.bits)

    def to_onnx(self, body: Body, *xs: str) -> str:
        e = _exp_shift.to_onnx(body, _rows.distances(body, xs[0]), self.slope, self.point, self.shift)
        total = body.op("ReduceSum", body.cast(e, np.int32), body.const(np.array([3])), keepdims=1)
        reciprocal = body.op("Div", body.const(np.int32(SUM_TOP)), total)  # of positive numbers: nothing is below 0
        y = body.op("Mul", e, body.cast(reciprocal, np.uint32))
        if self.bits < MAX_BITS:
            y = body.op("BitShift", y, body.const(np.uint32(MAX_BITS - self.bits)), direction="RIGHT")
        return body.cast(y, body.out.storage)

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        (x,) = xs
        sizes = {"n_rows": x.shape[1], "n_keys": x.shape[2], "bits": self.bits}
        return HlsCall("eq_shiftmax", sizes | _exp_shift.config(self.slope, self.point, self.shift))

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        (x,) = xs
        step = 2 if x.bipolar else 1  # of the code
        ends = {"Bits": self.bits, "OutBits": self.infer(x).width}
        params = _rows.params(x) | _exp_shift.params(step * self.slope, self.point, self.shift) | ends
        return RtlInstance("eq_shiftmax", params, uses=("eq_shiftmax",))

    @property
    def digits(self) -> int:
        """Bits of (2^31 - 1) // sum, and cycles of the division."""
        return SUM_TOP.bit_length() - self.point - self.shift

    @staticmethod
    def _summed(x: IntType) -> int:
        """Summed of eq_shiftmax.sv."""
        return (2 * x.shape[2] + EXP_LATENCY + 1) // x.shape[2]

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        (x,) = xs
        quotient = bytearray(self.digits)
        quotient[0] |= READ | TAKE
        quotient[-1] |= EMIT
        return (
            _rows.store(x),
            _rows.read(x, 0, self._summed(x), EXP_LATENCY + 1),
            Stage(bytes(quotient) * x.shape[1], DIVIDED, latency=1),
            _rows.read(x, EMIT, depth=4, latency=2),
        )

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        (x,) = xs
        y, width, exp_bits = self.infer(x), x.shape[2], self.point + self.shift + 1
        sum_bits = (width << (exp_bits - 1)).bit_length()
        lane = _exp_shift.cost(x.width, self.slope, self.point, self.shift) + _cost.product(exp_bits, self.digits)
        lane += Cost(lut=sum_bits, ff=sum_bits + self.digits) + _cost.divide(sum_bits, self.digits, iterative=True)
        words = (self._summed(x) + DIVIDED) * width
        fifos = _cost.fifo(x.channels * sum_bits, self._summed(x)) + _cost.fifo(x.channels * self.digits, DIVIDED)
        memory = memory_cost(x.channels * exp_bits, words)
        out = _cost.fifo(x.channels * y.width, 4)
        return _rows.cost(x) + _cost.scaled(lane, x.channels) + fifos + memory + out + _cost.CONTROL
