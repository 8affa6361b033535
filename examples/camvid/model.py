"""A Segmenter of 0.24 million weights for CamVid, in float and on integers only."""

import torch
from torch import Tensor, nn

from edgeq.train import StatsQ
from edgeq.train.camvid import CLASSES
from edgeq.train.loop import seeded
from edgeq.train.models import IntegerSegmenter, Labels, Segmenter, Words, integer

SIZE = (120, 160)


def float_model() -> Segmenter:
    """With untrained weights: 3 strided convolutions, 15 x 20 patches of 64 channels, 4 encoder layers and 1 decoder layer."""
    return Segmenter(len(CLASSES), SIZE)


def fixed(net: Segmenter, images: Tensor, attention: str = "shiftmax", stats_bits: int | None = None) -> IntegerSegmenter:
    """`net` on integers only, its points found from `images`.  stats_bits: of StatsQ weights in the encoder's dense layers."""
    return integer(net, images, Words(encoder=StatsQ(stats_bits) if stats_bits else None), attention)


def untrained(attention: str = "shiftmax", stats_bits: int | None = None) -> nn.Module:
    """The integer-only network for weights that are loaded: what it is calibrated on does not matter."""
    with seeded(0):
        return Labels(fixed(float_model().eval(), torch.rand(1, 3, *SIZE), attention, stats_bits))


def model() -> nn.Module:
    """Float [N, 3, 120, 160], multiples of 1/256 in [0, 1) -> [N, 1, 120, 160] classes, with Shiftmax."""
    return untrained()


def positive() -> nn.Module:
    """Attention where q . k > 0."""
    return untrained("positive")


def near_max() -> nn.Module:
    """Attention near the largest of each row."""
    return untrained("near_max")


def statsq() -> nn.Module:
    """Shiftmax, and StatsQ weights of 4 bits in the encoder's dense layers."""
    return untrained(stats_bits=4)
