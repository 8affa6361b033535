"""Some of the pixels of an image, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
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
class SelectTokens(Op):
    """y = the pixels start to start + count - 1 of x, in raster order, as an image of `height` rows.

    x: (C, H, W), count a multiple of height, start + count <= H*W.  y: (C, height, count/height).
    """

    start: int
    count: int
    height: int = 1

    selects = True
    summary = "pixels that follow each other, as an image of their own"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        x = _sample.int_type(draw, _sample.image_shape(draw))
        count = draw(1, x.pixels)
        height = _sample.choice(draw, [h for h in range(1, count + 1) if count % h == 0])
        return cls(draw(0, x.pixels - count), count, height), (x,)

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        if len(x.shape) != 3 or min(self.start, self.count - 1, self.height - 1) < 0 or self.start + self.count > x.pixels:
            raise EdgeqError(f"the pixels {self.start} to {self.start + self.count - 1} of {x}", fix="pixels of (C, H, W)")
        if self.count % self.height:
            raise EdgeqError(f"{self.count} pixels in {self.height} rows", fix="as many in every row")
        return IntType((x.channels, self.height, self.count // self.height), x.lo, x.hi, x.step)

    def is_identity(self, x: IntType) -> bool:
        return self.infer(x) == x

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        (x,) = xs
        pixels = x.reshape(*x.shape[:2], -1)[..., self.start : self.start + self.count]
        return pixels.reshape(*x.shape[:2], self.height, -1)

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
