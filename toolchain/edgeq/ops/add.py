"""Addition of two tensors, with integer multipliers where their scales differ."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.digits import DigitCode, digit_count
from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import Cost, HlsCall, RtlInstance, Stage, memory_image
from edgeq.ops import _cost, _rtl, _sample, _schedule
from edgeq.ops._hls import digit_config, digit_table
from edgeq.ops.threshold import per_channel

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.lower.onnx import Body

MAX_MULTIPLIER_BITS = 16


@dataclass(frozen=True, eq=False)
class Add(Op):
    """y = a[c]*x0 + b[c]*x1.  x0, x1, y: the same shape.  a, b: int64 [C or 1], at most 16 bits."""

    a: np.ndarray
    b: np.ndarray

    arity = 2
    summary = "equal scales, or integer multipliers of at most 16 bits"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        shape = _sample.any_shape(draw)
        limits = [(1, 1), (-7, 7), (1 - (1 << (MAX_MULTIPLIER_BITS - 1)), (1 << (MAX_MULTIPLIER_BITS - 1)) - 1)]
        a, b = (_sample.spread(draw, shape[0], *_sample.choice(draw, limits)) for _ in range(2))
        return cls(a, b), (_sample.int_type(draw, shape), _sample.int_type(draw, shape))

    def infer(self, *xs: IntType) -> IntType:
        x0, x1 = xs
        if x0.shape != x1.shape or not {self.a.shape, self.b.shape} <= {(1,), (x0.channels,)}:
            raise EdgeqError(f"cannot add {x0} and {x1} with multipliers {self.a.shape} and {self.b.shape}")
        limit = 1 << (MAX_MULTIPLIER_BITS - 1)
        if max(abs(int(v)) for m in (self.a, self.b) for v in m) >= limit:
            raise EdgeqError(f"an addition has multipliers of {limit} or more", fix="bring the scales closer together")
        a, b = np.broadcast_arrays(self.a, self.b)
        ends = [[(int(m) * x.lo, int(m) * x.hi) for m in ms] for ms, x in ((a, x0), (b, x1))]
        lo = min(min(p) + min(q) for p, q in zip(*ends, strict=True))
        hi = max(max(p) + max(q) for p, q in zip(*ends, strict=True))
        step = 2 if x0.step == x1.step == 2 and all(np.all(m == 1) for m in (self.a, self.b)) else 1
        return IntType(x0.shape, lo, hi, step)

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        x0, x1 = xs
        return x0 * per_channel(self.a, x0) + x1 * per_channel(self.b, x1)

    def rescaled(self, *exponents: int) -> tuple[Op, int]:
        least = min(exponents)
        a, b = (m << (e - least) for m, e in zip((self.a, self.b), exponents, strict=True))
        common = int(np.bitwise_or.reduce(np.concatenate([a, b])))
        shared = (common & -common).bit_length() - 1 if common else 0
        return replace(self, a=a >> shared, b=b >> shared), least + shared

    def to_onnx(self, body: Body, *xs: str) -> str:
        terms = []
        for x, name, values in zip(xs, "ab", (self.a, self.b), strict=True):
            term = body.cast(x, body.wide)
            if not np.all(values == 1):
                term = body.op("Mul", term, body.per_channel(body.cast(body.param(name), body.wide), x))
            terms.append(term)
        return body.cast(body.op("Add", *terms), body.out.storage)

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        if np.all(self.a == 1) and np.all(self.b == 1):
            return HlsCall(native={"class_name": "Merge", "op": "add"})
        code = DigitCode.of(np.concatenate([self.a, self.b]))
        steps = xs[0].channels // _rtl.lanes(fold, xs[0].channels)
        config = {"n_pixels": xs[0].pixels, "folds": steps, "rows_a": len(self.a), "rows_b": len(self.b)} | digit_config(code)
        return HlsCall("eq_add", config, tables={"a": digit_table(self.a, code), "b": digit_table(self.b, code)})

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        x0, x1 = xs
        y = self.infer(*xs)
        pe = _rtl.lanes(fold, x0.channels)
        multipliers = np.stack([np.broadcast_to(m, x0.channels) for m in (self.a, self.b)], axis=1).reshape(-1, 2 * pe)
        code = DigitCode.of(multipliers)
        sizes: dict[str, int | str] = {"Channels": x0.channels, "Pe": pe, **_rtl.narrow(fold)}
        sizes |= {"Digits": code.count, "MaxShift": code.max_shift}
        return RtlInstance(
            "eq_add",
            sizes | _rtl.two_inputs(x0, x1) | _rtl.output(y) | {"File": "multipliers.hex"},
            uses=("eq_add",),
            memories={"multipliers.hex": memory_image(code.bits(multipliers))},
        )

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        return _schedule.by_lanes(fold, xs[0], lambda parts: _rtl.credits(parts, latency=3), latency=3)

    def folds(self, *xs: IntType) -> list[Fold]:
        return _rtl.lane_folds(xs[0].channels)

    def narrow_folds(self, *xs: IntType) -> list[Fold]:
        return _rtl.narrow_lane_folds(xs[0].channels)

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        y = self.infer(*xs)
        pe = _rtl.lanes(fold, y.channels)
        steps, bits = y.channels // pe, pe * y.width
        counts = [digit_count(m) for m in (self.a, self.b)]
        digits = sum(float(np.mean(c) if steps == 1 else np.max(c)) for c in counts)
        parts = sum((_cost.in_parts(fold, x, y) for x in xs), Cost())
        return (
            Cost(lut=bits * max(1.2, digits - 0.8), ff=3 * bits) + parts + _cost.fifo(_rtl.beat_parts(fold, y.channels) * bits, 8)
        )
