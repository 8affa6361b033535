"""Two networks for MNIST, one bit for weights and activations: every frame in one cycle, and a small convolutional one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeq.train import BinaryAct, BinaryConv2d, BinaryLinear

THRESHOLD = 0.5
"""A pixel at least as bright is +1, else -1."""
GRID = 2
"""`sfc` sees the image as GRID x GRID patches, each with channels of its own."""
SFC_WIDTHS = (256, 256)
CNN_WIDTHS = (96, 128, 192)
LOGIT_SCALE = {"sfc": 1 / 16, "cnn": 1 / 64}
"""Of the integers that leave a network, for the loss: sums of 256 and of 2,048 terms."""


class Binarize(nn.Module):
    """Pixels in [0, 1] -> -1 or +1."""

    def __init__(self) -> None:
        super().__init__()
        self.sign = BinaryAct()

    def forward(self, x: Tensor) -> Tensor:
        return self.sign(x - THRESHOLD)


class Patches(nn.Module):
    """[N, 1, 28, 28] -> [N, 784, 1, 1]: the pixels patch by patch, so that a grouped 1x1 convolution is a dense layer a patch."""

    def forward(self, x: Tensor) -> Tensor:
        side = 28 // GRID
        return x.reshape(-1, GRID, side, GRID, side).permute(0, 1, 3, 2, 4).reshape(-1, 784, 1, 1)


def sfc(widths: tuple[int, ...] = SFC_WIDTHS, estimator: str = "biper") -> nn.Module:
    """Float [N, 1, 28, 28] in [0, 1] -> [N, 10], even integers. widths: channels a patch, then of each dense layer."""
    width = widths[0] * GRID * GRID
    layers: list[nn.Module] = [Binarize(), Patches(), BinaryConv2d(784, width, 1, groups=GRID * GRID, estimator=estimator)]
    layers += [nn.BatchNorm2d(width), BinaryAct(), nn.Flatten()]
    for outputs in widths[1:]:
        layers += [BinaryLinear(width, outputs, estimator=estimator), nn.BatchNorm1d(outputs), BinaryAct()]
        width = outputs
    return nn.Sequential(*layers, BinaryLinear(width, 10, estimator=estimator))


def cnn(widths: tuple[int, ...] = CNN_WIDTHS, estimator: str = "biper") -> nn.Module:
    """Float [N, 1, 28, 28] in [0, 1] -> [N, 10], even integers: blocks of 4 x 4 pixels as channels, then 3x3 convolutions.

    widths: channels of each convolution; the last one has stride 2.
    """
    layers: list[nn.Module] = [Binarize(), nn.PixelUnshuffle(4)]
    inputs = 16
    for index, outputs in enumerate(widths):
        stride = 2 if index == len(widths) - 1 else 1
        layers += [BinaryConv2d(inputs, outputs, 3, padding=1, stride=stride, estimator=estimator)]
        layers += [nn.BatchNorm2d(outputs), BinaryAct()]
        inputs = outputs
    net = nn.Sequential(*layers, nn.Flatten(), BinaryLinear(16 * inputs, 10, estimator=estimator))
    return net.to(memory_format=torch.channels_last)
