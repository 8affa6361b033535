"""Dense layer with integer weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.graph import IntType
from edgeq.ops._dense import FullyConnected
from edgeq.ops._hls import integer_layer

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.hardware import HlsCall


@dataclass(frozen=True, eq=False)
class Dense(FullyConnected):
    """y[o] = sum over f of x[f] * weight[o, f].  x: (F,), at most 16 bits.  weight: [O, F], at most 8 bits.  y: (O,)."""

    summary = "integer weights up to 8 bits, activations up to 16"

    def infer(self, *xs: IntType) -> IntType:
        self.check_operands(xs[0])
        return super().infer(*xs)

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        (x,) = xs
        return integer_layer("eq_dense", self, fold, self.accumulator_type(x), self.weight, {"n_chan": x.channels})
