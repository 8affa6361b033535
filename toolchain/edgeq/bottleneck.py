"""What limits the rate of a build, and what the next higher rate would take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from edgeq.board import Board
from edgeq.fold import Fold
from edgeq.folding import SOLVER_MARGIN, Choice, Target, cheapest
from edgeq.graph import Graph
from edgeq.hardware import RESOURCES, Cost
from edgeq.records import number


def bottleneck(
    graph: Graph, folds: Mapping[str, Fold], board: Board, target: Target, known: Mapping[str, Sequence[Choice]]
) -> dict[str, Any]:
    """{"name": the slowest node, the first of several, "cycles", "advice": a sentence for people}. known: ladders of the target.

    Where every operator has a faster form, "next" tells the next rate: its "cycles" and, where the board holds it at all, its
    cost by our model and "utilization", the largest share of a resource.
    """
    types = graph.types()
    cycles = {node.name: node.op.cycles(folds[node.name], *(types[name] for name in node.inputs)) for node in graph.nodes}
    name = max(cycles, key=lambda node: cycles[node])
    found: dict[str, Any] = {"name": name, "cycles": cycles[name]}
    stuck = [node for node, choices in known.items() if min(c.cycles for c in choices) >= cycles[name]]
    if stuck:
        return found | {"name": stuck[0], "advice": _stuck(stuck[0], folds[stuck[0]], target)}
    most = max(c.cycles for choices in known.values() for c in choices if c.cycles < cycles[name])
    following: dict[str, Any] = {"cycles": most}
    rate = f"The next higher rate, {most:,} cycles a frame ({board.clock_mhz * 1e6 / most:,.0f} frames a second),"
    faster = cheapest(known, most, board.budget, board.budget)
    if faster is None:
        return found | {"next": following, "advice": f"{rate} fits no combination of folds into the whole of {board.title}."}
    cost = sum((next(c.cost for c in known[node] if c.fold == fold) for node, fold in faster.items()), Cost())
    shares = {r: used / have for r, used, have in zip(RESOURCES, cost.astuple(), board.budget.astuple(), strict=True) if have}
    worst = max(shares, key=lambda r: shares[r])
    following |= cost.asdict() | {"utilization": shares[worst]}
    need = f"{rate} needs {shares[worst]:.0%} of the {worst.upper()} by our model"
    if shares[worst] <= target.max_utilization:
        return found | {"next": following, "advice": f"{need}: --fps {number(int(board.clock_mhz * 1e6 / most))}."}
    share = min(ceil(shares[worst] * (1 + 2 * SOLVER_MARGIN) * 100) / 100, 1)
    return found | {
        "next": following,
        "advice": f"{need}, and operators may take {target.max_utilization:.0%}: --max-util {share:g}, or a larger board, "
        "would allow it.",
    }


def _stuck(name: str, fold: Fold, target: Target) -> str:
    if name in target.fixed:
        return f"Its fold, {fold}, is fixed in the fold file: change it there."
    return (
        f"It is built as fast as it can be ({fold}), whatever the board. A smaller image, a larger stride or less padding in the "
        "model would make it faster."
    )
