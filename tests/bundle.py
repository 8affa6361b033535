"""Many operators in one graph, with one input and one output, so that they share one compilation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeq.graph import Graph, IntType, Node, Op
from edgeq.ops.concat import Concat
from edgeq.ops.dense import Dense
from edgeq.ops.rearrange import Rearrange
from edgeq.ops.requantize import Requantize
from edgeq.ops.threshold import Threshold

FEATURES = 64
INPUT_BITS = 16
READERS = 6
"""Operators fed by one copy of the input; hls4ml copies a stream seven times at most."""


@dataclass(frozen=True)
class Bundle:
    """graph: vector in, vector out.  spans: for each operator the elements of the output that are its own.

    Operator k is the node "op<k>". Each of its inputs is elements of the graph's input, chosen at random with repetition and
    stretched over the input type's whole range.
    """

    graph: Graph
    spans: list[slice]


def feasible(types: tuple[IntType, ...]) -> bool:
    """True where `bundle` can make inputs of these types."""
    return all(t.step == 1 or _levels(t) <= 255 for t in types)


def bundle(operators: list[tuple[Op, tuple[IntType, ...]]], seed: int = 0) -> Bundle:
    """operators: each with its input types."""
    rng = np.random.default_rng(seed)
    graph = Graph("x", IntType((FEATURES,), 0, (1 << INPUT_BITS) - 1))

    def add(name: str, op: Op, *inputs: str) -> str:
        graph.nodes.append(Node(name, op, inputs, name))
        return name

    hub, fed = "x", 0
    ends: list[str] = []
    spans: list[slice] = []
    for k, (op, types) in enumerate(operators):
        inputs = []
        for i, kind in enumerate(types):
            if fed % READERS == READERS - 1:
                hub = add(f"hub{fed}", _reshape((FEATURES,), (FEATURES,)), hub)
            fed += 1
            pick = np.zeros((kind.size, FEATURES), np.int64)
            pick[np.arange(kind.size), rng.integers(0, FEATURES, kind.size)] = 1
            vector = add(f"pick{k}_{i}", Dense(pick, post=stretch(graph.input_type, kind, falling=i == 1)), hub)
            inputs.append(add(f"in{k}_{i}", _reshape((kind.size,), kind.shape), vector) if len(kind.shape) == 3 else vector)
        out = op.infer(*types)
        start = spans[-1].stop if spans else 0
        spans.append(slice(start, start + out.size))
        y = add(f"op{k}", op, *inputs)
        ends.append(add(f"flat{k}", _reshape(out.shape, (out.size,)), y) if len(out.shape) == 3 else y)
    graph.output = ends[0]
    for k, end in enumerate(ends[1:], 1):
        graph.output = add(f"join{k}", Concat(), graph.output, end)
    return Bundle(graph, spans)


def _levels(kind: IntType) -> int:
    return (kind.hi - kind.lo) // kind.step


def _reshape(view: tuple[int, ...], shape: tuple[int, ...]) -> Rearrange:
    return Rearrange(view, tuple(range(len(view))), shape)


def stretch(source: IntType, kind: IntType, falling: bool = False) -> Op:
    """The whole range of `source` onto that of `kind`, rising or falling."""
    span, levels = source.hi - source.lo, _levels(kind)
    if kind.step > 1:
        edges = source.lo + np.arange(1, levels + 1, dtype=np.int64) * (span + 1) // (levels + 1)
        return Threshold(edges[None], np.array([int(falling)]), kind.lo, kind.step)
    shift = (span + 1).bit_length() - 1
    multiplier = max(1, -(-(levels << shift) // span)) * (-1 if falling else 1)
    offset = (kind.lo << shift) - min(source.lo * multiplier, source.hi * multiplier)
    return Requantize(np.array([multiplier]), np.array([offset]), shift, "floor", kind.lo, kind.hi)
