"""The scores of attention: the scalar product of every query with every key."""

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
class AttentionScores(Op):
    """y[h, i, j] = sum over the channels c of head h of q[c, i] * k[c, j], not scaled.

    q: (C, Hq, Wq), k: (C, Hk, Wk), of at most 16 bits each; a token is a pixel, Tq = Hq*Wq and Tk = Hk*Wk of them in raster
    order; head h has the channels h*d to h*d + d - 1, d = C / heads, at most 33,025.
    y: (heads, Tq, Tk), exact. pairs=0: (heads*Tk, Hq, Wq), channel h*Tk + j, all scores of a query in one beat: for few keys.
    """

    heads: int
    pairs: int = 1

    arity = 2
    summary = "of two tensors of up to 16 bits, any number of heads; a map (heads, Tq, Tk), or a channel a key"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        heads = draw(1, 3)
        channels = heads * draw(1, 6)
        q, k = (_attention.sample_type(draw, (channels, draw(1, 3), draw(1, 3))) for _ in range(2))
        return cls(heads, draw(0, 1)), (q, k)

    def infer(self, *xs: IntType) -> IntType:
        q, k = xs
        if q.channels != k.channels:
            raise EdgeqError(f"queries {q} and keys {k} differ in their channels")
        if self.pairs not in (0, 1):
            raise EdgeqError(f"{self.kind()} has pairs = {self.pairs}", fix="1 for a beat a pair, 0 for a beat a query")
        size = q.channels // max(1, self.heads)
        _attention.check_operands(self.kind(), self.heads, q.channels, size, q, k)
        shape = (self.heads, q.pixels, k.pixels) if self.pairs else (self.heads * k.pixels, *q.shape[1:])
        return _attention.sum_type(shape, q, k, size)

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        q, k = (x.reshape(len(x), self.heads, x.shape[1] // self.heads, -1) for x in xs)
        y = exact_matmul(q.swapaxes(2, 3), k)
        return y if self.pairs else y.swapaxes(2, 3).reshape(len(y), -1, *xs[0].shape[2:])

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
