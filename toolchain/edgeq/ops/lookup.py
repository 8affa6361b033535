"""A table: any function of a short integer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import LUT_RAM_DEPTH, Cost, HlsCall, HlsTable, RtlInstance, Stage, memory_cost, memory_image, to_bits
from edgeq.ops import _cost, _rtl, _sample, _schedule

if TYPE_CHECKING:
    from edgeq.lower.onnx import Body

MAX_INPUT_BITS = 12
TABLE_FILE = "table.hex"


@dataclass(frozen=True, eq=False)
class Lookup(Op):
    """y = table[c, (x - lo) / step].

    table: int64 [C or 1, n], n at most 4096.  x: (C, H, W) or (C,), of at most 12 bits, every value one of the table's.
    """

    table: np.ndarray
    lo: int
    step: int = 1

    elementwise = True
    summary = "any function of at most 12 bits, a table for all channels or one a channel"

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        x = _sample.int_type(draw, _sample.any_shape(draw), MAX_INPUT_BITS)
        lo, hi, step = _sample.int_range(draw, 34)
        before, after = (draw(0, 3) if _sample.rare(draw, 3) else 0 for _ in range(2))  # entries that no x reaches
        entries = before + (x.hi - x.lo) // x.step + 1 + after
        rows = _sample.spread(draw, x.channels, 0, 0).size
        table = lo + step * _sample.array(draw, (rows, min(entries, 1 << MAX_INPUT_BITS)), 0, (hi - lo) // step)
        first = before if entries == table.shape[1] else 0
        return cls(np.sort(table) if _sample.rare(draw, 3) else table, x.lo - first * x.step, x.step), (x,)

    def reached(self, x: IntType) -> np.ndarray:
        """The entries that x reads, in the order of its values: int64 [C or 1, values of x]."""
        first = (x.lo - self.lo) // self.step
        return self.table[:, first : (x.hi - self.lo) // self.step + 1 : x.step // self.step]

    def infer(self, *xs: IntType) -> IntType:
        (x,) = xs
        if x.width > MAX_INPUT_BITS:
            raise EdgeqError(f"a table of {x}, which has {x.width} bits", fix=f"at most {MAX_INPUT_BITS} bits before it")
        if self.table.ndim != 2 or len(self.table) not in (1, x.channels) or not 1 <= self.table.shape[1] <= 1 << MAX_INPUT_BITS:
            fix = f"[{x.channels} or 1, at most {1 << MAX_INPUT_BITS}]"
            raise EdgeqError(f"a table of shape {self.table.shape} does not match {x}", fix=fix)
        if not 1 <= self.step <= 1 << MAX_INPUT_BITS:
            raise EdgeqError(f"a table of step {self.step}", fix=f"1 to {1 << MAX_INPUT_BITS}")
        last = self.lo + self.step * (self.table.shape[1] - 1)
        if x.lo < self.lo or x.hi > last or (x.lo - self.lo) % self.step or x.step % self.step:
            raise EdgeqError(f"a table of [{self.lo}, {last}] step {self.step} does not hold all values of {x}")
        values = self.reached(x)
        y = IntType(x.shape, int(values.min()), int(values.max()))
        return replace(y, step=max(1, int(np.gcd.reduce((values - y.lo).astype(np.uint64).ravel()))))

    def rises(self) -> bool:
        return bool(np.all(self.table[:, 1:] >= self.table[:, :-1]))

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        (x,) = xs
        rows = np.arange(len(self.table)).reshape(-1, *(1,) * (x.ndim - 2))
        return self.table[rows, (x - self.lo) // self.step]

    def to_onnx(self, body: Body, *xs: str) -> str:
        (x,) = xs
        rows, entries = self.table.shape
        index = body.affine(body.cast(x, np.int32), 1, -self.lo)
        if self.step > 1:
            index = body.op("Div", index, body.const(np.int32(self.step)))  # exact: nothing is truncated
        table = body.op("Reshape", body.param("table"), body.const(np.array([-1])))
        if rows > 1:
            index = body.op("Add", index, body.per_channel(body.const(np.arange(rows, dtype=np.int32) * entries), x))
        return body.cast(body.op("Gather", table, index), body.out.storage)

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        (x,) = xs
        rows, entries = self.table.shape
        pe = _rtl.lanes(fold, x.channels)
        config = {"n_pixels": x.pixels, "rows": rows, "entries": entries, "lo": self.lo, "step": self.step}
        return HlsCall("eq_lookup", config | {"pe": pe, "folds": x.channels // pe}, tables={"table": HlsTable.of(self.table)})

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        (x,) = xs
        y, values = self.infer(x), self.reached(x)
        codes = np.arange(2) if x.bipolar else np.arange(x.lo, x.hi + 1, x.step) & ((1 << x.width) - 1)
        words = np.zeros((len(values), 1 << x.width), np.int64)
        words[:, codes] = values > 0 if y.bipolar else values
        params: dict[str, int | str] = {
            "Channels": x.channels, "Rows": len(values), "Pe": _rtl.lanes(fold, x.channels), **_rtl.narrow(fold),
            "InBits": x.width, "OutBits": y.width,
        }  # fmt: skip
        return RtlInstance(
            "eq_lookup",
            params | {"File": TABLE_FILE} | ({"Block": 1} if fold.block else {}),
            uses=("eq_lookup",),
            memories={TABLE_FILE: memory_image(to_bits(words.reshape(-1, 1), y.width))},
        )

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        return _schedule.by_lanes(fold, xs[0], self._depth, latency=2)

    @staticmethod
    def _depth(parts: int) -> int:
        """FifoDepth of eq_lookup.sv."""
        return 3 // parts + 2

    def folds(self, *xs: IntType) -> list[Fold]:
        (x,) = xs
        shallow = len(self.table) << x.width <= LUT_RAM_DEPTH
        divisors = (pe for pe in range(1, x.channels + 1) if x.channels % pe == 0)
        return [Fold("folded", pe, 1, block=block) for pe in divisors for block in (False, True)[: 1 + shallow]]

    def narrow_folds(self, *xs: IntType) -> list[Fold]:
        return [replace(fold, simd=fold.pe, narrow=True) for fold in self.folds(*xs) if fold.pe < xs[0].channels]

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        (x,) = xs
        y, pe = self.infer(x), _rtl.lanes(fold, x.channels)
        parts = _rtl.beat_parts(fold, x.channels)
        memory = memory_cost(y.width, len(self.table) << x.width, rom=True, block=fold.block)
        select = _cost.in_parts(fold, x, y) + Cost(ff=pe * x.width)
        return _cost.scaled(memory, pe) + select + _cost.fifo(parts * pe * y.width, self._depth(parts)) + _cost.CONTROL
