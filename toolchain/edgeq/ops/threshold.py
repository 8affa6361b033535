"""Thresholds: any monotone function of an integer onto few levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import Cost, HlsCall, HlsTable, RtlInstance, Stage, to_bits
from edgeq.ops import _cost, _rtl, _sample, _schedule
from edgeq.ops._hls import rows_a_cycle
from edgeq.unrolled import Compare

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.lower.onnx import Body

MAX_LEVELS = 255


@dataclass(frozen=True, eq=False)
class Threshold(Op):
    """y = base + step * #{k : x >= thresholds[c, k]}, and #{k : x <= thresholds[c, k]} where negative[c].

    thresholds: int64 [C or 1, n], 1 <= n <= 255.  negative: 0 or 1, [C or 1].  x, y: (C, H, W) or (C,).
    FINN's MultiThreshold (arXiv 1612.07119, section 4.2) with a direction a channel.
    """

    thresholds: np.ndarray
    negative: np.ndarray
    base: int
    step: int = 1

    elementwise = True
    rtl_latency = 2
    carried = True
    summary = "per channel, either slope sign; up to 255 levels"

    @property
    def levels(self) -> int:
        """n: the thresholds a channel."""
        return int(self.thresholds.shape[1])

    def upward(self) -> np.ndarray:
        """Thresholds t' with x <= t written as not (x >= t'): [C or 1, n]."""
        return self.thresholds + self.negative[:, None]

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        x = _sample.int_type(draw, _sample.any_shape(draw))
        return cls.sample_for(draw, x), (x,)

    @classmethod
    def sample_for(cls, draw: Draw, x: IntType) -> Threshold:
        """A random instance that reads x, with thresholds in any order, equal ones and ones at or past both ends of x."""
        levels = draw(1, MAX_LEVELS) if _sample.rare(draw, 12) else draw(1, 7)
        rows = _sample.spread(draw, x.channels, 0, 0).size
        thresholds = _sample.array(draw, (rows, levels), x.lo - 1, x.hi + 1)
        base, step = _sample.choice(draw, [(0, 1), (-1, 2), (draw(-9, 9), draw(1, 3))])
        return cls(thresholds, _sample.array(draw, (rows,), 0, 1), base, step)

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        if (
            self.thresholds.ndim != 2
            or len(self.thresholds) not in (1, x.channels)
            or self.negative.shape != self.thresholds.shape[:1]
        ):
            raise EdgeqError(f"thresholds {self.thresholds.shape}, directions {self.negative.shape} do not match {x}")
        if not np.all((self.negative == 0) | (self.negative == 1)):
            raise EdgeqError(f"directions {sorted(set(self.negative.tolist()))}", fix="0 or 1 a channel")
        if not 1 <= self.levels <= MAX_LEVELS or self.step < 1:
            raise EdgeqError(f"{self.levels} thresholds of step {self.step}", fix=f"1 to {MAX_LEVELS} thresholds, step 1 or more")
        return IntType(x.shape, self.base, self.base + self.step * self.levels, self.step)

    def rises(self) -> bool:
        return not self.negative.any()

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        (x,) = xs
        count = np.zeros(x.shape, np.int64)
        negative = per_channel(self.negative, x) == 1
        for k in range(self.levels):
            count += (x >= per_channel(self.upward()[:, k], x)) ^ negative
        return self.base + self.step * count

    def to_onnx(self, body: Body, *xs: str) -> str:
        (x,) = xs
        reach = IntType((1,), min(int(self.thresholds.min()), body.type(x).lo), max(int(self.upward().max()), body.type(x).hi))
        kind = np.dtype(np.int64) if reach.storage == np.int64 else np.dtype(np.int32)
        x = body.cast(x, kind)
        thresholds, negative = body.cast(body.param("thresholds"), kind), body.cast(body.param("negative"), kind)
        upward = body.op("Add", thresholds, body.op("Unsqueeze", negative, body.const(np.array([1]))))
        falls = body.per_channel(body.cast(negative, np.bool_), x) if self.negative.any() else ""
        levels = []
        for k in range(self.levels):
            column = body.op("Gather", upward, body.const(np.array(k)), axis=1)
            levels.append(body.op("GreaterOrEqual", x, body.per_channel(column, x), dtype=np.bool_))
        if self.levels == 1:
            ends = [body.const(np.array(v, body.out.storage)) for v in (self.base + self.step, self.base)]
            if falls:  # the choice between the ends of a channel is constant: it costs nothing at run time
                ends = [body.op("Where", falls, *pair, dtype=body.out.storage) for pair in (ends[::-1], ends)]
            return body.op("Where", levels[0], *ends, dtype=body.out.storage)
        if falls:
            levels = [body.op("Xor", above, falls) for above in levels]
        count = body.cast(levels[0], np.uint8)
        for above in levels[1:]:
            count = body.op("Add", count, body.cast(above, np.uint8))
        return body.cast(body.affine(body.cast(count, np.int32), self.step, self.base), body.out.storage)

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        (x,) = xs
        rows, n = len(self.negative), self.levels
        together = rows_a_cycle(fold, rows)
        config = {
            "n_pixels": x.pixels,
            "folds": x.channels // _rtl.lanes(fold, x.channels),
            "rows": rows,
            "levels": n,
            "base": self.base,
            "step": self.step,
        }
        config |= {"lanes": together, "threshold_lanes": together * n}
        tables = {"thresholds": HlsTable.of(self.upward()), "negative": HlsTable(self.negative, 1, False)}
        return HlsCall("eq_threshold", config, tables=tables)

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        return _rtl.pointwise(self, fold, xs[0], self.infer(*xs))

    def rtl_compare(self, channels: int) -> Compare | None:
        """Of one level onto {-1, +1} or {0, 1}."""
        if self.levels > 1 or (self.base, self.step) not in ((-1, 2), (0, 1)):
            return None
        upward, negative = self.upward()[:, 0], self.negative == 1
        return Compare(*(np.ascontiguousarray(np.broadcast_to(v, channels)) for v in (upward, negative)))

    def rtl_rescale(self, channels: int, y: IntType) -> None:
        """It multiplies nothing."""

    def rtl_post(self, x: IntType, bits: int, digits: bool) -> _rtl.Post:
        """For eq_threshold.sv; a threshold beyond the range of x decides the same at its end."""
        thresholds = to_bits(np.clip(self.upward(), x.lo, x.hi + 1), bits + 1)
        config = (self.levels, self.base, self.step)
        return _rtl.Post.of(1, self.infer(x), *config, bits=np.hstack([thresholds, to_bits(self.negative[:, None], 1)]))

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        return _schedule.by_lanes(fold, xs[0], lambda parts: _rtl.credits(parts, latency=4), latency=1 + self.rtl_latency)

    def folds(self, *xs: IntType) -> list[Fold]:
        return _rtl.lane_folds(xs[0].channels)

    def narrow_folds(self, *xs: IntType) -> list[Fold]:
        return _rtl.narrow_lane_folds(xs[0].channels)

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        return _cost.pointwise(self, fold, xs[0], self.infer(*xs))

    def multiplies(self) -> bool:
        return False

    def cost_post(self, x: IntType, bits: int, lanes: int, words: int, digits: bool) -> Cost:
        """Of `lanes` values at a time, each for `words` channels in turn."""
        return _cost.threshold(self.levels, bits, lanes, words)


def per_channel(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """values [C or 1] shaped to broadcast over x [N, C] or [N, C, H, W]."""
    return values.reshape(-1, *(1,) * (x.ndim - 2))
