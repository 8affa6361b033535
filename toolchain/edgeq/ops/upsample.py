"""Nearest-neighbour upsampling by integer factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import EMIT, READ, TAKE, Cost, HlsCall, RtlInstance, Stage, memory_cost
from edgeq.ops import _cost, _sample

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.lower.onnx import Body


@dataclass(frozen=True, eq=False)
class Upsample(Op):
    """y[c, h, w] = x[c, h // fh, w // fw].  x: (C, H, W).  factor: (fh, fw), 1 or more.  y: (C, fh*H, fw*W)."""

    factor: tuple[int, int]

    selects = True
    summary = "nearest neighbour, integer factors"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        return cls((draw(1, 3), draw(1, 3))), (_sample.int_type(draw, _sample.image_shape(draw)),)

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        if len(x.shape) != 3 or min(self.factor) < 1:
            raise EdgeqError(f"upsampling by {self.factor} of {x}", fix="factors of 1 or more, input (C, H, W)")
        return IntType((x.shape[0], x.shape[1] * self.factor[0], x.shape[2] * self.factor[1]), x.lo, x.hi, x.step)

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        return xs[0].repeat(self.factor[0], axis=2).repeat(self.factor[1], axis=3)

    def to_onnx(self, body: Body, *xs: str) -> str:
        (y,) = xs
        for axis in (0, 1):
            index = np.arange(body.out.shape[1 + axis]) // self.factor[axis]
            y = body.op("Gather", y, body.const(index), axis=2 + axis)
        return y

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        (x,) = xs
        height, width = self.factor
        sizes = {"in_height": x.shape[1], "in_width": x.shape[2]}
        return HlsCall("eq_upsample", sizes | {"factor_height": height, "factor_width": width})

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        (x,) = xs
        sizes = {"W": x.shape[2], "PixBits": x.channels * x.width, "FactorH": self.factor[0], "FactorW": self.factor[1]}
        return RtlInstance("eq_upsample", sizes, uses=("eq_upsample",))

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        (x,) = xs
        fresh = bytes([READ | TAKE | EMIT]) + bytes([EMIT]) * (self.factor[1] - 1)
        rows = fresh * x.shape[2] + bytes([EMIT]) * ((self.factor[0] - 1) * self.factor[1] * x.shape[2])
        return (Stage(rows * x.shape[1], depth=4, latency=1),)

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        (x,) = xs
        bits = x.channels * x.width
        return memory_cost(bits, max(2, x.shape[2])) + Cost(lut=bits, ff=bits) + _cost.fifo(bits, 8)
