"""A binary network for CIFAR-10, VGG-small at a size that two slow cores can train."""

import torch
from brevitas.core.restrict_val import RestrictValueType
from brevitas.core.scaling import ScalingImplType
from brevitas.nn import QuantIdentity
from brevitas.quant import Uint8ActPerTensorFixedPoint
from torch import nn

from edgeq.train import BinaryAct, BinaryConv2d, BinaryLinear

WIDTH = 64


class _Pixels(Uint8ActPerTensorFixedPoint):
    """Bytes as multiples of 1/256 in [0, 255/256]."""

    scaling_impl_type = ScalingImplType.CONST
    restrict_scaling_type = RestrictValueType.POWER_OF_TWO
    min_val = 0.0
    max_val = 1.0


def model(estimator: str = "ste", width: int = WIDTH) -> nn.Module:
    """The untrained network: float [N, 3, 32, 32], multiples of 1/256 -> [N, 10], integers in [-32 width, 32 width].

    A 4x4 convolution of stride 2 on 8-bit pixels, four 3x3 ones with two max pools, and a dense layer; all weights are binary,
    and all activations after the pixels.
    """
    act = "reste" if estimator == "reste" else "ste"  # BiPer is for weights only

    def block(conv: BinaryConv2d, pool: bool = False) -> list[nn.Module]:
        return [conv, *[nn.MaxPool2d(2)] * pool, nn.BatchNorm2d(conv.out_channels), BinaryAct(estimator=act)]

    def conv(inputs: int, outputs: int) -> BinaryConv2d:
        return BinaryConv2d(inputs, outputs, 3, padding=1, estimator=estimator)

    return nn.Sequential(
        QuantIdentity(act_quant=_Pixels),
        *block(BinaryConv2d(3, width, 4, stride=2, padding=1, estimator=estimator)),
        *block(conv(width, width)),
        *block(conv(width, width), pool=True),
        *block(conv(width, 2 * width)),
        *block(conv(2 * width, 2 * width), pool=True),
        nn.Flatten(),
        BinaryLinear(32 * width, 10, estimator=estimator),
    ).to(memory_format=torch.channels_last)
