"""Concatenation of two tensors along the channels."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import Cost, HlsCall, RtlInstance, Stage
from edgeq.ops import _cost, _rtl, _sample

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.lower.onnx import Body


@dataclass(frozen=True, eq=False)
class Concat(Op):
    """y = the channels of x0, then those of x1.  x0: (C0, H, W), x1: (C1, H, W), or both vectors."""

    arity = 2
    summary = "along channels, of two tensors of equal scale (more by chaining)"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        shape = _sample.any_shape(draw)
        other = (draw(1, 4), *shape[1:])
        return cls(), (_sample.int_type(draw, shape), _sample.int_type(draw, other))

    def infer(self, *xs: IntType) -> IntType:
        x0, x1 = xs
        if x0.shape[1:] != x1.shape[1:]:
            raise EdgeqError(f"cannot concatenate {x0} and {x1}", fix="all but the channels must be equal")
        step = gcd(x0.step, x1.step, x0.lo - x1.lo)
        return IntType((x0.channels + x1.channels, *x0.shape[1:]), min(x0.lo, x1.lo), max(x0.hi, x1.hi), step)

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        return np.concatenate(xs, axis=1)

    def to_onnx(self, body: Body, *xs: str) -> str:
        return body.op("Concat", *(body.cast(x, body.out.storage) for x in xs), axis=1)

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        return HlsCall("eq_concat", {"n_pixels": xs[0].pixels})

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        channels = {"Channels0": xs[0].channels, "Channels1": xs[1].channels}
        return RtlInstance("eq_concat", channels | _rtl.two_inputs(*xs) | _rtl.output(self.infer(*xs)), uses=("eq_concat",))

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        return (Stage.each(xs[0].pixels, depth=3),)

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        y = self.infer(*xs)
        return _cost.fifo(y.channels * y.width, 4)
