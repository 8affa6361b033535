"""The spanning-tree loss: binary weights whose channels differ in few places, so that few terms compute them all.

From the paper (MST-compression, ICCV 2023, arXiv 2308.13735): the channels of a binary layer as the nodes of a graph, edges
of Hamming distance, a channel computed from its parent in the minimum spanning tree, and training that shortens the tree.
Ours: the form of the loss (the paper's text could not be had), complement edges in it, one tree for each group of a grouped
layer, the normalisation and the warm-up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer
from torch import Tensor, nn

from edgeq.errors import EdgeqError
from edgeq.mst import spanning_tree
from edgeq.train.binary import Ste

Binary = Callable[[nn.Module], Tensor | None]
ROUNDING = 1e-5
_LAYERS = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear


def binary_weight(module: nn.Module) -> Tensor | None:
    """The weights of a binary layer as -1 and +1, [C, ...] with their gradient; None where `module` is no binary layer.

    Binary layers are convolutions and dense layers (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear and what derives from them) that
    are Brevitas layers (ours too) with a 1-bit weight quantizer, or whose `weight` has one magnitude everywhere, as
    a torch parametrization by sign(w), or by sign(w) times a constant, gives it (but for float32's rounding, as the usual
    `sign(w) + w - w.detach()` has it).
    """
    if not isinstance(module, _LAYERS):
        return None
    if isinstance(module, QuantWeightBiasInputOutputLayer) and module.weight_quant.is_quant_enabled:
        quantized = module.quant_weight()
        bits = getattr(quantized, "bit_width", None)
        return quantized.value / quantized.scale if bits is not None and int(bits) == 1 else None
    size = module.weight.detach().abs()
    least, most = size.aminmax()
    return module.weight / most if 0 < most * (1 - ROUNDING) <= least else None


@dataclass(frozen=True)
class LayerTree:
    """The minimum spanning trees of one layer, one a group.

    name: of the module.  channels, terms: C and K, the products of an output (of one group).  groups: how many trees.
    distance: of all tree edges together.
    """

    name: str
    channels: int
    terms: int
    groups: int
    distance: int

    @property
    def direct(self) -> int:
        """Terms summed without a tree: C * K."""
        return self.channels * self.terms

    @property
    def additions(self) -> int:
        """Terms summed with the trees: K for each root, and the distances."""
        return self.groups * self.terms + self.distance

    @property
    def share(self) -> float:
        """(K + sum of d) / (C * K), the share of the direct form's bit operations that is left; K for each group's root."""
        return self.additions / self.direct


@dataclass(frozen=True)
class _Layer:
    name: str
    module: nn.Module
    groups: int


@dataclass(frozen=True)
class _Edges:
    parent: Tensor  # int64 [edges]
    child: Tensor
    sign: Tensor  # float [edges], -1 for a complement edge


class TreeLoss:
    """weight * warm-up * sum over layers and tree edges of (K - s * b_p . b_c) / (2 * sqrt(C * K)), added to the task's loss.

    b_p and b_c are the signs of two channels joined by an edge, s is -1 on a complement edge, so an edge's term is its distance
    over sqrt(C * K), C * K being the layer's number of weights. Behind a BatchNorm the task's gradient on one weight falls as
    1 / sqrt(C * K); the loss's falls alike, so one `weight` means about the same in layers of every size.

    The signs pass gradients straight through (1 for abs(w) <= 1), then through the layer's own estimator. A depthwise layer has
    no tree and no term.
    """

    def __init__(
        self,
        module: nn.Module,
        weight: float,
        warmup: int = 0,
        binary: Binary = binary_weight,
        complement_cost: int | None = 0,
    ) -> None:
        """The loss of every binary layer in `module`.

        weight: lambda.  warmup: epochs over which lambda grows linearly; the first one has 1 / warmup of it.
        binary: gives a module's weights [C, ...], whose signs (+1 for 0) are the layer's, with their gradient, or None for a
        module that is no binary layer; `binary_weight` tells what is found without it. Groups are the module's `groups`.
        complement_cost: as in `edgeq.mst.spanning_tree`.  Raises EdgeqError where `module` has no binary layer.
        """
        self.weight = weight
        self.warmup = warmup
        self._binary = binary
        self._complement_cost = complement_cost
        self._sign = Ste()
        self._layers = []
        for name, part in module.named_modules():
            if (found := binary(part)) is None:
                continue
            groups = int(getattr(part, "groups", 1))
            if found.ndim < 2 or found.shape[0] % groups:
                raise EdgeqError(f"weights of shape {tuple(found.shape)} in {groups} groups", where=name, fix="[Cout, ...]")
            self._layers.append(_Layer(name, part, groups))
        if not self._layers:
            fix = "pass binary=..., a function that gives a module's weights or None"
            raise EdgeqError(f"no binary layer was found in the {type(module).__name__}", where="TreeLoss", fix=fix)
        self._epochs = 0
        self._edges: list[_Edges] = []
        self._trees: list[LayerTree] = []

    def rebuild(self) -> list[LayerTree]:
        """Recompute the trees from the weights as they are: call it at the start of each epoch. Counts the warm-up's epochs."""
        self._epochs += 1
        self._edges, self._trees = [], []
        for layer, signs in self._signs():
            edges, tree = self._build(layer, signs.detach())
            self._edges.append(edges)
            self._trees.append(tree)
        return self._trees

    def trees(self) -> list[LayerTree]:
        """The trees of the weights as they are, without a word to the training."""
        return [self._build(layer, signs.detach())[1] for layer, signs in self._signs()]

    def __call__(self) -> Tensor:
        """The loss, a scalar with gradients; `rebuild` has to be called before."""
        if not self._edges:
            raise EdgeqError("the loss has no trees yet", where="TreeLoss", fix="call rebuild() at the start of each epoch")
        total = torch.zeros(())
        for (_, b), edges in zip(self._signs(), self._edges, strict=True):
            agree = (b.index_select(0, edges.child) * b.index_select(0, edges.parent)).sum(1) * edges.sign
            total = total + (b.shape[1] - agree).sum() / (2 * math.sqrt(b.numel()))
        return self.weight * min(1.0, self._epochs / max(self.warmup, 1)) * total

    def _signs(self) -> list[tuple[_Layer, Tensor]]:
        """Each layer with its weights as -1 and +1, [C, K]."""
        found = []
        for layer in self._layers:
            weight = self._binary(layer.module)
            if weight is None:
                raise EdgeqError("the layer is no longer binary", where=layer.name, fix="make the loss anew")
            found.append((layer, self._sign(weight.flatten(1))))
        return found

    def _build(self, layer: _Layer, signs: Tensor) -> tuple[_Edges, LayerTree]:
        channels, terms = signs.shape
        each = channels // layer.groups
        parent, child, sign, distance = [], [], [], 0
        for start in range(0, channels, each):
            tree = spanning_tree(signs[start : start + each].numpy().astype("int64"), self._complement_cost)
            below = torch.from_numpy(tree.order[1:])
            child.append(below + start)
            parent.append(torch.from_numpy(tree.parent)[below] + start)
            sign.append(1 - 2 * torch.from_numpy(tree.complement)[below].to(signs.dtype))
            distance += tree.additions - terms
        edges = _Edges(torch.cat(parent), torch.cat(child), torch.cat(sign))
        return edges, LayerTree(layer.name, channels, terms, layer.groups, distance)
