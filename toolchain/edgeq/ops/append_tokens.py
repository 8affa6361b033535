"""Constant tokens behind those of an image, or in front."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import EMIT, READ, TAKE, Cost, HlsCall, HlsTable, RtlInstance, Stage, memory_cost, memory_image, to_bits
from edgeq.ops import _cost, _rtl, _sample, _tokens

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.lower.onnx import Body

TOKEN_FILE = "tokens.hex"


@dataclass(frozen=True, eq=False)
class AppendTokens(Op):
    """y = the pixels of x in raster order, then K constant ones; the constant ones first where `front` is 1.

    x: (C, H, W).  tokens: int64 [C, K], K >= 1.  front: 0 or 1.  y: (C, 1, H*W + K). The class tokens of a vision transformer.
    """

    tokens: np.ndarray
    front: int = 0

    carried = True
    summary = "constant tokens behind the pixels of an image, or in front"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        x = _sample.int_type(draw, _sample.image_shape(draw))
        lo, hi, step = (x.lo, x.hi, x.step) if _sample.rare(draw, 2) else _sample.int_range(draw, 34)
        tokens = lo + step * _sample.array(draw, (x.channels, draw(1, 4)), 0, (hi - lo) // step)
        return cls(tokens, draw(0, 1)), (x,)

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        if len(x.shape) != 3 or self.tokens.ndim != 2 or len(self.tokens) != x.channels or self.tokens.size == 0:
            raise EdgeqError(f"tokens of shape {self.tokens.shape} behind {x}", fix="[C, 1 or more] behind (C, H, W)")
        if self.front not in (0, 1):
            raise EdgeqError(f"front is {self.front}", fix="0 or 1")
        shape = (x.channels, 1, x.pixels + self.tokens.shape[1])
        y = IntType(shape, min(x.lo, int(self.tokens.min())), max(x.hi, int(self.tokens.max())))
        step = gcd(x.step, x.lo - y.lo, _tokens.spacing(self.tokens, y.lo))
        return IntType(shape, y.lo, y.hi, step)

    def rescaled(self, *exponents: int) -> tuple[Op, int]:
        (exponent,) = exponents
        return type(self)(_tokens.in_units(self.tokens, exponent), self.front), exponent

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        (x,) = xs
        pixels = x.reshape(*x.shape[:2], 1, -1)
        tokens = np.broadcast_to(self.tokens[:, None], (len(x), x.shape[1], 1, self.tokens.shape[1]))
        return np.concatenate([tokens, pixels] if self.front else [pixels, tokens], axis=3)

    def to_onnx(self, body: Body, *xs: str) -> str:
        (x,) = xs
        pixels, tokens, kind = body.type(x).pixels, self.tokens.shape[1], body.out.storage
        # Both with zeros where the other is, added: the batch size does not matter then.
        x = body.op("Reshape", body.cast(x, kind), body.const(np.array([-1, body.out.channels, 1, pixels])))
        own = body.op("Unsqueeze", body.cast(body.param("tokens"), kind), body.const(np.array([0, 2])))
        first, last = [(own, tokens), (x, pixels)] if self.front else [(x, pixels), (own, tokens)]
        parts = [(first[0], [0] * 7 + [last[1]]), (last[0], [0, 0, 0, first[1], 0, 0, 0, 0])]
        zero = body.const(np.array(0, kind))
        return body.op("Add", *(body.op("Pad", part, body.const(np.array(pads)), zero) for part, pads in parts))

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        (x,) = xs
        sizes = {"n_pixels": x.pixels, "n_tokens": self.tokens.shape[1], "n_chan": x.channels, "front": self.front}
        return HlsCall("eq_append_tokens", sizes, tables={"tokens": HlsTable.of(np.ascontiguousarray(self.tokens.T))})

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        (x,) = xs
        y = self.infer(x)
        words = _tokens.by_beats(self.tokens, fold)
        sizes = {"Pixels": _tokens.parts(fold, x.channels) * x.pixels, "Tokens": len(words), "Channels": words.shape[1]}
        return RtlInstance(
            "eq_append_tokens",
            {**sizes, "Front": self.front, **_rtl.one_input(x), **_rtl.output(y), "File": TOKEN_FILE},
            uses=("eq_append_tokens",),
            memories={TOKEN_FILE: memory_image(to_bits(words > 0 if y.bipolar else words, y.width))},
        )

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        (x,) = xs
        pixels, tokens = bytes([READ | TAKE | EMIT]) * x.pixels, self.tokens.shape[1]
        # In front they wait for the frame's first pixel, so that no frame is answered that was never sent.
        walk = bytes([READ | EMIT]) * tokens + pixels if self.front else pixels + bytes([EMIT]) * tokens
        return (Stage(_tokens.repeated(walk, _tokens.parts(fold, x.channels)), depth=4, latency=1),)

    def narrow_folds(self, *xs: IntType) -> list[Fold]:
        return _rtl.narrow_lane_folds(xs[0].channels)

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        y = self.infer(*xs)
        parts = _tokens.parts(fold, y.channels)
        bits = y.channels // parts * y.width
        return memory_cost(bits, parts * self.tokens.shape[1], rom=True) + Cost(lut=bits, ff=bits) + _cost.fifo(bits, 4)
