"""Maximum over all pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import Cost, HlsCall, RtlInstance, Stage
from edgeq.ops import _cost, _rtl, _sample, _schedule

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.lower.onnx import Body


@dataclass(frozen=True, eq=False)
class GlobalMaxPool(Op):
    """y[c] = the largest x[c] of all pixels.  x: (C, H, W).  y: (C, 1, 1), in the range of x."""

    selects = True
    summary = "the largest of all pixels"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        return cls(), (_sample.int_type(draw, _sample.image_shape(draw)),)

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        if len(x.shape) != 3:
            raise EdgeqError(f"a global pool reads {x}", fix="its input must be (C, H, W)")
        return IntType((x.channels, 1, 1), x.lo, x.hi, x.step)

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        return xs[0].max(axis=(2, 3), keepdims=True)

    def to_onnx(self, body: Body, *xs: str) -> str:
        pixels = body.type(xs[0]).pixels
        return body.largest(body.op("Reshape", xs[0], body.const(np.array([0, body.out.channels, pixels, 1]))), 2, pixels)

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        return HlsCall("eq_global_max_pool", {"n_pixels": xs[0].pixels})

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        (x,) = xs
        params = {"Pixels": x.pixels, "Channels": x.channels} | _rtl.one_input(x)
        return RtlInstance("eq_global_max_pool", params, uses=("eq_global_max_pool",))

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        return _schedule.whole_frame(xs[0].pixels, depth=4, latency=1)

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        (x,) = xs
        bits = x.channels * x.width
        return Cost(lut=bits, ff=bits) + _cost.fifo(bits, 4)
