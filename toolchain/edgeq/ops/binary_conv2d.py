"""Convolution with weights and activations of -1 and +1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeq.graph import Draw, IntType
from edgeq.ops import _sample
from edgeq.ops._conv import Convolution


@dataclass(frozen=True, eq=False)
class BinaryConv2d(Convolution):
    """y[n,o,h,w] = sum over the patch of x * weight[o], K = Cin/groups*Kh*Kw terms; a padded term is 0.

    x: (Cin, H, W) of {-1, +1}.  weight: [Cout, Cin/groups, Kh, Kw] of {-1, +1}.
    y: (Cout, Ho, Wo) in [-K, K], step 2 where nothing is padded.
    """

    summary = "weights and activations of one bit; zero padding exact; spanning tree or folded"

    @classmethod
    def sample_operands(cls, draw: Draw, x: tuple[int, ...], w: tuple[int, ...]) -> tuple[IntType, np.ndarray]:
        return IntType(x, *_sample.BIPOLAR), _sample.signs(draw, w)

    def infer(self, *xs: IntType) -> IntType:
        self.check_bipolar(xs[0])
        return super().infer(*xs)
