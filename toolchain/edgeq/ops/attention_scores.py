"""The scores of attention: the scalar product of every query with every key."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import EMIT, READ, TAKE, Cost, HlsCall, RtlInstance, Stage
from edgeq.ops import _attention, _cost, _rtl, _schedule
from edgeq.ops._mac import exact_matmul

if TYPE_CHECKING:
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
    carried = True
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
        queries, keys = xs if self.pairs else xs[::-1]
        views = [[-1, self.heads, body.type(x).channels // self.heads, body.type(x).pixels] for x in (queries, keys)]
        y = _attention.integer_product(body, queries, views[0], keys, views[1], swapped=(True, False))
        if not self.pairs:
            y = body.op("Reshape", y, body.const(np.array([-1, *body.out.shape])))
        return body.cast(y, body.out.storage)

    def simd(self, fold: Fold, q: IntType) -> int:
        """Channels of each head a cycle."""
        return fold.simd if fold.mode == "folded" else q.channels // self.heads

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        q, k = xs
        simd = self.simd(fold, q)
        sizes = {"heads": self.heads, "simd": simd, "folds": q.channels // self.heads // simd}
        return HlsCall("eq_attention_scores", sizes | {"queries": q.pixels, "keys": k.pixels, "pairs": self.pairs})

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        q, k = xs
        sizes = {"Heads": self.heads, "HeadChannels": q.channels // self.heads, "Simd": self.simd(fold, q)}
        sizes |= {"Queries": q.pixels, "Keys": k.pixels, "Pairs": self.pairs, **_rtl.narrow(fold)}
        return RtlInstance(
            "eq_attention_scores",
            sizes | _rtl.two_inputs(q, k) | _rtl.output(self.infer(q, k)),
            uses=("eq_attention_scores",),
        )

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        q, k = xs
        slices = self._slices(fold, q)
        last = bytes([READ | TAKE | EMIT])
        query = bytes([READ | EMIT]) * (k.pixels - 1) + last if self.pairs else last
        cycles = slices if self.pairs else slices * k.pixels
        store, work = _attention.stages(query, q.pixels, k.pixels, slices, cycles, self._latency(fold, q, k))
        if fold.narrow:
            return _schedule.stored(q.pixels, slices, port=0), _schedule.stored(k.pixels, slices, port=1, of=k.pixels), work
        return store, work

    def _slices(self, fold: Fold, q: IntType) -> int:
        """Cycles a pair, in which a token is stored as well."""
        return q.channels // self.simd(fold, q) // (1 if fold.narrow else self.heads)

    def _latency(self, fold: Fold, q: IntType, k: IntType) -> int:
        """Latency of eq_attention_scores.sv."""
        return 3 + (0 if q.bipolar and k.bipolar else _schedule.sum_latency(self.simd(fold, q)))

    def folds(self, *xs: IntType) -> list[Fold]:
        size = xs[0].channels // self.heads
        return [Fold("folded", 1, simd) for simd in range(1, size + 1) if size % simd == 0 and simd <= _rtl.MAX_SIMD]

    def narrow_folds(self, *xs: IntType) -> list[Fold]:
        return [replace(fold, narrow=True) for fold in self.folds(*xs) if fold.simd < xs[0].channels]

    def beats(self, fold: Fold, *xs: IntType) -> tuple[tuple[int, ...], int]:
        taken, given = super().beats(fold, *xs)
        return taken, self.infer(*xs).channels if fold.narrow else given

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        q, k = xs
        y, simd, slices = self.infer(q, k), self.simd(fold, q), self._slices(fold, q)
        heads = 1 if fold.narrow else self.heads
        beat = y.channels * y.width
        fifo = _cost.fifo(beat, _attention.fifo_depth(y.channels // self.heads * slices, self._latency(fold, q, k)))
        collected = Cost(ff=beat - heads * y.width)
        width = heads * simd * q.width
        query = _cost.stored(width, slices) if fold.narrow else _attention.slices(width, slices) + Cost(ff=width)
        store = _attention.store(k, heads * simd * k.width, slices, fold.narrow)
        return store + query + _attention.lanes(q, k, heads, simd, _rtl.value_bits(y)) + collected + fifo
