"""Move thresholds and requantizations in front of max pools and upsampling, where words are narrow and can be fused.

For a function f that never falls, f(max(x)) = max(f(x)), and copying elements commutes with any f.

Rules:
1. `selecting -> elementwise` becomes `elementwise -> selecting` where the elementwise operator rises in every channel, is
   the only reader of the selecting one, and gives no wider words than it reads.
2. A falling channel stops it: the largest input is then the smallest output.
3. The nodes keep their names, and the last of the pair the tensor's name; rule 1 is applied until it fits nowhere.
"""

from __future__ import annotations

from dataclasses import replace

from edgeq.graph import Graph, Node
from edgeq.passes.runner import Condition, Pass


def swappable(graph: Graph) -> tuple[int, int] | None:
    """Positions of the first (selecting, elementwise) pair that rule 1 fits."""
    types, readers = graph.types(), graph.consumers()
    position = {node.name: i for i, node in enumerate(graph.nodes)}
    for i, first in enumerate(graph.nodes):
        if not first.op.selects or first.output == graph.output or len(readers[first.output]) != 1:
            continue
        (second,) = readers[first.output]
        op = second.op
        if op.elementwise and op.rises() and types[second.output].width <= types[first.output].width:
            return i, position[second.name]
    return None


def rewrite(graph: Graph) -> Graph:
    nodes = list(graph.nodes)
    while pair := swappable(graph):
        i, j = pair
        first, second = nodes[i], nodes[j]
        nodes[i] = replace(second, inputs=first.inputs, output=first.output)
        nodes[j] = replace(first, inputs=(first.output,), output=second.output)
        graph = replace(graph, nodes=nodes)
    return graph


def _first(graph: Graph) -> Node | None:
    pair = swappable(graph)
    return graph.nodes[pair[1]] if pair else None


HOISTED = Condition("rising elementwise operators come before max pools and upsampling", _first)
HOIST_ELEMENTWISE = Pass("hoist_elementwise", rewrite, ensures=(HOISTED,))
