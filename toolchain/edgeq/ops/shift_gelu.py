"""GELU as x * sigmoid(1.702 x), in integers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import Cost, HlsCall, RtlInstance, Stage
from edgeq.ops import _exp_shift, _sample

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
        raise NotImplementedError

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        raise NotImplementedError

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        raise NotImplementedError

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        raise NotImplementedError

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        raise NotImplementedError


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
