"""Build an elementwise operator into the layer before it: one piece of hardware, no wide stream between.

Rules:
1. `layer -> elementwise` becomes the layer with the field `post` where the layer absorbs one and has none yet, and the
   elementwise operator is the only reader of the layer and one that eq_post.sv can build.
2. A layer whose sums are read twice, or are the graph's output, stays as it is.
3. The fused node keeps the layer's name and makes the elementwise operator's tensor.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from edgeq.graph import Graph, Node
from edgeq.ops._rtl import Fusible
from edgeq.passes.runner import Condition, Pass


def post(node: Node) -> object:
    return getattr(node.op, "post", None)


def partner(graph: Graph, readers: dict[str, list[Node]], node: Node) -> Node | None:
    """The elementwise operator that rule 1 builds into `node`."""
    if not node.op.absorbs_post or post(node) is not None or node.output == graph.output:
        return None
    (reader, *others) = readers[node.output]
    return reader if not others and reader.op.elementwise and isinstance(reader.op, Fusible) else None


def rewrite(graph: Graph) -> Graph:
    readers = graph.consumers()
    fused: dict[str, Node] = {}
    gone = set()
    for node in graph.nodes:
        reader = partner(graph, readers, node)
        if reader is not None:
            layer: Any = node.op
            fused[node.name] = dataclasses.replace(node, op=dataclasses.replace(layer, post=reader.op), output=reader.output)
            gone.add(reader.name)
    nodes = [fused.get(node.name, node) for node in graph.nodes if node.name not in gone]
    return dataclasses.replace(graph, nodes=nodes)


def _first(graph: Graph) -> Node | None:
    readers = graph.consumers()
    return next((node for node in graph.nodes if partner(graph, readers, node)), None)


UNFUSED = Condition("no layer has a fused operator", lambda graph: next((n for n in graph.nodes if post(n) is not None), None))
FUSED = Condition("every layer that can has its elementwise operator fused", _first)
FUSE_POST = Pass("fuse_post", rewrite, requires=(UNFUSED,), ensures=(FUSED,))
