"""The numpy reference: the meaning of a graph."""

from __future__ import annotations

import numpy as np

from edgeq.blas import one_thread
from edgeq.errors import EdgeqError
from edgeq.graph import Graph

BATCH = 64
"""Frames whose tensors are held at once."""


class ReferenceEngine:
    """Runs a graph on int64 numpy arrays and checks each tensor against its inferred range."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.types = graph.check()

    def run(self, x: np.ndarray) -> np.ndarray:
        """x: [N, *input shape] -> [N, *output shape], int64."""
        starts = range(0, max(len(x), 1), BATCH)
        return np.concatenate([self.run_all(x[i : i + BATCH])[self.graph.output] for i in starts])

    def run_all(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Every tensor of the graph by name."""
        if not self.graph.input_type.admits(x):
            raise EdgeqError(f"the input does not fit {self.graph.input_type}", where=self.graph.input)
        values = {self.graph.input: x.astype(np.int64)}
        with one_thread():
            for node in self.graph.nodes:
                y = node.op.reference(*(values[name] for name in node.inputs))
                if not self.types[node.output].admits(y):
                    raise AssertionError(f"{node.name}: the reference leaves the inferred type {self.types[node.output]}")
                values[node.output] = y
        return values
