"""`edgeq explore`: rate against budget. Many targets, boards and ways to build binary layers; what each gives, by our models."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any

from edgeq import records, tasks
from edgeq.board import Board
from edgeq.cache import key
from edgeq.errors import EdgeqError
from edgeq.fold import Fold, streams
from edgeq.folding import Choice, Target, choose, forms, ladder
from edgeq.graph import Graph
from edgeq.hardware import RESOURCES, Cost
from edgeq.lower import onnx as lower_onnx
from edgeq.lower.rtl import fifo
from edgeq.passes import hardware_passes
from edgeq.schedule import Network
from edgeq.ui import Ui

BUDGETS = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of a board that are tried where neither shares nor rates are asked for."""
STYLES = {"shared": Target(), "tree": Target(share=False), "direct": Target(mst=False)}
"""Ways to build binary layers: along spanning trees with sums shared, along trees alone, neither."""


@dataclass(frozen=True)
class Item:
    """A task: the forms of one operator (its place in the graph) in one style. file: the integer ONNX, in the task's folder."""

    file: str
    node: int
    style: str


def measure(item: Item, folder: Path) -> list[Choice]:
    """All forms of an operator, with their cycles and costs."""
    graph = _read(folder / item.file)
    return forms(graph, graph.nodes[item.node], STYLES[item.style])


@dataclass(frozen=True)
class Design:
    """A task: the whole network with these folds. file: as Item's."""

    file: str
    folds: tuple[tuple[str, Fold], ...]


def schedule(item: Design, folder: Path) -> tuple[Fraction, list[Cost]]:
    """Cycles a frame by the exact schedule, and the cost of each FIFO between operators."""
    graph, folds = _read(folder / item.file), dict(item.folds)
    network, types = Network(graph, folds), streams(graph, folds)
    depths = network.least_depths()
    fifos = []
    for node in graph.nodes:
        for port, tensor in enumerate(node.inputs):
            if needed := depths[node.name, port]:
                fifos.append(fifo("", tensor, types[tensor], (node.name, port), needed))
    built = {(f.reader, f.port): f.depth for f in fifos}
    return network.cycles(built), [f.cost for f in fifos]


def explore(
    graph_file: Path, boards: Sequence[Board], *, budgets: Sequence[float], rates: Sequence[float], scheduler: str | None,
    workers: int | None, ui: Ui,
) -> dict[str, Any]:  # fmt: skip
    """Every board with every share of it (`--max-util`) and every rate (`--fps`), in every style that makes a difference.

    graph_file: integer ONNX, as `edgeq export` writes it. Returns {"points": [...], "refused": [...]}, the contents of
    explore.json. A point's `dominated` says that another of the same board is as fast or faster within the same share of it or a
    smaller one; the share is that of the resource it takes most of.
    """
    with ui.stage("preparing the graph for hardware"):
        graph = _read(graph_file)

    def run(function: Callable[[Any, Path], Any], items: Sequence[Any], title: str) -> list[Any]:
        folder = tasks.Folder(graph_file.parent, (graph_file.name,))
        return tasks.run(function, items, ui=ui, title=title, scheduler=scheduler, workers=workers, folders=[folder] * len(items))

    items = [Item(graph_file.name, node, style) for style in STYLES for node in range(len(graph.nodes))]
    found = run(measure, items, "costing every form of every operator")
    known = {(item.node, item.style): each for item, each in zip(items, found, strict=True)}
    points: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    targets = [Target(max_utilization=share) for share in budgets or (() if rates else BUDGETS)]
    targets += [Target(fps=rate) for rate in rates]
    cases = list(product(boards, _styles(graph, known), targets))
    with ui.progress("choosing folds", len(cases)) as advance:
        for board, style, target in cases:
            wanted = replace(target, mst=STYLES[style].mst, share=STYLES[style].share)
            ladders = {node.name: ladder(known[i, style], board) for i, node in enumerate(graph.nodes)}
            asked = {"fps": target.fps} if target.fps else {"max_util": target.max_utilization}
            option = {name: records.number(value) for name, value in asked.items()}
            typed = records.command(
                "synth", "EXPORT", board=board.name, no_mst=not wanted.mst, no_share=not wanted.share, **option, o="BUILD"
            )
            row = {"board": board.name, "asked": asked, "style": style, "command": typed}
            try:
                folds = choose(graph, board, wanted, ladders)
                points.append(row | {"built": {n: next(c for c in ladders[n] if c.fold == fold) for n, fold in folds.items()}})
            except EdgeqError as error:
                refused.append(row | {"reason": error.what, "operator": error.where})
            advance()
    points = _merged(points, lambda row: (row["board"], *((n, str(c.fold), c.cycles, c.cost) for n, c in row["built"].items())))
    designs = [Design(graph_file.name, tuple((n, c.fold) for n, c in row["built"].items())) for row in points]
    schedules = run(schedule, designs, "scheduling")
    places = {board.name: board for board in boards}
    full = [row | _point(places[row["board"]], row.pop("built"), *each) for row, each in zip(points, schedules, strict=True)]
    return {
        "points": _marked(full),
        "refused": _merged(refused, lambda row: (row["board"], str(row["asked"]), row["reason"], row["operator"])),
    }


def _read(path: Path) -> Graph:
    """The graph that hardware is built from; kept from task to task as long as the file stays the same."""
    return _prepared(path, key([path.read_bytes()]))


@lru_cache(maxsize=1)
def _prepared(path: Path, digest: str) -> Graph:
    return hardware_passes(lower_onnx.load(path))


def _styles(graph: Graph, known: Mapping[tuple[int, str], list[Choice]]) -> list[str]:
    """The styles of which none has every operator's forms in common with one before it."""
    found: dict[tuple[Any, ...], str] = {}
    for style in STYLES:
        every = (known[i, style] for i in range(len(graph.nodes)))
        found.setdefault(tuple((c.cycles, c.cost) for forms in every for c in forms), style)
    return list(found.values())


def _point(board: Board, built: Mapping[str, Choice], cycles: Fraction, fifos: list[Cost]) -> dict[str, Any]:
    """What a design gives. The cost is rounded row by row, as report.json has it."""
    costs = [*(c.cost for c in built.values()), *map(board.price, fifos)]
    total = sum((Cost(**cost.asdict()) for cost in costs), Cost())
    shares = {r: used / have for r, used, have in zip(RESOURCES, total.astuple(), board.budget.astuple(), strict=True) if have}
    most = max(shares, key=lambda r: shares[r])
    return {
        "cycles_per_frame": ceil(cycles), "frames_per_second": board.clock_mhz * 1e6 / float(cycles), **total.asdict(),
        "share": shares[most], "share_of": most, "slowest": max(built, key=lambda name: built[name].cycles),
        "folds": {name: str(c.fold) for name, c in built.items()},
    }  # fmt: skip


def _merged(rows: list[dict[str, Any]], same: Callable[[dict[str, Any]], Hashable]) -> list[dict[str, Any]]:
    """The first of all rows alike: several targets may lead to one design."""
    found: dict[Hashable, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(same(row), row)
    return list(found.values())


def _marked(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The points with `dominated`, numbered by board, the fastest first. Of points alike in rate and share one is not."""
    order = sorted(points, key=lambda p: (p["board"], -p["frames_per_second"], p["share"], list(STYLES).index(p["style"])))
    found: list[dict[str, Any]] = []
    for number, point in enumerate(order, 1):
        least = min((p["share"] for p in found if p["board"] == point["board"]), default=float("inf"))
        found.append({"point": number} | point | {"dominated": point["share"] >= least})
    return found
