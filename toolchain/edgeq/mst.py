"""Weights of -1 and +1 -> minimum spanning tree -> delta program -> SystemVerilog.

MST-compression (ICCV 2023, arXiv 2308.13735): output channels of a binary layer differ in few weights, so a channel is
computed from another one. With D the terms where the weights of channel c and its parent p differ,

    y[c] = y[p] + 2 * sum over D of w[c] * x

and, where they are equal on few terms E instead (the complement edge, ours), y[c] = -y[p] + 2 * sum over E of w[c] * x.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import range_width


@dataclass(frozen=True, eq=False)
class SpanningTree:
    """How each of C channels is computed from another one.

    parent: int64 [C], -1 for a root. complement: bool [C], True where the parent is negated. order: int64 [C], parents
    before children. terms: for each channel the indices of the summed terms, ascending: all of them for a root.
    weight: int64 [C, K].
    """

    weight: np.ndarray
    parent: np.ndarray
    complement: np.ndarray
    order: np.ndarray
    terms: tuple[np.ndarray, ...]

    @property
    def distance(self) -> np.ndarray:
        """Terms summed for each channel, int64 [C]."""
        return np.array([len(t) for t in self.terms], np.int64)

    @property
    def additions(self) -> int:
        """Terms summed for all channels: K + the sum of the distances. Without a tree it is C * K."""
        return int(self.distance.sum())

    @property
    def depth(self) -> int:
        """Edges between the root and the channel farthest from it."""
        return int(_levels(self.order, self.parent).max())

    def run(self, x: np.ndarray) -> np.ndarray:
        """The delta program itself.  x: [N, K] of -1, 0 (a padded term) and +1 -> int64 [N, C] = x @ weight.T."""
        y = np.zeros((len(x), len(self.parent)), np.int64)
        for c in self.order:
            total = x[:, self.terms[c]] @ self.weight[c, self.terms[c]]
            if (p := self.parent[c]) >= 0:
                total = 2 * total + (-y[:, p] if self.complement[c] else y[:, p])
            y[:, c] = total
        return y


def spanning_tree(weight: np.ndarray, complement_cost: int | None = None, max_depth: int | None = None) -> SpanningTree:
    """The tree of least total cost over all channels, rooted at its centre (least depth).

    weight: [C, K] of -1 and +1. An edge costs d, the number of differing weights, or K - d + complement_cost as a
    complement edge, whichever is less. complement_cost: None takes what it costs in LUT to invert the parent's word; with 0
    the total distance is the least there is. Prim's algorithm on the dense matrix, O(C^2 K); ties go to the lower channel.
    max_depth: at most so many edges from the root, for latency (1 or more). The least total cost is then NP-hard to find
    (bounded-depth spanning tree): a local search, never better than the unbounded tree, and equal to it where that is shallow.
    """
    weight = _binary(weight)
    channels, terms = weight.shape
    if max_depth is not None and max_depth < 1:
        raise EdgeqError(f"a spanning tree of depth {max_depth} was asked for", fix="1 or more, or none for no limit")
    if complement_cost is None:
        complement_cost = accumulator_width(terms) - 2
    w = weight.astype(np.float32)  # exact: sums of at most 2^24 ones
    differ = (terms - (w @ w.T).astype(np.int64)) // 2
    cost = np.minimum(differ, terms - differ + complement_cost)
    neighbours = _prim(cost)
    order, parent = _walk(neighbours, _centre(neighbours))
    if max_depth is not None and _levels(order, parent).max() > max_depth:
        order, parent = _shallow(cost, order, parent, max_depth)
    above = np.maximum(parent, 0)
    each = np.arange(channels)
    complement = (parent >= 0) & (differ[each, above] > cost[each, above])
    used = (weight == weight[above]) == complement[:, None]
    used[order[0]] = True
    return SpanningTree(weight, parent, complement, order, tuple(np.flatnonzero(row) for row in used))


def direct(weight: np.ndarray) -> SpanningTree:
    """No tree: every channel is a root."""
    weight = _binary(weight)
    channels, terms = weight.shape
    return SpanningTree(
        weight, np.full(channels, -1), np.zeros(channels, bool), np.arange(channels), (np.arange(terms),) * channels
    )


def _binary(weight: np.ndarray) -> np.ndarray:
    if weight.ndim != 2 or 0 in weight.shape or not np.all(np.abs(weight) == 1):
        raise EdgeqError(f"a spanning tree needs weights of -1 and +1, not {weight.dtype} {weight.shape}", fix="[Cout, K]")
    return weight.astype(np.int64)


def _prim(cost: np.ndarray) -> list[list[int]]:
    """The neighbours of each channel in a minimum spanning tree of the symmetric matrix `cost`."""
    channels = len(cost)
    neighbours: list[list[int]] = [[] for _ in range(channels)]
    nearest, least = np.zeros(channels, np.int64), cost[0].copy()
    outside = np.ones(channels, bool)
    outside[0] = False
    for _ in range(channels - 1):
        c = int(np.where(outside, least, np.iinfo(np.int64).max).argmin())
        p = int(nearest[c])
        neighbours[p].append(c)
        neighbours[c].append(p)
        outside[c] = False
        closer = outside & (cost[c] < least)
        nearest[closer], least[closer] = c, cost[c][closer]
    return neighbours


def _levels(order: np.ndarray, parent: np.ndarray) -> np.ndarray:
    """Edges from each channel to its root."""
    level = np.zeros(len(parent), np.int64)
    for c in order:
        if parent[c] >= 0:
            level[c] = level[parent[c]] + 1
    return level


def _shallow(cost: np.ndarray, order: np.ndarray, parent: np.ndarray, max_depth: int) -> tuple[np.ndarray, np.ndarray]:
    """A tree of limited depth: the cheaper of two starts, each improved by moving subtrees until no move pays.

    One start is the given tree, whose channels that are too deep go below their cheapest shallow one. The other is grown
    from the medoid, nearest channel first.
    """
    level = _levels(order, parent)
    cut = parent.copy()
    shallow = level < max_depth
    for deep in np.flatnonzero(level > max_depth):
        cut[deep] = np.where(shallow, cost[deep], np.iinfo(np.int64).max).argmin()
    grown = np.full(len(parent), -1)
    medoid = int(cost.sum(axis=1).argmin())
    depth = np.zeros(len(parent), np.int64)
    nearest, least = np.full(len(parent), medoid), cost[medoid].copy()
    outside = np.arange(len(parent)) != medoid
    while outside.any():
        c = int(np.where(outside, least, np.iinfo(np.int64).max).argmin())
        grown[c], depth[c], outside[c] = nearest[c], depth[nearest[c]] + 1, False
        if depth[c] < max_depth:
            closer = outside & (cost[c] < least)
            nearest[closer], least[closer] = c, cost[c][closer]
    best = min((_improved(cost, start, max_depth) for start in (cut, grown)), key=lambda p: _total(cost, p))
    return _breadth_first(best), best


def _total(cost: np.ndarray, parent: np.ndarray) -> int:
    children = np.flatnonzero(parent >= 0)
    return int(cost[children, parent[children]].sum())


def _breadth_first(parent: np.ndarray) -> np.ndarray:
    neighbours: list[list[int]] = [[] for _ in parent]
    for c in np.flatnonzero(parent >= 0):
        neighbours[parent[c]].append(int(c))
    return _walk(neighbours, int(np.flatnonzero(parent < 0)[0]))[0]


def _improved(cost: np.ndarray, parent: np.ndarray, max_depth: int) -> np.ndarray:
    """The tree after moves of a channel with its subtree to the cheapest parent that the limit allows, while one pays."""
    parent = parent.copy()
    level, height = _extent(parent)
    moved = True
    while moved:
        moved = False
        for c in np.flatnonzero(parent >= 0):
            better = np.flatnonzero((cost[c] < cost[c, parent[c]]) & (level + 1 + height[c] <= max_depth))
            for p in map(int, better[np.argsort(cost[c, better], kind="stable")]):
                if not _is_above(parent, int(c), p):
                    parent[c] = p
                    level, height = _extent(parent)
                    moved = True
                    break
    return parent


def _extent(parent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each channel the edges to the root, and the edges to the farthest channel below it."""
    order = _breadth_first(parent)
    height = np.zeros(len(parent), np.int64)
    for c in map(int, order[:0:-1]):
        height[parent[c]] = max(height[parent[c]], height[c] + 1)
    return _levels(order, parent), height


def _is_above(parent: np.ndarray, c: int, below: int) -> bool:
    """True where `below` is c, or a channel computed from it."""
    while below >= 0 and below != c:
        below = int(parent[below])
    return below == c


def _walk(neighbours: list[list[int]], start: int) -> tuple[np.ndarray, np.ndarray]:
    """Breadth first from `start`: channels in order, and the parent of each."""
    parent = np.full(len(neighbours), -2)
    parent[start] = -1
    order, queue = [], deque([start])
    while queue:
        c = queue.popleft()
        order.append(c)
        for n in sorted(neighbours[c]):
            if parent[n] == -2:
                parent[n] = c
                queue.append(n)
    return np.array(order), parent


def _centre(neighbours: list[list[int]]) -> int:
    """The middle of a longest path: two walks."""
    end = int(_walk(neighbours, 0)[0][-1])
    order, parent = _walk(neighbours, end)
    path = [int(order[-1])]
    while parent[path[-1]] >= 0:
        path.append(int(parent[path[-1]]))
    return path[len(path) // 2]


def accumulator_width(terms: int) -> int:
    """Bits of a sum of `terms` values of -1, 0 and +1, two's complement."""
    return range_width(-terms, terms)
