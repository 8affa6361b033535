"""The choice of every operator's fold: a rate or a budget is given, the rest follows."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from edgeq.blas import one_thread
from edgeq.board import Board
from edgeq.cells import FAMILIES
from edgeq.errors import EdgeqError
from edgeq.fold import MAX_LUT_LEVELS, MAX_UTILIZATION, Fold
from edgeq.graph import Graph, Node
from edgeq.hardware import RESOURCES, Cost
from edgeq.passes import narrow_passes

SOLVER_MARGIN = 1e-5
"""Part of a budget that the integer program leaves free, for its own tolerance is 1e-6."""


@dataclass(frozen=True)
class Target:
    """What `choose` looks for.

    fps: frames a second at the board's clock that the network has to reach, as cheaply as possible; None: the fastest that fits.
    max_utilization: share of each resource that the operators may take.  max_dsp: DSPs that they may take at most.
    fixed: folds already decided, by node, such as those of a fold file. mst, share, max_lut_levels, max_depth: of the others.
    narrow: operators that can have narrow beats (`Fold.narrow`) have them; None: only where `plan` finds that the network does
    not fit else.
    """

    fps: float | None = None
    max_utilization: float = MAX_UTILIZATION
    max_dsp: int | None = None
    mst: bool = True
    share: bool = True
    max_lut_levels: int = MAX_LUT_LEVELS
    max_depth: int | None = None
    narrow: bool | None = None
    fixed: Mapping[str, Fold] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """A way to build an operator: its fold, its own cycles a frame, its cost by our model."""

    fold: Fold
    cycles: int
    cost: Cost


class TooBigError(EdgeqError):
    """No combination of folds fits the budget."""


@dataclass(frozen=True)
class Plan:
    """The folds of all nodes.  graph: of which.  target: what was looked for.  known: ladders() of it, the folds among them."""

    graph: Graph
    target: Target
    known: dict[str, list[Choice]]
    folds: dict[str, Fold]


def plan(graph: Graph, board: Board, target: Target) -> Plan:
    """The folds that `choose` finds; a network that does not fit with whole pixels in its beats gets narrow ones.

    Raises EdgeqError as `choose` does.
    """
    tried, made = replace(target, narrow=bool(target.narrow)), built(graph, target)
    known = ladders(made, board, tried)
    try:
        return Plan(made, tried, known, choose(made, board, tried, known))
    except TooBigError:
        if target.narrow is not None:
            raise
    return plan(graph, board, replace(target, narrow=True))


def turns(graph: Graph, target: Target) -> int:
    """Of how many turns an operator works in one. In narrow beats attention stores a frame's keys when it is done with those of
    the frame before, and what makes these waits meanwhile."""
    return 2 if target.narrow and any(node.op.stores_second for node in graph.nodes) else 1


def built(graph: Graph, target: Target) -> Graph:
    """The graph, of hardware_passes, that such a target builds first."""
    return narrow_passes(graph) if target.narrow else graph


def choose(
    graph: Graph, board: Board, target: Target = Target(), known: Mapping[str, Sequence[Choice]] | None = None
) -> dict[str, Fold]:
    """The fold of every node: at the rate asked for, or the fastest that fits, the one that takes the least of the board.

    The rate is the slowest operator's. Of all combinations that reach it and keep every resource within its share of the budget,
    the one with the smallest sum of shares is taken (an integer program). Raises EdgeqError that names the operator that is
    too slow, or the largest one and the budget it breaks. known: ladders() of the same, where they are at hand.
    """
    known = known or ladders(graph, board, target)
    limit = Cost(*(target.max_utilization * amount for amount in board.budget.astuple()))
    if target.max_dsp is not None:
        limit = replace(limit, dsp=min(limit.dsp, target.max_dsp))
    slowest = max(min(c.cycles for c in choices) for choices in known.values())
    if target.fps is not None:
        most = int(board.clock_mhz * 1e6 // target.fps) // turns(graph, target)
        if slowest > most:
            raise _too_slow(graph, known, target, most)
        found = cheapest(known, most, board.budget, limit)
        if found is None:
            raise _too_big(graph, known, most, board, limit, f"at {target.fps:,.0f} frames a second ")
        return found
    rates = sorted({c.cycles for choices in known.values() for c in choices if c.cycles >= slowest})
    fits = bisect_left(rates, True, key=lambda most: cheapest(known, most, board.budget, limit) is not None)
    found = cheapest(known, rates[fits], board.budget, limit) if fits < len(rates) else None
    if found is None:
        raise _too_big(graph, known, rates[-1], board, limit, "")
    return found


def ladders(graph: Graph, board: Board, target: Target = Target()) -> dict[str, list[Choice]]:
    """Of every node, the ways to build it of which none is slower and larger than another; slowest first."""
    return {node.name: ladder(forms(graph, node, target), board) for node in graph.nodes}


def forms(graph: Graph, node: Node, target: Target = Target()) -> list[Choice]:
    """All ways to build a node, whatever the board."""
    types, readers = graph.types(), graph.consumers()[graph.input]
    xs = [types[name] for name in node.inputs]
    if node.name in target.fixed:
        folds = [target.fixed[node.name]]
    else:
        every = node.op.input_folds(*xs) if [node] == readers else node.op.folds(*xs)
        every = (target.narrow and node.op.narrow_folds(*xs)) or every
        folds = [
            replace(fold, mst=target.mst, share=target.share, max_lut_levels=target.max_lut_levels, max_depth=target.max_depth)
            for fold in every
            if target.mst or fold.mode != "tree"
        ]
    with one_thread():
        return [Choice(fold, node.op.cycles(fold, *xs), node.op.cost(fold, *xs)) for fold in folds]


def ladder(choices: Sequence[Choice], board: Board) -> list[Choice]:
    """Those of one node's forms of which none is slower and larger than another, slowest first, as the board's part builds them.

    Raises EdgeqError where it can build none.
    """
    built = [
        Choice(replace(c.fold, family=board.family), c.cycles, board.price(c.cost))
        for c in choices
        if c.fold.mode != "tree" or FAMILIES[board.family].deep_lut_ram
    ]
    if not built:
        raise EdgeqError(f'mode "tree" cannot be built on {board.title}', where="--fold", fix='mode "folded"')
    kept: list[Choice] = []
    for choice in sorted(built, key=lambda c: (c.cycles, _share(c.cost, board.budget))):
        if not any(_no_larger(other.cost, choice.cost) for other in kept if other.cost != choice.cost):
            kept.append(choice)
    return kept[::-1]


def cheapest(known: Mapping[str, Sequence[Choice]], most: int, budget: Cost, limit: Cost) -> dict[str, Fold] | None:
    """Of every node one choice of at most `most` cycles, all within the limit; None where there are none."""
    # where a higher rate costs nothing, such as a wider beat of the input, the lowest that is enough
    fast = {name: list({c.cost: c for c in choices[::-1] if c.cycles <= most}.values()) for name, choices in known.items()}
    flat = [c for choices in fast.values() for c in choices]
    owners = [row for row, choices in enumerate(fast.values()) for _ in choices]
    one = csr_array((np.ones(len(flat)), (owners, range(len(flat)))), shape=(len(fast), len(flat)))
    # a resource that the board lacks has no share; whoever needs it is out
    used = np.array([c.cost.astuple() for c in flat]).T / np.maximum(np.array([budget.astuple()]).T, 1)
    bounds = np.array(limit.astuple()) / np.maximum(budget.astuple(), 1)
    solved = milp(
        [_share(c.cost, budget) for c in flat],
        integrality=np.ones(len(flat)),
        options={"mip_rel_gap": 0},
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(one, 1, 1), LinearConstraint(used, -np.inf, bounds * (1 - SOLVER_MARGIN))],
    )
    if solved.x is None:
        return None
    picked = [c for c, chosen in zip(flat, solved.x, strict=True) if chosen > 0.5]
    return {name: c.fold for name, c in zip(fast, picked, strict=True)}


def _no_larger(cost: Cost, other: Cost) -> bool:
    return all(a <= b for a, b in zip(cost.astuple(), other.astuple(), strict=True))


def _share(cost: Cost, budget: Cost) -> float:
    """The parts of the budget that a cost takes, added up; a resource that the board lacks counts as the whole."""
    return sum(used / most if most else float(used > 0) for used, most in zip(cost.astuple(), budget.astuple(), strict=True))


def _too_slow(graph: Graph, known: Mapping[str, Sequence[Choice]], target: Target, most: int) -> EdgeqError:
    name = max(known, key=lambda node: min(c.cycles for c in known[node]))
    fastest = min(c.cycles for c in known[name])
    return EdgeqError(
        f"{target.fps:,.0f} frames a second leave {most:,} cycles a frame; this operator takes {fastest:,}"
        + (" with the fold that is given" if name in target.fixed else " at its fastest"),
        where=graph.source_of(name),
        fix="change its fold in the file" if name in target.fixed else "ask for fewer frames a second, or a smaller image",
    )


def _too_big(graph: Graph, known: Mapping[str, Sequence[Choice]], most: int, board: Board, limit: Cost, rate: str) -> TooBigError:
    fast = {name: [c for c in choices if c.cycles <= most] for name, choices in known.items()}
    picked = {name: min(choices, key=lambda c: _share(c.cost, board.budget)) for name, choices in fast.items()}
    total = sum((c.cost for c in picked.values()), Cost()).astuple()
    limits = limit.astuple()
    worst = max(range(len(RESOURCES)), key=lambda i: total[i] / limits[i] if limits[i] else float(total[i] > 0))
    layer = max(picked, key=lambda name: picked[name].cost.astuple()[worst])
    return TooBigError(
        f"{rate}the network needs {total[worst]:,.0f} {RESOURCES[worst]} of the {limits[worst]:,.0f} that it may use of "
        f"{board.title}; this operator alone needs {picked[layer].cost.astuple()[worst]:,.0f}",
        where=graph.source_of(layer),
        fix="fewer frames a second, a larger --max-util or a larger board"
        if rate
        else "use a larger board, or fewer channels or bits in this layer",
    )
