"""The picture of a network: one operator a row, in the order of the hardware; a stream that passes it by has a lane beside it.

As `git log --graph` draws history. Every row is as wide as the others whatever forks, so a picture fits a telephone as well, and
falls into pieces wherever a single stream goes on, which a browser may put side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BOX = (272, 78)
"""Pixels of an operator's box: width, height."""
TERMINAL_HEIGHT = 34
GAP = 46
"""Pixels between two boxes, where the stream between them is described."""
LANE = 16
"""Pixels from lane to lane."""
TRUNK = 28
"""Pixels from a box's left edge to the stream that leaves it below and enters it above."""
TURN = 15
"""Pixels below a box at which its output turns to a lane."""
ROUND = 6
MARGIN = 3


@dataclass(frozen=True)
class Row:
    """What one row shows. reads: tensors, by input. makes: tensor, or None at the network's output."""

    reads: tuple[str, ...]
    makes: str | None


@dataclass(frozen=True)
class Box:
    """Row number and place of a box, in pixels of its piece."""

    row: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Label:
    """Where the text of a stream goes: its left end, on the base line."""

    tensor: str
    x: float
    y: float


@dataclass(frozen=True)
class Piece:
    """A part of the picture that is not to be broken. lines: SVG paths. arrows: tips, (x, y, direction "down" or "right").
    dots: where a stream forks. entries: (row, input): where that stream ends."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    labels: tuple[Label, ...]
    lines: tuple[str, ...]
    arrows: tuple[tuple[float, float, str], ...]
    dots: tuple[tuple[float, float], ...]
    entries: Mapping[tuple[int, int], tuple[float, float]]


def layout(rows: Sequence[Row]) -> list[Piece]:
    """The picture of rows in execution order; the first makes the network's input, the last reads its output."""
    lanes = _lanes(rows)
    left = MARGIN + LANE * (1 + max((lane for _, _, lane in lanes.values()), default=-1))
    left += MARGIN if lanes else 0
    pieces, first = [], 0
    for row in [*range(1, len(rows) - 2), len(rows) - 1]:  # the two ends stay with their operators
        if not any(start <= row < end for start, end, _ in lanes.values()):
            pieces.append(_piece(rows, first, row + 1, lanes, left))
            first = row + 1
    return pieces


def _lanes(rows: Sequence[Row]) -> dict[str, tuple[int, int, int]]:
    """Tensors that pass by at least one row: (row that makes it, last row that reads it, lane from the boxes outwards).

    The shortest get the inner lanes: of streams one around the other, none crosses another.
    """
    made = {row.makes: i for i, row in enumerate(rows) if row.makes is not None}
    last = {name: i for i, row in enumerate(rows) for name in row.reads}
    passing = [(last[name] - start, start, name) for name, start in made.items() if last.get(name, start) > start + 1]
    lanes: dict[str, tuple[int, int, int]] = {}
    for length, start, name in sorted(passing):
        end = start + length
        taken = {lane for a, b, lane in lanes.values() if a < end and start < b}
        lanes[name] = (start, end, next(lane for lane in range(len(lanes) + 1) if lane not in taken))
    return lanes


def _piece(rows: Sequence[Row], first: int, stop: int, lanes: Mapping[str, tuple[int, int, int]], left: float) -> Piece:
    """Rows first..stop - 1, and the stream that leaves the last of them."""
    boxes: dict[int, Box] = {}
    y = 0.0
    for i in range(first, stop):
        height = TERMINAL_HEIGHT if i in (0, len(rows) - 1) else BOX[1]
        boxes[i] = Box(i, left, y, BOX[0], height)
        y += height + (GAP if i < len(rows) - 1 else MARGIN)
    trunk = left + TRUNK
    lines: list[str] = []
    arrows: list[tuple[float, float, str]] = []
    dots: list[tuple[float, float]] = []
    labels: list[Label] = []
    entries: dict[tuple[int, int], tuple[float, float]] = {}
    for i, box in boxes.items():
        name = rows[i].makes
        if name is None:
            continue
        bottom = box.y + box.height
        labels.append(Label(name, trunk + 14, bottom + GAP / 2 + 4))
        straight = name in rows[i + 1].reads
        if straight:
            lines.append(f"M{trunk:g} {bottom:g}V{bottom + GAP - 1:g}")
            arrows.append((trunk, bottom + GAP, "down"))
        if name in lanes:
            x, turn = left - MARGIN - LANE * (lanes[name][2] + 0.5), bottom + TURN
            start = f"M{trunk:g} {turn:g}" if straight else f"M{trunk:g} {bottom:g}V{turn - ROUND:g}q0 {ROUND} -{ROUND} {ROUND}"
            end = _port(rows, lanes, lanes[name][1], name, boxes)[-1][1]
            lines.append(
                f"{start}H{x + ROUND:g}q-{ROUND} 0 -{ROUND} {ROUND}V{end - ROUND:g}q0 {ROUND} {ROUND} {ROUND}H{left - 1:g}"
            )
            if straight:
                dots.append((trunk, turn))
    for i, box in boxes.items():
        for port, name in enumerate(rows[i].reads):
            if i > 0 and name == rows[i - 1].makes:
                entries[i, port] = (trunk, box.y - 16)
        for name in dict.fromkeys(n for n in rows[i].reads if n in lanes and n != rows[i - 1].makes):
            x = left - MARGIN - LANE * (lanes[name][2] + 0.5)
            for port, at in _port(rows, lanes, i, name, boxes):
                entries[i, port] = (x, at - 16)
                arrows.append((left, at, "right"))
                if (i, at) != (lanes[name][1], _port(rows, lanes, lanes[name][1], name, boxes)[-1][1]):
                    lines.append(f"M{x:g} {at:g}H{left - 1:g}")
                    dots.append((x, at))
    return Piece(
        left + BOX[0] + MARGIN, y, tuple(boxes.values()), tuple(labels), tuple(lines), tuple(arrows), tuple(dots), entries
    )


def _port(
    rows: Sequence[Row], lanes: Mapping[str, tuple[int, int, int]], row: int, name: str, boxes: Mapping[int, Box]
) -> list[tuple[int, float]]:
    """(input, height) of the inputs of a row that are this tensor out of its lane, from the top down."""
    aside = [port for port, n in enumerate(rows[row].reads) if n in lanes and n != rows[row - 1].makes]
    step = boxes[row].height / (len(aside) + 1)
    return [(port, boxes[row].y + step * (k + 1)) for k, port in enumerate(aside) if rows[row].reads[port] == name]
