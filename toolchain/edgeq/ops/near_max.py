"""The elements of a row that are near its largest: attention bits without a softmax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import EMIT, Cost, HlsCall, RtlInstance, Stage
from edgeq.ops import _cost, _rows, _sample

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.lower.onnx import Body

MAX_MARGIN = 1 << 62


@dataclass(frozen=True, eq=False)
class NearMax(Op):
    """y = 1 where x >= the largest of the row - margin, else 0, along W.

    x: (heads, H, W), a row of W keys for each of H queries.  y: the same shape, 0 and 1.  margin: 0 to 2^62.
    BiViT's softmax-aware binarization (arXiv 2211.07091): softmax(x) >= its largest / 4 with margin = floor(ln 4 / S).
    """

    margin: int

    carried = True
    summary = "1 where an element is near the largest of its row, else 0"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        width = draw(8, 40) if _sample.rare(draw, 4) else draw(2, 6)
        x = _sample.int_type(draw, (draw(1, 4), draw(1, 4), width))
        return cls(draw(0, x.hi - x.lo - 1)), (x,)

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        if len(x.shape) != 3:
            raise EdgeqError(f"NearMax reads {x}", fix="its input must be (heads, H, W)")
        if not 0 <= self.margin <= MAX_MARGIN:
            raise EdgeqError(f"NearMax has a margin of {self.margin}", fix="0 to 2^62")
        return IntType(x.shape, 0, 1)

    def rescaled(self, *exponents: int) -> tuple[Op, int]:
        (e,) = exponents  # in units of 2^e, a margin between two integers is as good as the lower one
        return NearMax(self.margin >> e if e > 0 else self.margin << -e), 0

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        (x,) = xs
        return (x.max(axis=3, keepdims=True) - x <= self.margin).astype(np.int64)

    def to_onnx(self, body: Body, *xs: str) -> str:
        d = _rows.distances(body, xs[0])
        margin = min(self.margin, body.type(xs[0]).hi - body.type(xs[0]).lo)
        near = body.op("LessOrEqual", d, body.const(np.array(margin, body.result_dtype(d))), dtype=np.bool_)
        return body.cast(near, body.out.storage)

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        (x,) = xs
        sizes = {"n_rows": x.shape[1], "n_keys": x.shape[2]}
        return HlsCall("eq_near_max", sizes | {"margin": min(self.margin, x.hi - x.lo)})

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        (x,) = xs
        margin = min(self.margin, x.hi - x.lo) // (2 if x.bipolar else 1)
        return RtlInstance("eq_near_max", _rows.params(x) | {"Margin": margin | 1 << x.width}, uses=("eq_near_max",))

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        (x,) = xs
        return _rows.store(x), _rows.read(x, EMIT, depth=4, latency=2)

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        (x,) = xs
        return _rows.cost(x) + Cost(lut=x.channels * x.width / 2) + _cost.fifo(x.channels, 4)
