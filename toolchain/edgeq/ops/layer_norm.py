"""Layer normalization of a pixel over its channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import Cost, HlsCall, RtlInstance, Stage
from edgeq.ops import _root, _sample

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.lower.onnx import Body

RECIPROCAL_BITS = 31
SUM_BITS = 53


@dataclass(frozen=True, eq=False)
class LayerNorm(Op):
    """y = (d * F) >> (1 + shift), of each pixel over its channels: d = x - mu, mu = the mean, rounded half to even,
    k = floor(sqrt(sum of d^2)), F = (2^31 - 1) // max(k, 1).

    x, y: (C, H, W) or (C,).  shift: 0 to 30.  y is in [-2^(30-shift), 2^(30-shift) - 1]; y * 2^(shift-30) * sqrt(C) is the
    normalized value.  |sum of x| < 2^53, and C*(hi - lo)^2/4 + C/4, which bounds the sum of squares, < 2^48.
    I-ViT's I-LayerNorm (arXiv 2207.01405) with an exact root; its affine part is a Requantize behind it.
    """

    shift: int

    summary = "of a pixel over its channels: mean, root of the sum of squares and reciprocal in integers"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        _, *pixels = _sample.any_shape(draw)
        shape = (_sample.choice(draw, [draw(2, 12), 24]), *pixels)
        shift = draw(0, RECIPROCAL_BITS - 1) if _sample.rare(draw, 3) else draw(15, 25)
        x = _sample.int_type(draw, shape, 16)
        if _sample.rare(draw, 4):  # as far from 0 as it may be
            offset = _sample.choice(draw, [-1, 1]) * (1 << 48) + draw(0, 1)
            x = IntType(shape, x.lo + offset, x.hi + offset, x.step)
        return cls(shift), (x,)

    @staticmethod
    def squares(x: IntType) -> int:
        """The largest sum of squares of d: C*variance + C*(mean - mu)^2."""
        return x.channels * ((x.hi - x.lo) ** 2 + 1) // 4

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        if not 0 <= self.shift < RECIPROCAL_BITS:
            raise EdgeqError(f"a layer normalization has a shift of {self.shift}", fix=f"0 to {RECIPROCAL_BITS - 1}")
        if x.channels * max(-x.lo, x.hi) >> SUM_BITS:  # onnxruntime's integer ReduceSum goes through double
            raise EdgeqError(f"the sum of the channels of {x} passes 2^{SUM_BITS}", fix="requantize before normalizing")
        if self.squares(x) >> _root.ROOT_BITS:
            raise EdgeqError(
                f"the sum of squares of the channels of {x} may pass 2^{_root.ROOT_BITS}", fix="requantize before normalizing"
            )
        top = 1 << (RECIPROCAL_BITS - 1 - self.shift)
        return IntType(x.shape, -top, top - 1)

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        (x,) = xs
        channels = x.shape[1]
        lifted = x.sum(axis=1, keepdims=True) + channels // 2
        mean = lifted // channels
        if channels % 2 == 0:  # of an odd number no mean is half way
            mean -= (lifted % channels == 0) & (mean % 2 == 1)
        d = x - mean
        k = _root.isqrt((d * d).sum(axis=1, keepdims=True))
        return d * (((1 << RECIPROCAL_BITS) - 1) // np.maximum(k, 1)) >> (1 + self.shift)

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
