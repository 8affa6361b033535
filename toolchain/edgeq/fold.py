"""How parallel each operator is built. A fold never changes what the graph means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeq.graph import Graph, IntType

MAX_UTILIZATION = 0.7
"""Share of each resource that a network may take: beyond it placement and routing get hard, and a shell must fit too."""

MAX_LUT_LEVELS = 6
"""LUT levels between two registers of an unrolled binary layer, a carry chain being one. With 4 it has twice the registers."""


@dataclass(frozen=True)
class Fold:
    """mode "pixel": one pixel a cycle, no choice; "unrolled": constant weights as logic, one patch a cycle;
    "folded": pe output channels x simd terms a cycle, weights in memory, (Cout/pe)*(K/simd) cycles a patch; "tree": the same
    along the minimum spanning tree of a binary layer, simd terms anywhere in the patch, as many cycles as the tree leaves.
    mst: a binary layer may be built along its minimum spanning tree, else directly.
    block: the weights of a folded layer lie in block RAM also where they are few words, which LUTs would hold.
    digits: products by shifters, one for each signed digit of a constant, in place of multipliers.
    beat: pixels a beat of the network's input, in raster order; more than one for the operator that reads it alone.
    narrow: a beat carries not all channels of a pixel but `simd` of them at an input and `pe` at the output, the lowest first.
    share: the channels of an unrolled binary layer may share partial sums, beyond the tree.
    max_lut_levels: LUT levels between two registers of an unrolled binary layer. max_depth: of its spanning tree.
    family: of edgeq.cells.FAMILIES, how such a layer's LUTs and carry chains are written.
    """

    mode: str = "pixel"
    pe: int = 1
    simd: int = 1
    mst: bool = True
    share: bool = True
    block: bool = False
    digits: bool = False
    beat: int = 1
    narrow: bool = False
    max_lut_levels: int = MAX_LUT_LEVELS
    max_depth: int | None = None
    family: str = "xcup"

    @property
    def form(self) -> str | None:
        """Of edgeq.unrolled.FORMS, the one of an unrolled binary layer; None for the smallest."""
        return "direct" if not self.mst else None if self.share else "tree"

    def __str__(self) -> str:
        if self.beat > 1:
            return f"{self.beat} pixels a beat"
        how = (" in BRAM" if self.block else "") + (" by digits" if self.digits else "") + (" narrow" if self.narrow else "")
        if self.mode == "tree":
            return f"{self.pe} x {self.simd} tree{how}"
        return f"{self.pe} x {self.simd}{how}" if self.mode == "folded" else self.mode + how


def input_beat(graph: Graph, folds: Mapping[str, Fold]) -> int:
    """Pixels a beat of the network's input stream."""
    return max((folds[node.name].beat for node in graph.consumers()[graph.input]), default=1)


def input_stream(graph: Graph, folds: Mapping[str, Fold]) -> IntType:
    """The input as its stream carries it: P pixels a beat are one of P*C channels, pixel by pixel; the bits are the same."""
    return _stream(graph.input_type, input_beat(graph, folds) * graph.input_type.channels)


def streams(graph: Graph, folds: Mapping[str, Fold]) -> dict[str, IntType]:
    """Every tensor as its stream carries it: a beat is a pixel of its own, in the order in which they come."""
    types = graph.types()
    found = {graph.input: input_stream(graph, folds)}
    for node in graph.nodes:
        _, channels = node.op.beats(folds[node.name], *(types[name] for name in node.inputs))
        found[node.output] = _stream(types[node.output], channels)
    return found


def _stream(t: IntType, channels: int) -> IntType:
    """With so many elements a beat."""
    return t if channels == t.channels else replace(t, shape=(channels, t.size // channels, 1))
