"""Constant tokens behind those of an image."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
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
class AppendTokens(Op):
    """y = the pixels of x in raster order, then K constant ones.

    x: (C, H, W).  tokens: int64 [C, K], K >= 1.  y: (C, 1, H*W + K). The class tokens of a vision transformer, put last.
    """

    tokens: np.ndarray

    summary = "constant tokens behind the pixels of an image"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        x = _sample.int_type(draw, _sample.image_shape(draw))
        lo, hi, step = (x.lo, x.hi, x.step) if _sample.rare(draw, 2) else _sample.int_range(draw, 34)
        return cls(lo + step * _sample.array(draw, (x.channels, draw(1, 4)), 0, (hi - lo) // step)), (x,)

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        if len(x.shape) != 3 or self.tokens.ndim != 2 or len(self.tokens) != x.channels or self.tokens.size == 0:
            raise EdgeqError(f"tokens of shape {self.tokens.shape} behind {x}", fix="[C, 1 or more] behind (C, H, W)")
        shape = (x.channels, 1, x.pixels + self.tokens.shape[1])
        y = IntType(shape, min(x.lo, int(self.tokens.min())), max(x.hi, int(self.tokens.max())))
        step = gcd(x.step, x.lo - y.lo, int(np.gcd.reduce((self.tokens - y.lo).astype(np.uint64).ravel())))
        return IntType(shape, y.lo, y.hi, step)

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        (x,) = xs
        pixels = x.reshape(*x.shape[:2], 1, -1)
        tokens = np.broadcast_to(self.tokens[:, None], (len(x), x.shape[1], 1, self.tokens.shape[1]))
        return np.concatenate([pixels, tokens], axis=3)

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
