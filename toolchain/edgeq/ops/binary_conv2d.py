"""Convolution with weights and activations of -1 and +1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import Draw, IntType
from edgeq.ops import _sample
from edgeq.ops._conv import Convolution
from edgeq.ops._hls import binary_layer, window

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.hardware import HlsCall


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

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        (x,) = xs
        config = window(x, self.kernel, self.stride, self.pads, self.dilation, pad_value=0)
        rows, accumulator = self.hardware_rows(), self.accumulator_type(x)
        return binary_layer("eq_binary_conv2d", self, fold, accumulator, rows, config, self.groups, any(self.pads))
