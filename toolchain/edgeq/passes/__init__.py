"""The rewrites of the graph, one file each, and the runner that proves each of them."""

from __future__ import annotations

from edgeq.graph import Graph
from edgeq.passes.fuse_post import FUSE_POST
from edgeq.passes.hoist_elementwise import HOIST_ELEMENTWISE
from edgeq.passes.remove_identity import REMOVE_IDENTITY
from edgeq.passes.runner import run_passes
from edgeq.passes.wait_before import WAIT_BEFORE


def hardware_passes(graph: Graph) -> Graph:
    """The graph as hardware builds it: no identities, narrow words early, layers with their thresholds inside."""
    return run_passes(graph, (REMOVE_IDENTITY, HOIST_ELEMENTWISE, FUSE_POST))


def narrow_passes(graph: Graph) -> Graph:
    """The graph after `hardware_passes` as narrow beats have it, where memory is short."""
    return run_passes(graph, (WAIT_BEFORE,))
