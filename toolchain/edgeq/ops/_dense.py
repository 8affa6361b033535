"""What integer and binary dense layers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op
from edgeq.hardware import Cost, RtlInstance, Stage
from edgeq.ops import _cost, _rtl, _schedule
from edgeq.ops._mac import Mac, exact_matmul, integer_sum

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.lower.onnx import Body


@dataclass(frozen=True, eq=False)
class FullyConnected(Mac):
    """weight: [O, F]; x: (F,); y: (O,)."""

    def accumulator_type(self, x: IntType) -> IntType:
        """The type before the fused operator."""
        if self.weight.ndim != 2 or x.shape != (self.weight.shape[1],):
            raise EdgeqError(f"{x} does not match dense weights of shape {self.weight.shape}", fix="x: (F,), weight: [O, F]")
        return self.accumulator(x, (self.channels_out,), padded=False)

    @classmethod
    def sample(cls, draw: Draw) -> tuple[Op, tuple[IntType, ...]]:
        x, weight = cls.sample_operands(draw, (f := draw(1, 24),), (draw(1, 12), f))
        return cls(weight), (x,)

    def infer(self, *xs: IntType) -> IntType:
        return self.finish(self.accumulator_type(xs[0]))

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        return self.apply_post(exact_matmul(xs[0], self.weight.T))

    def to_onnx(self, body: Body, *xs: str) -> str:
        self.refuse_post_in_onnx()
        columns = body.op("Transpose", body.param("weight"), perm=[1, 0])
        return body.cast(integer_sum(body, xs[0], "MatMulInteger", columns), body.out.storage)

    def rtl(self, fold: Fold, *xs: IntType) -> RtlInstance:
        (x,) = xs
        return _rtl.layer(self, fold, x, self.accumulator_type(x), self.weight, None)

    def schedule(self, fold: Fold, *xs: IntType) -> tuple[Stage, ...]:
        (x,) = xs
        return _schedule.layer(self, fold, x, self.accumulator_type(x), self.weight, None)

    def folds(self, *xs: IntType) -> list[Fold]:
        return _rtl.with_digits(self, xs[0], _rtl.folds(xs[0], self.weight))

    def legal_folds(self, *xs: IntType) -> list[Fold]:
        return _rtl.with_digits(self, xs[0], _rtl.legal_folds(xs[0], self.weight))

    def narrow_folds(self, *xs: IntType) -> list[Fold]:
        return _rtl.with_digits(self, xs[0], _rtl.narrow_layer_folds(xs[0], self.weight))

    def cycles(self, fold: Fold, *xs: IntType) -> int:
        return _rtl.steps(fold, self.weight)

    def cost(self, fold: Fold, *xs: IntType) -> Cost:
        (x,) = xs
        return _cost.layer(self, fold, x, self.accumulator_type(x), self.weight, None)
