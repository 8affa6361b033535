"""How parallel each operator is built. A fold never changes what the graph means."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeq.errors import EdgeqError
from edgeq.hardware import RESOURCES, Cost

if TYPE_CHECKING:
    from edgeq.board import Board
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
    beat: pixels a beat of the network's input, in raster order; more than one for the operator that reads it alone.
    share: the channels of an unrolled binary layer may share partial sums, beyond the tree.
    max_lut_levels: LUT levels between two registers of an unrolled binary layer. max_depth: of its spanning tree.
    """

    mode: str = "pixel"
    pe: int = 1
    simd: int = 1
    mst: bool = True
    share: bool = True
    beat: int = 1
    max_lut_levels: int = MAX_LUT_LEVELS
    max_depth: int | None = None

    @property
    def form(self) -> str | None:
        """Of edgeq.unrolled.FORMS, the one of an unrolled binary layer; None for the smallest."""
        return "direct" if not self.mst else None if self.share else "tree"

    def __str__(self) -> str:
        if self.beat > 1:
            return f"{self.beat} pixels a beat"
        if self.mode == "tree":
            return f"{self.pe} x {self.simd} tree"
        return f"{self.pe} x {self.simd}" if self.mode == "folded" else self.mode


@dataclass(frozen=True)
class _Choice:
    fold: Fold
    cycles: int
    cost: Cost


def choose(
    graph: Graph,
    board: Board,
    mst: bool = True,
    max_utilization: float = MAX_UTILIZATION,
    max_lut_levels: int = MAX_LUT_LEVELS,
    max_depth: int | None = None,
    share: bool = True,
) -> dict[str, Fold]:
    """The fold of every node: at the fastest rate at which the cheapest folds that reach it fit the board together.

    The rate is the slowest operator's. Raises EdgeqError that names the largest operator and the budget it breaks.
    """
    types, readers = graph.types(), graph.consumers()[graph.input]
    ladder: dict[str, list[_Choice]] = {}
    for node in graph.nodes:
        xs = [types[name] for name in node.inputs]
        found = node.op.input_folds(*xs) if [node] == readers else node.op.folds(*xs)
        settings: dict[str, Any] = {"mst": mst, "share": share, "max_lut_levels": max_lut_levels, "max_depth": max_depth}
        folds = [replace(fold, **settings) for fold in found if mst or fold.mode != "tree"]
        ladder[node.name] = [_Choice(fold, node.op.cycles(fold, *xs), node.op.cost(fold, *xs)) for fold in folds]
    limit = [max_utilization * amount for amount in board.budget.astuple()]
    picked: dict[str, _Choice] = {}
    for cycles in sorted({choice.cycles for choices in ladder.values() for choice in choices}):
        fast = {name: [c for c in choices if c.cycles <= cycles] for name, choices in ladder.items()}
        if not all(fast.values()):
            continue
        picked = {name: min(choices, key=lambda c: _share(c.cost, board.budget)) for name, choices in fast.items()}
        total = sum((c.cost for c in picked.values()), Cost())
        if all(used <= most for used, most in zip(total.astuple(), limit, strict=True)):
            return {name: choice.fold for name, choice in picked.items()}
    raise _too_big(graph, picked, board, limit)


def input_beat(graph: Graph, folds: dict[str, Fold]) -> int:
    """Pixels a beat of the network's input stream."""
    return max((folds[node.name].beat for node in graph.consumers()[graph.input]), default=1)


def input_stream(graph: Graph, folds: dict[str, Fold]) -> IntType:
    """The input as its stream carries it: P pixels a beat are one of P*C channels, pixel by pixel; the bits are the same."""
    x, beat = graph.input_type, input_beat(graph, folds)
    return x if beat == 1 else replace(x, shape=(beat * x.channels, x.pixels // beat, 1))


def _share(cost: Cost, budget: Cost) -> float:
    """The parts of the budget that a cost takes, added up; a resource that the board lacks counts as the whole."""
    return sum(used / most if most else float(used > 0) for used, most in zip(cost.astuple(), budget.astuple(), strict=True))


def _too_big(graph: Graph, picked: dict[str, _Choice], board: Board, limit: list[float]) -> EdgeqError:
    total = sum((c.cost for c in picked.values()), Cost()).astuple()
    worst = max(range(len(RESOURCES)), key=lambda i: total[i] / limit[i] if limit[i] else float(total[i] > 0))
    layer = max(picked, key=lambda name: picked[name].cost.astuple()[worst])
    return EdgeqError(
        f"the network needs {total[worst]:,.0f} {RESOURCES[worst]} of the {limit[worst]:,.0f} that it may use of {board.title}; "
        f"this operator alone needs {picked[layer].cost.astuple()[worst]:,.0f}",
        where=graph.source_of(layer),
        fix="use a larger board, or fewer channels or bits in this layer",
    )
