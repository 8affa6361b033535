"""The pass runner: what a pass needs and promises, and the proof after every pass that the graph still means the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgeq.engines.reference import ReferenceEngine
from edgeq.errors import EdgeqError
from edgeq.graph import Graph, Node

PROBE_FRAMES = 3
"""Frames of the probe batch: the two ends of the input's range, and a random one."""


@dataclass(frozen=True)
class Condition:
    """A property of a graph. broken: the first node that lacks it, or None."""

    name: str
    broken: Callable[[Graph], Node | None]


@dataclass(frozen=True)
class Pass:
    """A rewrite of the graph. requires, ensures: conditions that hold before, and after."""

    name: str
    rewrite: Callable[[Graph], Graph]
    requires: tuple[Condition, ...] = ()
    ensures: tuple[Condition, ...] = ()


def run_passes(graph: Graph, passes: Sequence[Pass]) -> Graph:
    """The graph after every pass in turn.

    Rule 4 of docs/design.md: after each pass Graph.check() holds, the reference gives the same integers on a fixed
    probe batch, and input and output keep their names and the input its type. Raises EdgeqError that names the pass,
    those before it, the operator and the first differing element.
    """
    graph.check()
    probe = graph.input_type.random(np.random.default_rng(0), PROBE_FRAMES)
    expected = ReferenceEngine(graph).run_all(probe)
    done: list[str] = []
    for step in passes:
        where = f"pass {step.name!r} after {done}"
        _hold(graph, step.requires, "needs", where)
        made = step.rewrite(graph)
        try:
            made.check()
        except EdgeqError as error:
            raise EdgeqError(f"leaves a graph that is not well formed: {error.what}", where=f"{where}, {error.where}") from error
        if (made.input, made.input_type) != (graph.input, graph.input_type):
            raise EdgeqError("changes the graph's input", where=where)
        _hold(made, step.ensures, "does not ensure", where)
        found = ReferenceEngine(made).run_all(probe)
        _same(expected, graph.output, found, made, where)
        graph, expected = made, found
        done.append(step.name)
    return graph


def _hold(graph: Graph, conditions: tuple[Condition, ...], verb: str, where: str) -> None:
    for condition in conditions:
        node = condition.broken(graph)
        if node is not None:
            raise EdgeqError(f"{verb} {condition.name!r}, which {node.op.kind()} {node.name!r} breaks", where=where)


def _same(expected: dict[str, np.ndarray], output: str, found: dict[str, np.ndarray], graph: Graph, where: str) -> None:
    """The output must be equal; a difference is blamed on the first tensor of the same name that differs."""
    if np.array_equal(expected[output], found[graph.output]):
        return
    for node in graph.nodes:
        before = expected.get(output if node.output == graph.output else node.output)
        after = found[node.output]
        if before is None or np.array_equal(before, after):
            continue
        detail = f"shape {after.shape} for {before.shape}"
        if before.shape == after.shape:
            at = tuple(int(i) for i in np.argwhere(before != after)[0])
            detail = f"element {list(at)} is {after[at]}, was {before[at]}"
        raise EdgeqError(f"changes what {node.op.kind()} {node.name!r} computes: {detail}", where=where)
    raise EdgeqError(f"changes the output {output!r}", where=where)
