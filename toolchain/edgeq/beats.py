"""Streams whose beats are the reader's: between two operators of different beats a WidthConverter, or two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import gcd

from edgeq.fold import Fold, input_beat
from edgeq.graph import Graph, Node
from edgeq.ops.width_converter import WidthConverter


def fitted(graph: Graph, folds: Mapping[str, Fold]) -> tuple[Graph, dict[str, Fold]]:
    """The graph and its folds with converters where a beat of a tensor (`Fold.narrow`) is not what its reader takes.

    The network's output carries whole pixels. Readers that take the same share a converter; the graph means the same.
    """
    types, found = graph.types(), dict(folds)
    converters: dict[tuple[str, int], str] = {}
    carried = {graph.input: graph.input_type.channels}
    made = replace(graph, nodes=[])
    if input_beat(graph, folds) > 1:  # for one reader, which takes them
        carried[graph.input] *= input_beat(graph, folds)

    def converted(tensor: str, channels: int) -> str:
        """The tensor in beats of so many channels."""
        given = carried[tensor]
        if channels == given:
            return tensor
        if (tensor, channels) not in converters:
            shared = gcd(given, channels)
            source = tensor if shared in (given, channels) else converted(tensor, shared)
            name, output = (_unused(f"{kind}_{len(made.nodes)}", taken) for kind, taken in (("width", nodes), ("wide", tensors)))
            made.nodes.append(Node(name, WidthConverter(), (source,), output))
            found[name] = Fold("folded", pe=channels, simd=carried[source], narrow=True)
            nodes.add(name)
            tensors.add(output)
            converters[tensor, channels], carried[output] = output, channels
        return converters[tensor, channels]

    nodes, tensors = {node.name for node in graph.nodes}, set(types)
    for node in graph.nodes:
        xs = [types[name] for name in node.inputs]
        wanted, channels = node.op.beats(folds[node.name], *xs)
        wanted = tuple(w * folds[node.name].beat for w in wanted)
        inputs = tuple(converted(name, each) for name, each in zip(node.inputs, wanted, strict=True))
        made.nodes.append(replace(node, inputs=inputs))
        carried[node.output] = channels
    made.output = converted(graph.output, types[graph.output].channels)
    return made, found


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name
