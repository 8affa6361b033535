"""Dense layer with weights and activations of -1 and +1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import Draw, IntType
from edgeq.ops import _sample
from edgeq.ops._dense import FullyConnected
from edgeq.ops._hls import binary_layer

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.hardware import HlsCall


@dataclass(frozen=True, eq=False)
class BinaryDense(FullyConnected):
    """y[o] = sum over f of x[f] * weight[o, f].  x: (F,) and weight: [O, F] of {-1, +1}.  y: (O,) in [-F, F], step 2."""

    summary = "weights and activations of one bit; spanning tree or folded"

    @classmethod
    def sample_operands(cls, draw: Draw, x: tuple[int, ...], w: tuple[int, ...]) -> tuple[IntType, np.ndarray]:
        return IntType(x, *_sample.BIPOLAR), _sample.signs(draw, w)

    def infer(self, *xs: IntType) -> IntType:
        self.check_bipolar(xs[0])
        return super().infer(*xs)

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        (x,) = xs
        return binary_layer("eq_binary_dense", self, fold, self.accumulator_type(x), self.weight, {"n_chan": x.channels})
