"""How parallel each operator is built. A fold never changes what the graph means."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fold:
    """mode "pixel": one pixel a cycle, no choice; "unrolled": constant weights as logic, one patch a cycle;
    "folded": pe output channels x simd terms a cycle, weights in memory, (Cout/pe)*(K/simd) cycles a patch.
    mst: an unrolled binary layer is built along its minimum spanning tree, else directly.
    """

    mode: str = "pixel"
    pe: int = 1
    simd: int = 1
    mst: bool = True
