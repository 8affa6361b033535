"""A Segmenter of 0.2 million weights for CamVid, in float."""

from torch import nn

from edgeq.train.camvid import CLASSES
from edgeq.train.models import Segmenter

SIZE = (120, 160)


def float_model() -> nn.Module:
    """With untrained weights: 3 strided convolutions, 15 x 20 patches of 64 channels, 4 encoder layers and 1 decoder layer."""
    return Segmenter(len(CLASSES), SIZE)
