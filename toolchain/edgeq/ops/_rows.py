"""What operators along the rows of an image share: the distance of every element from the largest of its row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import IntType
from edgeq.hardware import EMIT, READ, TAKE, Cost, Stage, memory_cost
from edgeq.ops import _cost, _rtl

if TYPE_CHECKING:
    from edgeq.lower.onnx import Body


def distances(body: Body, x: str) -> str:
    """The largest of a row minus x, in int32 where that holds it, else int64."""
    t = body.type(x)
    wide = np.int32 if max(-t.lo, t.hi, t.hi - t.lo) >> 31 == 0 else np.int64
    top = body.largest(x, 3, t.shape[2])
    return body.op("Sub", body.cast(top, wide), body.cast(x, wide))


def params(x: IntType) -> dict[str, int | str]:
    """Those of eq_row_distance.sv."""
    return {"Keys": x.shape[2], "Channels": x.channels, **_rtl.one_input(x)}


def store(x: IntType) -> Stage:
    """The writing of rows in eq_row_distance: two are kept, and a row is there with its last beat."""
    row = bytes([READ | TAKE]) * (x.shape[2] - 1) + bytes([READ | TAKE | EMIT])
    return Stage(row * x.shape[1], depth=2)


def read(x: IntType, does: int, depth: int, latency: int) -> Stage:
    """The reading of a row, beat by beat.  does: EMIT with each beat, or else with the last one only."""
    row = bytes([READ | does]) * (x.shape[2] - 1) + bytes([READ | TAKE | EMIT])
    return Stage(row * x.shape[1], depth, latency)


def cost(x: IntType) -> Cost:
    """eq_row_distance: the rows, the largest, the differences."""
    bits = x.channels * x.width
    return memory_cost(bits, 2 * x.shape[2]) + _cost.fifo(bits, 2) + Cost(lut=2 * bits, ff=3 * bits)
