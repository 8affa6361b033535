"""Let tokens wait for their keys once: the queries are made from the tensor that the residual stores anyway.

Attention takes its first query when it has all keys, so queries wait for a frame, and so does what is added behind it. Where both
come from one tensor x through a chain of operators (a layer normalization), and the keys too, that chain is built twice, and one
of the two and all other readers of x get it from behind a buffer. Then only x is stored.

Rules:
1. An operator whose second input is stored whole (`Op.stores_second`) has its first and its second input traced back through
   operators of one input, what is between them read by nobody else, to the same tensor n.
2. n is traced back in the same way to a tensor x that others read too. Where n is x or nobody else reads x, nothing is done.
3. x gets a buffer (a WidthConverter of equal widths, in front of which the schedule puts a FIFO); the path to the first input
   gets operators of its own between x and n. They and the other readers of x read the buffer. Where an operator before has made
   them, the path reads those.
"""

from __future__ import annotations

from dataclasses import replace

from edgeq.graph import Graph, Node
from edgeq.ops.width_converter import WidthConverter
from edgeq.passes.runner import Pass


def rewrite(graph: Graph) -> Graph:
    for node in graph.nodes:
        if node.op.stores_second:
            graph = _buffered(graph, node) or graph
    return graph


def _buffered(graph: Graph, node: Node) -> Graph | None:
    """Rule 3 for one operator; None where rules 1 and 2 do not hold."""
    makers, readers = {made.output: made for made in graph.nodes}, graph.consumers()

    def back(tensor: str) -> list[Node]:
        """The operators up to `tensor`, the last first."""
        path: list[Node] = []
        while (made := makers.get(tensor)) and len(made.inputs) == 1 and (not path or len(readers[tensor]) == 1):
            path.append(made)
            (tensor,) = made.inputs
        return path

    first, second = (back(tensor) for tensor in node.inputs)
    if not first or not second or first[-1].inputs != second[-1].inputs or first[-1] is second[-1]:
        return None
    (shared,) = first[-1].inputs
    chain = back(shared)
    if not chain:
        return None
    (source,) = chain[-1].inputs
    others = [reader for reader in readers[source] if reader is not chain[-1]]
    if not others or source == graph.output:
        return None
    buffer = f"{chain[-1].name}_buffer"
    copies = {made.output: f"{made.output}_again" for made in chain} | {source: buffer}
    again = [
        replace(made, name=f"{made.name}_again", inputs=tuple(copies[name] for name in made.inputs), output=copies[made.output])
        for made in reversed(chain)
    ]
    there = copies[shared] in makers
    nodes: list[Node] = []
    for made in graph.nodes:
        if made is chain[-1] and not there:
            nodes += [Node(buffer, WidthConverter(), (source,), buffer), *again]
        if made is first[-1]:
            made = replace(made, inputs=(copies[shared],))
        elif made in others and not there:
            made = replace(made, inputs=tuple(buffer if name == source else name for name in made.inputs))
        nodes.append(made)
    return replace(graph, nodes=nodes)


WAIT_BEFORE = Pass("wait_before", rewrite)
