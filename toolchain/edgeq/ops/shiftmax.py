"""Softmax along a row, in integers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import Cost, HlsCall, RtlInstance, Stage
from edgeq.ops import _exp_shift, _sample

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.lower.onnx import Body

SUM_TOP = (1 << 31) - 1
"""The largest sum of a row, and the dividend of its reciprocal."""
MAX_BITS = 32


@dataclass(frozen=True, eq=False)
class Shiftmax(Op):
    """y = e * ((2^31 - 1) // sum of e) >> (32 - bits) along W, e = ExpShift((x - the largest of the row) * slope, point, shift).

    x: (heads, H, W), a row of W keys for each of H queries.  y: the same shape, in [0, 2^(bits-1)), one being 2^(bits-1).
    slope: 1 or more, round(S * 2^point) for x in units of S; (hi - lo) * slope < 2^61.  point: 0 or more.  shift: 1 or more.
    W * 2^(point+shift) < 2^31, so no sum is cut off.  bits: 2 to 32.
    I-ViT's Shiftmax (arXiv 2207.01405), its point in place of floor(-1/S).
    """

    slope: int
    point: int
    shift: int = 15
    bits: int = 16

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
        return IntType(x.shape, 0, one * (SUM_TOP // (one + (width - 1) * least)) >> (32 - self.bits))

    def rescaled(self, *exponents: int) -> tuple[Op, int]:
        (e,) = exponents
        return replace(self, slope=_exp_shift.shifted("the slope of Shiftmax", self.slope, e)), 0

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        (x,) = xs
        e = _exp_shift.exp_shift((x - x.max(axis=3, keepdims=True)) * self.slope, self.point, self.shift)
        return e * (SUM_TOP // e.sum(axis=3, keepdims=True)) >> (32 - self.bits)

    def to_onnx(self, body: Body, *xs: str) -> str:
        raise NotImplementedError

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        raise NotImplementedError

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        raise NotImplementedError

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        raise NotImplementedError

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        raise NotImplementedError
