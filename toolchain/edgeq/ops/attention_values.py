"""The output of attention: for every query the sum of the values, weighted by its attention to each of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import EMIT, READ, TAKE, Cost, HlsCall, RtlInstance, Stage, memory_cost
from edgeq.ops import _attention, _cost, _rtl, _schedule
from edgeq.ops._mac import exact_matmul

if TYPE_CHECKING:
    from edgeq.lower.onnx import Body

LATENCY = 3
"""Of eq_attention_values.sv."""
NARROW_OUTPUTS = 3
"""Its last FIFO, where beats are narrow."""


@dataclass(frozen=True, eq=False)
class AttentionValues(Op):
    """y[c, 0, i] = sum over the tokens j of p[h, i, j] * v[c, j], h being the head of channel c.

    p: (heads, Tq, Tk), v: (C, Hv, Wv) with Hv*Wv = Tk tokens in raster order, of at most 16 bits each; head h has the channels
    h*d to h*d + d - 1, d = C / heads. Tk is at most 33,025.  y: (C, 1, Tq), exact.
    """

    heads: int

    arity = 2
    carried = True
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
        p, v = xs
        _, queries, keys = body.type(p).shape
        view = [-1, self.heads, body.type(v).channels // self.heads, keys]
        y = _attention.integer_product(body, v, view, p, [-1, self.heads, queries, keys], swapped=(False, True))
        return body.cast(body.op("Reshape", y, body.const(np.array([-1, *body.out.shape]))), body.out.storage)

    def pe(self, fold: Fold, v: IntType) -> int:
        """Channels of each head a cycle."""
        return fold.pe if fold.mode == "folded" else v.channels // self.heads

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        p, v = xs
        pe = self.pe(fold, v)
        sizes = {"heads": self.heads, "pe": pe, "folds": v.channels // self.heads // pe}
        return HlsCall("eq_attention_values", sizes | {"queries": p.shape[1], "keys": v.pixels})

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        p, v = xs
        sizes = {"Heads": self.heads, "HeadChannels": v.channels // self.heads, "Pe": self.pe(fold, v)}
        sizes |= {"Queries": p.shape[1], "Keys": v.pixels, **_rtl.narrow(fold)}
        return RtlInstance(
            "eq_attention_values",
            sizes | _rtl.two_inputs(p, v) | _rtl.output(self.infer(p, v)),
            uses=("eq_attention_values",),
        )

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        p, v = xs
        slices = self._slices(fold, v)
        query = bytes([READ | TAKE]) * (v.pixels - 1) + bytes([READ | TAKE | EMIT])
        more = self._part_steps(fold, v)
        store, work = _attention.stages(query, p.shape[1], v.pixels, slices, slices, LATENCY, more)
        if fold.narrow:
            store = _schedule.stored(v.pixels, slices, port=1, of=v.pixels)
            return store, work, Stage(_schedule.parts(slices) * p.shape[1], NARROW_OUTPUTS, 1)
        return store, work

    def _part_steps(self, fold: Fold, v: IntType) -> int:
        """PartSteps of eq_attention_values.sv."""
        return self._slices(fold, v) + 2 if fold.narrow else 0

    def _slices(self, fold: Fold, v: IntType) -> int:
        """Cycles a beat of the map, in which a token is stored as well."""
        return v.channels // self.pe(fold, v) // (1 if fold.narrow else self.heads)

    def folds(self, *xs: IntType) -> list[Fold]:
        size = xs[1].channels // self.heads
        return [Fold("folded", pe, 1) for pe in range(1, size + 1) if size % pe == 0]

    def narrow_folds(self, *xs: IntType) -> list[Fold]:
        found = (replace(fold, simd=fold.pe, narrow=True) for fold in self.folds(*xs))
        return [fold for fold in found if fold.pe < xs[1].channels]

    def beats(self, fold: Fold, *xs: IntType) -> tuple[tuple[int, ...], int]:
        (weights, values), given = super().beats(fold, *xs)
        return (self.heads if fold.narrow else weights, values), given

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        p, v = xs
        y, pe, slices = self.infer(p, v), self.pe(fold, v), self._slices(fold, v)
        bits, depth = _rtl.value_bits(y), _attention.fifo_depth(v.pixels * slices, LATENCY + self._part_steps(fold, v))
        many = pe if fold.narrow else self.heads * pe
        ring = Cost(ff=(v.channels - many) * bits + self.heads * p.width)
        if fold.narrow:  # the sums go round in shift registers of a LUT each
            ring = Cost(lut=many * bits * ceil(slices / 32) + pe * p.width * (self.heads - 1) / 2, ff=self.heads * p.width)
            ring += memory_cost(many * y.width, depth * slices) + _cost.fifo(1, depth)
        out = _cost.fifo(pe * y.width, NARROW_OUTPUTS) if fold.narrow else _cost.fifo(y.channels * y.width, depth)
        store = _attention.store(v, many * v.width, slices, fold.narrow)
        return store + _attention.lanes(p, v, many, 1, bits) + ring + out
