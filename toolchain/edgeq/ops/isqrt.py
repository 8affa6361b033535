"""The integer square root of every element."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import Cost, HlsCall, RtlInstance, Stage
from edgeq.ops import _cost, _root, _rtl, _sample

if TYPE_CHECKING:
    from edgeq.lower.onnx import Body


@dataclass(frozen=True, eq=False)
class ISqrt(Op):
    """y = floor(sqrt(x)).  x, y: (C, H, W) or (C,), 0 <= x < 2^48."""

    elementwise = True
    carried = True
    summary = "the integer square root, rounded down, of at most 48 bits"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        bits = draw(2, 42) if _sample.rare(draw, 3) else draw(2, 12)
        hi = (1 << bits) - 1 - draw(0, 1)
        lo = draw(0, hi // 4) if _sample.rare(draw, 3) else 0
        return cls(), (IntType(_sample.any_shape(draw), lo, hi),)

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        if x.lo < 0 or x.hi >> _root.ROOT_BITS:
            raise EdgeqError(f"the square root of {x}", fix=f"0 or more, of at most {_root.ROOT_BITS} bits")
        return IntType(x.shape, isqrt(x.lo), isqrt(x.hi))

    def rises(self) -> bool:
        return True

    def rescaled(self, *exponents: int) -> tuple[Op, int]:
        (exponent,) = exponents
        if exponent % 2:
            raise EdgeqError(f"a square root of a unit of 2^{exponent}", fix="an even exponent")
        return self, exponent // 2

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        return _root.isqrt(xs[0])

    def to_onnx(self, body: Body, *xs: str) -> str:
        return body.cast(_root.to_onnx(body, body.cast(xs[0], np.int64)), body.out.storage)

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        (x,) = xs
        pe = _rtl.lanes(fold, x.channels)
        sizes = {"n_pixels": x.pixels, "pe": pe, "folds": x.channels // pe, "digits": _root.digits(x.width)}
        return HlsCall("eq_isqrt", sizes)

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        (x,) = xs
        sizes = {"Channels": x.channels, "Pe": _rtl.lanes(fold, x.channels), "InBits": x.width}
        return RtlInstance("eq_isqrt", sizes, uses=("eq_isqrt",))

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        (x,) = xs
        steps, latency = x.channels // _rtl.lanes(fold, x.channels), 1 + _root.digits(x.width)
        return (Stage.each(x.pixels, self._depth(steps, latency), latency, steps),)

    @staticmethod
    def _depth(steps: int, latency: int) -> int:
        """FifoDepth of eq_isqrt.sv."""
        return (latency + 1) // steps + 2

    def folds(self, *xs: IntType) -> list[Fold]:
        channels = xs[0].channels
        return [Fold("folded", pe) for pe in range(1, channels + 1) if channels % pe == 0]

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        (x,) = xs
        pe = _rtl.lanes(fold, x.channels)
        steps, digits = x.channels // pe, _root.digits(x.width)
        roots = _cost.scaled(_root.cost(x.width), pe)
        out = _cost.fifo(x.channels * digits, self._depth(steps, 1 + digits))
        return roots + _cost.slices(x.channels * x.width, steps) + Cost(ff=(x.channels - pe) * digits) + out
