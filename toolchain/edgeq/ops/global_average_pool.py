"""Sum over all pixels; the division lives in the scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import Cost, HlsCall, RtlInstance, Stage
from edgeq.ops import _cost, _rtl, _sample, _schedule
from edgeq.ops._hls import ap_type

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.lower.onnx import Body


@dataclass(frozen=True, eq=False)
class GlobalAveragePool(Op):
    """y[c] = the sum of x[c] over all pixels.  x: (C, H, W), |sum| < 2^53.  y: (C, 1, 1), H*W times the average."""

    summary = "the exact sum over all pixels; the division moves into the scale"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        return cls(), (_sample.int_type(draw, _sample.image_shape(draw)),)

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        if len(x.shape) != 3:
            raise EdgeqError(f"a global pool reads {x}", fix="its input must be (C, H, W)")
        y = IntType((x.shape[0], 1, 1), x.pixels * x.lo, x.pixels * x.hi, x.step)
        if max(-y.lo, y.hi) >= 1 << 53:  # onnxruntime's integer ReduceSum goes through double
            raise EdgeqError(f"the sum of {x} passes 2^53", fix="requantize before pooling")
        return y

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        return xs[0].sum(axis=(2, 3), keepdims=True)

    def to_onnx(self, body: Body, *xs: str) -> str:
        y = body.op("ReduceSum", body.cast(xs[0], body.wide), body.const(np.array([2, 3])), keepdims=1)
        return body.cast(y, body.out.storage)

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        (x,) = xs
        return HlsCall("eq_global_average_pool", {"n_pixels": x.pixels}, types={"acc_t": ap_type(self.infer(x))})

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        (x,) = xs
        params = {"Pixels": x.pixels, "Channels": x.channels} | _rtl.one_input(x) | _rtl.output(self.infer(x))
        return RtlInstance("eq_global_average_pool", params, uses=("eq_global_average_pool",))

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        return _schedule.whole_frame(xs[0].pixels, depth=4, latency=1)

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        y = self.infer(*xs)
        bits = y.channels * y.width
        return Cost(lut=1.5 * bits, ff=bits) + _cost.fifo(bits, 4)
