"""The output of attention: for every query the sum of the values, weighted by its attention to each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import Cost, HlsCall, RtlInstance, Stage
from edgeq.ops import _attention
from edgeq.ops._mac import exact_matmul

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.lower.onnx import Body


@dataclass(frozen=True, eq=False)
class AttentionValues(Op):
    """y[c, 0, i] = sum over the tokens j of p[h, i, j] * v[c, j], h being the head of channel c.

    p: (heads, Tq, Tk), v: (C, Hv, Wv) with Hv*Wv = Tk tokens in raster order, of at most 16 bits each; head h has the channels
    h*d to h*d + d - 1, d = C / heads. Tk is at most 33,025.  y: (C, 1, Tq), exact.
    """

    heads: int

    arity = 2
    summary = "of an attention map and values of up to 16 bits each, any number of heads"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        heads, height, width = draw(1, 3), draw(1, 3), draw(1, 3)
        p = _attention.sample_type(draw, (heads, draw(1, 5), height * width))
        return cls(heads), (p, _attention.sample_type(draw, (heads * draw(1, 6), height, width)))

    def infer(self, *xs: IntType) -> IntType:
        p, v = xs
        _attention.check_operands(self.kind(), self.heads, v.channels, v.pixels, p, v)
        if p.shape[0] != self.heads or p.shape[2] != v.pixels:
            fix = f"a map ({self.heads}, Tq, {v.pixels})"
            raise EdgeqError(f"{self.kind()} with {self.heads} heads reads the map {p} and the values {v}", fix=fix)
        return _attention.sum_type((v.channels, 1, p.shape[1]), p, v, v.pixels)

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        p, v = xs
        values = v.reshape(len(v), self.heads, v.shape[1] // self.heads, -1)
        return exact_matmul(values, p.swapaxes(2, 3)).reshape(len(v), v.shape[1], 1, -1)

    def rescaled(self, *exponents: int) -> tuple[Op, int]:
        return self, sum(exponents)

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
