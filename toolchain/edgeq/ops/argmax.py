"""Index of the largest channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import Cost, HlsCall, RtlInstance, Stage
from edgeq.ops import _cost, _rtl, _sample

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.lower.onnx import Body


@dataclass(frozen=True, eq=False)
class Argmax(Op):
    """y = the index of the largest channel of a pixel, the first of equals.  x: (C,) or (C, H, W).  y: (1,) or (1, H, W)."""

    summary = "over channels, the first of equals"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        return cls(), (_sample.int_type(draw, _sample.any_shape(draw)),)

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        return IntType((1, *x.shape[1:]), 0, x.channels - 1)

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        return xs[0].argmax(axis=1)[:, None]

    def to_onnx(self, body: Body, *xs: str) -> str:
        return body.cast(body.op("ArgMax", xs[0], axis=1, keepdims=1, select_last_index=0, dtype=np.int64), body.out.storage)

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        return HlsCall("eq_argmax", {"n_pixels": xs[0].pixels})

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        (x,) = xs
        params = {"Channels": x.channels, **_rtl.one_input(x), "OutBits": self.infer(x).width}
        return RtlInstance("eq_argmax", params, uses=("eq_argmax",))

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        levels = (xs[0].channels - 1).bit_length()
        return (Stage.each(xs[0].pixels, depth=levels + 4, latency=levels + 1),)

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        (x,) = xs
        y = self.infer(x)
        bits = x.width + y.width
        return Cost(lut=(x.channels - 1) * 1.5 * bits, ff=x.channels * bits) + _cost.fifo(y.width, 8)
