"""Training for the hardware: binary layers, the spanning-tree loss, a training loop and packed weights (torch, Brevitas)."""

from edgeq.fixed_point import FixedPoint
from edgeq.train.adaquant import AdaQuant, LayerError, adaquant, renormalize
from edgeq.train.binary import BinaryAct, BinaryConv2d, BinaryLinear, set_progress
from edgeq.train.codings import DenseShift, KHot, Ternary
from edgeq.train.convert import Formats, convert
from edgeq.train.fixed import binary_points, calibrate, parameter_groups, quantizers
from edgeq.train.fixed_functions import FixedFunction, FixedGELU
from edgeq.train.fixed_layers import (
    FixedAct,
    FixedAdd,
    FixedAvgPool2d,
    FixedBatchNorm,
    FixedConv2d,
    FixedLinear,
    FixedPReLU,
    FixedReLU,
    freeze_statistics,
)
from edgeq.train.loop import Epoch, Recipe, accuracy, fit
from edgeq.train.packed import load_packed, save_packed
from edgeq.train.tree import LayerTree, TreeLoss, binary_weight

__all__ = [
    "AdaQuant",
    "BinaryAct",
    "BinaryConv2d",
    "BinaryLinear",
    "DenseShift",
    "Epoch",
    "FixedAct",
    "FixedAdd",
    "FixedAvgPool2d",
    "FixedBatchNorm",
    "FixedConv2d",
    "FixedFunction",
    "FixedGELU",
    "FixedLinear",
    "FixedPReLU",
    "FixedPoint",
    "FixedReLU",
    "Formats",
    "KHot",
    "LayerError",
    "LayerTree",
    "Recipe",
    "Ternary",
    "TreeLoss",
    "accuracy",
    "adaquant",
    "binary_points",
    "binary_weight",
    "calibrate",
    "convert",
    "fit",
    "freeze_statistics",
    "load_packed",
    "parameter_groups",
    "quantizers",
    "renormalize",
    "save_packed",
    "set_progress",
]
