"""Some of the pixels of an image, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import EMIT, READ, TAKE, Cost, HlsCall, RtlInstance, Stage
from edgeq.ops import _cost, _rtl, _sample, _tokens

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
    carried = True
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
        (x,) = xs
        x = body.op("Reshape", x, body.const(np.array([-1, body.out.channels, body.type(x).pixels])))
        bounds = (body.const(np.array([v])) for v in (self.start, self.start + self.count, 2))
        return body.op("Reshape", body.op("Slice", x, *bounds), body.const(np.array([-1, *body.out.shape])))

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        return HlsCall("eq_select_tokens", {"n_pixels": xs[0].pixels, "start": self.start, "count": self.count})

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        (x,) = xs
        parts = _tokens.parts(fold, x.channels)
        sizes = {"Pixels": x.pixels, "Start": self.start, "Count": self.count}
        sizes = {name: parts * value for name, value in sizes.items()} | {"PixBits": x.channels // parts * x.width}
        return RtlInstance("eq_select_tokens", sizes, uses=("eq_select_tokens",))

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        (x,) = xs
        after = x.pixels - self.start - self.count
        dropped, stays = bytes([READ | TAKE]), bytes([READ | TAKE | EMIT])
        walk = dropped * self.start + stays * self.count + dropped * after
        return (Stage(_tokens.repeated(walk, _tokens.parts(fold, x.channels)), depth=3),)

    def narrow_folds(self, *xs: IntType) -> list[Fold]:
        return _rtl.narrow_lane_folds(xs[0].channels)

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        (x,) = xs
        return _cost.fifo(x.channels // _tokens.parts(fold, x.channels) * x.width, 3) + _cost.CONTROL
