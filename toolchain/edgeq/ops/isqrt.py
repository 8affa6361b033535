"""The integer square root of every element."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import Cost, HlsCall, RtlInstance, Stage
from edgeq.ops import _root, _sample

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.lower.onnx import Body


@dataclass(frozen=True, eq=False)
class ISqrt(Op):
    """y = floor(sqrt(x)).  x, y: (C, H, W) or (C,), 0 <= x < 2^48."""

    elementwise = True
    summary = "the integer square root, rounded down, of at most 48 bits"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        bits = draw(2, _root.ROOT_BITS) if _sample.rare(draw, 3) else draw(2, 12)
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

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        return _root.isqrt(xs[0])

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
