"""Some of the channels of a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import Cost, HlsCall, RtlInstance, Stage
from edgeq.ops import _cost, _sample

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.lower.onnx import Body


@dataclass(frozen=True, eq=False)
class SelectChannels(Op):
    """y = the channels start to start + count - 1 of x.

    x: (C, H, W) or (C,), start + count <= C.  y: (count, H, W) or (count,).
    """

    start: int
    count: int

    carried = True
    summary = "channels that follow each other"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        x = _sample.int_type(draw, _sample.any_shape(draw))
        count = draw(1, x.channels)
        return cls(draw(0, x.channels - count), count), (x,)

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        if self.start < 0 or self.count < 1 or self.start + self.count > x.channels:
            raise EdgeqError(f"the channels {self.start} to {self.start + self.count - 1} of {x}", fix="channels that it has")
        return IntType((self.count, *x.shape[1:]), x.lo, x.hi, x.step)

    def is_identity(self, x: IntType) -> bool:
        return self.infer(x) == x

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        return xs[0][:, self.start : self.start + self.count]

    def to_onnx(self, body: Body, *xs: str) -> str:
        return body.op("Slice", xs[0], *(body.const(np.array([v])) for v in (self.start, self.start + self.count, 1)))

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        return HlsCall("eq_select_channels", {"n_pixels": xs[0].pixels, "start": self.start})

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        (x,) = xs
        sizes = {"Channels": x.channels, "Start": self.start, "Count": self.count, "Bits": x.width}
        return RtlInstance("eq_select_channels", sizes, uses=("eq_select_channels",))

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        return (Stage.each(xs[0].pixels, depth=3),)

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        return _cost.fifo(self.count * xs[0].width, 3)
