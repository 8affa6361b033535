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
from edgeq.train.integer import (
    FixedAttention,
    FixedLayerNorm,
    FixedNearMax,
    FixedPosition,
    FixedPositive,
    FixedScores,
    FixedSelect,
    FixedShiftGELU,
    FixedShiftmax,
    FixedSqrt,
    FixedTokens,
    FixedUpsample,
    FixedValues,
)
from edgeq.train.loop import Epoch, Recipe, accuracy, fit
from edgeq.train.models import Segmenter, integer
from edgeq.train.packed import load_packed, save_packed
from edgeq.train.statsq import Annealing, StatsQ
from edgeq.train.tree import LayerTree, TreeLoss, binary_weight

__all__ = [
    "AdaQuant",
    "Annealing",
    "BinaryAct",
    "BinaryConv2d",
    "BinaryLinear",
    "DenseShift",
    "Epoch",
    "FixedAct",
    "FixedAdd",
    "FixedAttention",
    "FixedAvgPool2d",
    "FixedBatchNorm",
    "FixedConv2d",
    "FixedFunction",
    "FixedGELU",
    "FixedLayerNorm",
    "FixedLinear",
    "FixedNearMax",
    "FixedPReLU",
    "FixedPoint",
    "FixedPosition",
    "FixedPositive",
    "FixedReLU",
    "FixedScores",
    "FixedSelect",
    "FixedShiftGELU",
    "FixedShiftmax",
    "FixedSqrt",
    "FixedTokens",
    "FixedUpsample",
    "FixedValues",
    "Formats",
    "KHot",
    "LayerError",
    "LayerTree",
    "Recipe",
    "Segmenter",
    "StatsQ",
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
    "integer",
    "load_packed",
    "parameter_groups",
    "quantizers",
    "renormalize",
    "save_packed",
    "set_progress",
]
