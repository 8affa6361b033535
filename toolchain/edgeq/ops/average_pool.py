"""Sum over a sliding window; the division lives in the scale."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import Cost, HlsCall, RtlInstance, Stage
from edgeq.ops import _cost, _rtl, _sample, _schedule
from edgeq.ops._hls import ap_type, window
from edgeq.ops._window import output_size, patches

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.lower.onnx import Body


@dataclass(frozen=True, eq=False)
class AveragePool(Op):
    """y = the sum of the window, padding counted as 0.  x: (C, H, W).  y: (C, Ho, Wo), Kh*Kw times the average."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)

    summary = "the exact window sum; the division moves into the scale"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        w = _sample.Window(draw, dilate=False)
        return cls(w.kernel, w.stride, w.pads), (_sample.int_type(draw, (draw(1, 4), *w.size)),)

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        ho, wo = output_size(x, self.kernel, self.stride, self.pads, (1, 1))
        terms = self.kernel[0] * self.kernel[1]
        if any(self.pads):
            return IntType((x.shape[0], ho, wo), min(0, terms * x.lo), max(0, terms * x.hi))
        return IntType((x.shape[0], ho, wo), terms * x.lo, terms * x.hi, x.step)

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        return patches(xs[0], self.kernel, self.stride, self.pads, (1, 1), fill=0).sum(axis=(4, 5))

    def to_onnx(self, body: Body, *xs: str) -> str:
        taps = body.taps(body.cast(xs[0], body.wide), self.kernel, self.stride, self.pads, (1, 1), fill=0)
        return body.cast(reduce(lambda a, b: body.op("Add", a, b), taps), body.out.storage)

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        (x,) = xs
        config = window(x, self.kernel, self.stride, self.pads, (1, 1), pad_value=0)
        return HlsCall("eq_average_pool", config | {"folds": 1}, types={"acc_t": ap_type(self.infer(x))})

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        (x,) = xs
        window = self.window(x).params()
        del window["Dh"], window["Dw"]
        params = window | {"Channels": x.channels} | _rtl.one_input(x) | _rtl.output(self.infer(x))
        return RtlInstance("eq_average_pool", params, uses=("eq_average_pool",))

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        latency = 1 + _schedule.sum_latency(self.kernel[0] * self.kernel[1])
        return (_schedule.window(self.window(xs[0]), depth=latency + 4, latency=latency),)

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        (x,) = xs
        terms, y = self.kernel[0] * self.kernel[1], self.infer(x)
        adders = Cost(lut=x.channels * (terms - 1) * (x.width + 2), ff=x.channels * terms * (x.width + 1))
        return _cost.window(self.window(x), x.channels * x.width) + adders + _cost.fifo(y.channels * y.width, 16)

    def window(self, x: IntType) -> _rtl.Window:
        """The geometry in hardware."""
        return _rtl.Window(x, self.kernel, self.stride, self.pads)
