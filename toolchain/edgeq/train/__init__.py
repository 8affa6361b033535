"""Training for the hardware: binary layers, the spanning-tree loss, a training loop and packed weights (torch, Brevitas)."""

from edgeq.train.binary import BinaryAct, BinaryConv2d, BinaryLinear, set_progress
from edgeq.train.loop import Epoch, Recipe, accuracy, fit
from edgeq.train.packed import load_packed, save_packed
from edgeq.train.tree import LayerTree, TreeLoss, binary_weight

__all__ = [
    "BinaryAct",
    "BinaryConv2d",
    "BinaryLinear",
    "Epoch",
    "LayerTree",
    "Recipe",
    "TreeLoss",
    "accuracy",
    "binary_weight",
    "fit",
    "load_packed",
    "save_packed",
    "set_progress",
]
