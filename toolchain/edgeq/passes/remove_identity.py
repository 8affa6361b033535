"""Remove operators that give their input back.

Rules:
1. A node whose operator says that it is an identity for its input's type goes; its readers read its input.
2. A node that makes the graph's output goes too, unless it reads the graph's input: the output is then its input.
"""

from __future__ import annotations

from dataclasses import replace

from edgeq.graph import Graph, Node
from edgeq.passes.runner import Condition, Pass


def is_identity(graph: Graph, node: Node) -> bool:
    x = graph.types()[node.inputs[0]]
    return node.op.arity == 1 and node.op.is_identity(x) and not (node.output == graph.output and node.inputs[0] == graph.input)


def rewrite(graph: Graph) -> Graph:
    names: dict[str, str] = {}
    nodes = []
    for node in graph.nodes:
        if is_identity(graph, node):
            names[node.output] = names.get(node.inputs[0], node.inputs[0])
        else:
            nodes.append(replace(node, inputs=tuple(names.get(name, name) for name in node.inputs)))
    return replace(graph, nodes=nodes, output=names.get(graph.output, graph.output))


def _first(graph: Graph) -> Node | None:
    return next((node for node in graph.nodes if is_identity(graph, node)), None)


NO_IDENTITY = Condition("no operator gives its input back", _first)
REMOVE_IDENTITY = Pass("remove_identity", rewrite, ensures=(NO_IDENTITY,))
