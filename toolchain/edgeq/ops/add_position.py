"""A constant a pixel and channel, added."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import Cost, HlsCall, RtlInstance, Stage
from edgeq.ops import _sample

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.lower.onnx import Body


@dataclass(frozen=True, eq=False)
class AddPosition(Op):
    """y[c, h, w] = x[c, h, w] + position[c, h*W + w].

    x, y: (C, H, W).  position: int64 [C, H*W]; y in [-2^62, 2^62]. The positional embedding of a vision transformer.
    """

    position: np.ndarray

    summary = "a constant a pixel and channel, added"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        x = _sample.int_type(draw, _sample.image_shape(draw))
        lo, hi, step = _sample.int_range(draw, 34)
        return cls(lo + step * _sample.array(draw, (x.channels, x.pixels), 0, (hi - lo) // step)), (x,)

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        if len(x.shape) != 3 or self.position.shape != (x.channels, x.pixels):
            raise EdgeqError(f"positions of shape {self.position.shape} for {x}", fix="[C, H*W] for (C, H, W)")
        lo, hi = int(self.position.min()), int(self.position.max())
        y = IntType(x.shape, x.lo + lo, x.hi + hi)
        step = gcd(x.step if x.hi > x.lo else 0, int(np.gcd.reduce((self.position - lo).astype(np.uint64).ravel())))
        return IntType(x.shape, y.lo, y.hi, max(1, step))

    def is_identity(self, x: IntType) -> bool:
        return not self.position.any()

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        (x,) = xs
        return x + self.position.reshape(x.shape[1:])

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
