"""A constant a pixel and channel, added."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import Cost, HlsCall, HlsTable, RtlInstance, Stage, memory_cost, memory_image, to_bits
from edgeq.ops import _cost, _rtl, _sample, _tokens

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.lower.onnx import Body

POSITION_FILE = "position.hex"


@dataclass(frozen=True, eq=False)
class AddPosition(Op):
    """y[c, h, w] = x[c, h, w] + position[c, h*W + w].

    x, y: (C, H, W).  position: int64 [C, H*W]; y in [-2^62, 2^62]. The positional embedding of a vision transformer.
    """

    position: np.ndarray

    carried = True
    summary = "a constant a pixel and channel, added"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        x = _sample.int_type(draw, _sample.image_shape(draw))
        lo, hi, step = _sample.int_range(draw, 34)
        return cls(lo + step * _sample.array(draw, (x.channels, x.pixels), 0, (hi - lo) // step)), (x,)

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        if len(x.shape) != 3 or self.position.shape != (x.channels, x.pixels):
            raise EdgeqError(f"positions of shape {self.position.shape} for {x}", fix="[C, H*W] for (C, H, W)")
        lo, hi = int(self.position.min()), int(self.position.max())
        y = IntType(x.shape, x.lo + lo, x.hi + hi)
        step = gcd(x.step if x.hi > x.lo else 0, _tokens.spacing(self.position, lo))
        return IntType(x.shape, y.lo, y.hi, max(1, step))

    def is_identity(self, x: IntType) -> bool:
        return not self.position.any()

    def rescaled(self, *exponents: int) -> tuple[Op, int]:
        (exponent,) = exponents
        return type(self)(_tokens.in_units(self.position, exponent)), exponent

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        (x,) = xs
        return x + self.position.reshape(x.shape[1:])

    def to_onnx(self, body: Body, *xs: str) -> str:
        position = body.op("Reshape", body.cast(body.param("position"), body.wide), body.const(np.array(body.out.shape)))
        return body.cast(body.op("Add", body.cast(xs[0], body.wide), position), body.out.storage)

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        (x,) = xs
        table = HlsTable.of(np.ascontiguousarray(self.position.T))
        return HlsCall("eq_add_position", {"n_pixels": x.pixels, "n_chan": x.channels}, tables={"position": table})

    def _bits(self) -> int:
        """Of a constant in two's complement."""
        return _rtl.signed_bits(int(self.position.min()), int(self.position.max()))

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        (x,) = xs
        codes = {**_rtl.one_input(x), **_rtl.output(self.infer(x)), "ConstantBits": self._bits()}
        words = _tokens.by_beats(self.position, fold)
        return RtlInstance(
            "eq_add_position",
            {"Pixels": len(words), "Channels": words.shape[1], **codes, "File": POSITION_FILE},
            uses=("eq_add_position",),
            memories={POSITION_FILE: memory_image(to_bits(words, self._bits()))},
        )

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        (x,) = xs
        return (Stage.each(x.pixels * _tokens.parts(fold, x.channels), depth=4, latency=2),)

    def narrow_folds(self, *xs: IntType) -> list[Fold]:
        return _rtl.narrow_lane_folds(xs[0].channels)

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        (x,) = xs
        parts = _tokens.parts(fold, x.channels)
        channels = x.channels // parts
        bits = channels * self.infer(x).width
        sums = Cost(lut=bits, ff=bits + channels * x.width)
        return memory_cost(channels * self._bits(), parts * x.pixels, rom=True) + sums + _cost.fifo(bits, 4)
