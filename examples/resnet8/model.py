"""ResNet-8 (MLPerf Tiny's image classifier, arXiv 2106.07597) as a plain float module, and in fixed point."""

import torch
from torch import Tensor, nn

from edgeq.train import FixedPoint, Formats, KHot, convert
from edgeq.train.loop import seeded

WIDTHS = (16, 32, 64)


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which is a 1 x 1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        changes = stride > 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes else nn.Identity()
        self.bn3 = nn.BatchNorm2d(outputs) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.bn3(self.shortcut(x)))


class ResNet8(nn.Module):
    """Float [N, 3, 32, 32], multiples of 1/256 in [0, 1) -> [N, 10] logits: 78 thousand weights, 12.5 million products."""

    def __init__(self) -> None:
        super().__init__()
        first, *_, last = WIDTHS
        self.conv = nn.Conv2d(3, first, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(first)
        sizes = zip((first, *WIDTHS), WIDTHS, (1, 2, 2), strict=False)
        self.blocks = nn.Sequential(*(Block(*size) for size in sizes))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(last, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn(self.conv(x)))
        return self.fc(torch.flatten(self.pool(self.blocks(x)), 1))


def float_model() -> nn.Module:
    """ResNet-8 with untrained weights."""
    return ResNet8()


def formats(bits: int, k: int | None = None) -> Formats:
    """Weights and activations of `bits` bits; with k the weights, and slopes, have at most k signed digits."""
    weight = KHot(bits, k=k) if k else FixedPoint(bits)
    return Formats(weight=weight, features=FixedPoint(bits), slope=KHot(8, k=k) if k else FixedPoint(8))


def fixed(net: nn.Module, images: Tensor, bits: int, k: int | None = None) -> nn.Module:
    """`net` in fixed point, calibrated on a few images; the input keeps its 8 bits, which lose nothing."""
    return convert(net, images, formats(bits, k), input=FixedPoint(8, integer=0, signed=False))


def untrained(bits: int, k: int | None = None) -> nn.Module:
    """The fixed-point network for weights that are loaded: what it is calibrated on does not matter."""
    with seeded(0):
        return fixed(ResNet8(), torch.rand(2, 3, 32, 32), bits, k)


def bits8() -> nn.Module:
    """8 bits, with multipliers."""
    return untrained(8)


def khot() -> nn.Module:
    """8 bits, of which at most two digits of a weight are not 0: no multipliers."""
    return untrained(8, 2)
