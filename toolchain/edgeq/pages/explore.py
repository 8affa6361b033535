"""explore.html: rate against budget, a plot for each board, and the table of its points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

from edgeq import __version__, records
from edgeq.board import Board
from edgeq.hardware import RESOURCES
from edgeq.pages import render, short
from edgeq.pages.build import LABELS

PAGE_FILE = "explore.html"
SIZE = (560, 340)
"""Pixels of a plot."""
FRAME = (64, 14, 14, 46)
"""Pixels left, above, right and below of its axes."""
STYLES = {
    "shared": "binary layers along spanning trees, sums shared",
    "tree": "along spanning trees alone (--no-share)",
    "direct": "without trees (--no-mst)",
}


def write(folder: Path, result: Mapping[str, Any], boards: Sequence[Board]) -> None:
    """Writes the page of what `edgeq.explore` found."""
    records.write_text(folder / PAGE_FILE, page(result, boards))


def page(result: Mapping[str, Any], boards: Sequence[Board]) -> str:
    """The page as HTML."""
    points = result["points"]
    shown = [name for name in RESOURCES if any(p[name] for p in points)]
    styles = {p["style"] for p in points}
    return render(
        "explore.html.j2",
        version=__version__,
        title=result["source"],
        points=[{**p, "anchor": f"p{p['point']}"} for p in points],
        refused=result["refused"],
        plots=[plot(board, points) for board in boards if any(p["board"] == board.name for p in points)],
        resources=shown,
        labels=LABELS,
        styles={name: meaning for name, meaning in STYLES.items() if name in styles} if len(styles) > 1 else {},
        sha256=result["sha256"],
    )


def plot(board: Board, points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Places in pixels: rate upwards, in decades, on one scale for every board; to the right the largest share of the board."""
    own = [p for p in points if p["board"] == board.name]
    rates = [p["frames_per_second"] for p in points]
    low, high = floor(log10(min(rates)) - 0.02), ceil(log10(max(rates)) + 0.02)
    right = max(0.1, ceil(10 * max(p["share"] for p in own)) / 10)
    (width, height), (left, top, aside, below) = SIZE, FRAME

    def x(share: float) -> float:
        return round(left + (width - left - aside) * share / right, 1)

    def y(rate: float) -> float:
        return round(top + (height - top - below) * (high - log10(rate)) / (high - low), 1)

    front = sorted((p for p in own if not p["dominated"]), key=lambda p: p["share"])
    corners = [(x(p["share"]), y(p["frames_per_second"])) for p in front]
    step = 0.02 if right <= 0.1 else 0.05 if right <= 0.2 else 0.1 if right <= 0.5 else 0.2
    decades = [10.0**k * m for k in range(low, high) for m in (1, 2, 5)]
    return {
        "board": board.name, "title": f"{board.title}, {board.part} at {board.clock_mhz:g} MHz",
        "width": width, "height": height, "left": left, "right": width - aside, "top": top, "bottom": height - below,
        "across": [(x(i * step), f"{100 * i * step:.0f} %") for i in range(int(right / step + 0.001) + 1)],
        "up": [(y(rate), short(rate) if i % 3 == 0 else "") for i, rate in enumerate([*decades, 10.0**high])],
        "front": "".join(f"H{across}V{up}" if i else f"M{across} {up}" for i, (across, up) in enumerate(corners)),
        "marks": [
            {**p, "x": x(p["share"]), "y": y(p["frames_per_second"]), "anchor": f"p{p['point']}"}
            for p in sorted(own, key=lambda p: not p["dominated"])
        ],
    }  # fmt: skip
