"""A spanning tree as a picture: SVG, one file a tree, no script, no name from the model."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from edgeq.mst import SpanningTree

RING = 46
"""Pixels between two levels."""
RADIUS = (3.0, 9.0)
"""Pixels of the smallest and the largest channel."""
TITLE_HEIGHT = 44


def tree_svg(tree: SpanningTree, title: str) -> str:
    """The tree with its root in the middle and its levels on rings; a channel's leaves share its sector (Eades, 1992).

    A disc is a channel, its area the terms that it sums; a dashed edge is a complement edge. Titles of the discs, which
    browsers show at the pointer, say which channel is computed from which, and how many terms they differ in.
    title: text of the first line, escaped here.
    """
    channels, terms = tree.weight.shape
    level, angle = _positions(tree)
    half = RING * (int(level.max()) + 1)
    x, y = (half + RING * level * np.array([f(a) for a in angle]) for f in (cos, sin))
    y += TITLE_HEIGHT
    least, most = RADIUS
    distance = tree.distance
    child = tree.parent >= 0
    scale = max(1, int(distance[child].max(initial=1)))
    radius = np.where(child, least + (most - least) * np.sqrt(distance / scale), most)
    summary = (
        f"{channels} channels of {terms} terms; depth {tree.depth}; {tree.additions:,} terms summed of {channels * terms:,} "
        f"({tree.additions / (channels * terms):.1%})"
    )
    width, height = max(2 * half, 520), 2 * half + TITLE_HEIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="8" y="18" font-weight="bold">{_escaped(title)}</text>',
        f'<text x="8" y="36">{summary}</text>',
    ]
    for c in map(int, np.flatnonzero(child)):
        p = int(tree.parent[c])
        dash = ' stroke-dasharray="4 3"' if tree.complement[c] else ""
        lines.append(f'<line x1="{x[p]:.1f}" y1="{y[p]:.1f}" x2="{x[c]:.1f}" y2="{y[c]:.1f}" stroke="#999"{dash}/>')
    for c in range(channels):
        p = int(tree.parent[c])
        sign = "minus " if tree.complement[c] else ""
        told = f"channel {c}: root, {terms} terms" if p < 0 else f"channel {c}: {sign}channel {p} and {distance[c]} terms"
        look = 'class="root" fill="#c33"' if p < 0 else 'fill="#36a"'
        lines.append(f'<circle cx="{x[c]:.1f}" cy="{y[c]:.1f}" r="{radius[c]:.1f}" {look}><title>{told}</title></circle>')
    return "\n".join([*lines, "</svg>", ""])


def _positions(tree: SpanningTree) -> tuple[np.ndarray, np.ndarray]:
    """Of each channel its level, and its angle: the middle of a sector as wide as its leaves are many."""
    channels = len(tree.parent)
    level, leaves = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    below: list[list[int]] = [[] for _ in range(channels)]
    roots = []
    for c in map(int, tree.order):
        if (p := int(tree.parent[c])) < 0:
            roots.append(c)
        else:
            level[c] = level[p] + 1
            below[p].append(c)
    for c in map(int, tree.order[::-1]):
        leaves[c] = sum(leaves[n] for n in below[c]) or 1
    start = np.zeros(channels)
    _fan_out(roots, 0.0, leaves, start)
    for c in map(int, tree.order):
        _fan_out(below[c], start[c], leaves, start)
    total = sum(leaves[c] for c in roots)
    return level, 2 * pi * (start + leaves / 2) / total


def _fan_out(nodes: list[int], at: float, leaves: np.ndarray, start: np.ndarray) -> None:
    """Sectors side by side from `at` on, in leaves."""
    for c in nodes:
        start[c] = at
        at += leaves[c]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
