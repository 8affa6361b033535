"""Convolution with integer weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.graph import IntType
from edgeq.ops._conv import Convolution
from edgeq.ops._hls import integer_layer, window

if TYPE_CHECKING:
    from edgeq.fold import Fold
    from edgeq.hardware import HlsCall


@dataclass(frozen=True, eq=False)
class Conv2d(Convolution):
    """y[n,o,h,w] = sum over the patch of x * weight[o]; zero padding.

    x: (Cin, H, W), at most 16 bits.  weight: [Cout, Cin/groups, Kh, Kw], at most 8 bits.  y: (Cout, Ho, Wo), exact.
    """

    summary = "integer weights up to 8 bits, activations up to 16; stride, asymmetric padding, dilation, groups"

    def infer(self, *xs: IntType) -> IntType:
        self.check_operands(xs[0])
        return super().infer(*xs)

    def hls(self, fold: Fold, *xs: IntType) -> HlsCall:
        (x,) = xs
        config = window(x, self.kernel, self.stride, self.pads, self.dilation, pad_value=0)
        rows, accumulator = self.hardware_rows(), self.accumulator_type(x)
        return integer_layer("eq_conv2d", self, fold, accumulator, rows, config, self.groups)
