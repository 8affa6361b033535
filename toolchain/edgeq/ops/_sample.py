"""Random types, shapes and arrays for the operators' `sample()`, each from `draw(lo, hi)`, a random integer."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TypeVar

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType, Op

T = TypeVar("T")
BIPOLAR = (-1, 1, 2)


def choice(draw: Draw, options: Sequence[T]) -> T:
    return options[draw(0, len(options) - 1)]


def rare(draw: Draw, one_in: int) -> bool:
    """True once in `one_in` draws; the simplest draw is False."""
    return draw(0, one_in - 1) == one_in - 1


def array(draw: Draw, shape: tuple[int, ...], lo: int, hi: int) -> np.ndarray:
    """Random int64 in [lo, hi], often with both ends in it. One draw, however large: the values come from a seed."""
    rng = np.random.default_rng(draw(0, (1 << 32) - 1))
    values = rng.integers(lo, hi, size=shape, dtype=np.int64, endpoint=True)
    if rare(draw, 2):
        values.flat[0], values.flat[-1] = lo, hi
    return values


def signs(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Random -1 and +1."""
    return 2 * array(draw, shape, 0, 1) - 1


def image_shape(draw: Draw) -> tuple[int, int, int]:
    return draw(1, 4), draw(1, 5), draw(1, 5)


def any_shape(draw: Draw) -> tuple[int, ...]:
    """An image or a vector."""
    return (draw(1, 8),) if rare(draw, 3) else image_shape(draw)


def int_range(draw: Draw, bits: int) -> tuple[int, int, int]:
    """(lo, hi, step) of a code of at most `bits`: every element type, one-sided, lopsided and bipolar ranges."""
    b = draw(1, bits) if rare(draw, 3) else draw(1, min(bits, 5))
    top, half = (1 << b) - 1, 1 << (b - 1)
    kinds = [
        (0, top, 1),
        (-half, half - 1, 1),
        (-half, half, 1) if b < bits else (-half, half - 1, 1),
        BIPOLAR,
        (-draw(1, half), draw(0, half - 1), 1),
        (top - draw(1, half), top, 1),
        (-half, draw(1 - half, 0), 1),
    ]
    if bits > 9:
        kinds.append((-draw(1, 5), 128 + draw(0, 127), 1))  # neither uint8 nor int8 holds it
    if 3 < b < 9:
        steps = draw(2, 3)
        kinds.append((-half, -half + steps * ((half - 1) // steps), steps))
    return choice(draw, kinds)


def int_type(draw: Draw, shape: tuple[int, ...], bits: int = 34) -> IntType:
    return IntType(shape, *int_range(draw, bits))


def weights(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Random weights of at most 8 bits: signed, unsigned or ternary."""
    b = draw(1, 8)
    lo, hi = choice(draw, [(-(1 << (b - 1)), (1 << (b - 1)) - 1), (0, (1 << b) - 1), (-1, 1)])
    return array(draw, shape, lo, hi)


def spread(draw: Draw, channels: int, lo: int, hi: int) -> np.ndarray:
    """A number a channel, or one for all: [C or 1]."""
    return array(draw, (channels if rare(draw, 2) else 1,), lo, hi)


class Window:
    """A random window and an image that it fits: kernel, stride, pads, dilation and the image's H and W."""

    def __init__(self, draw: Draw, dilate: bool = True) -> None:
        self.kernel = (draw(1, 3), draw(1, 3))
        self.stride = (draw(1, 3), draw(1, 3)) if rare(draw, 2) else (1, 1)
        self.dilation = (draw(1, 2), draw(1, 2)) if dilate and rare(draw, 2) else (1, 1)
        self.pads = (draw(0, 2), draw(0, 2), draw(0, 2), draw(0, 2)) if rare(draw, 2) else (0, 0, 0, 0)
        extent = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        self.size = tuple(max(1, e - self.pads[i] - self.pads[i + 2]) + draw(0, 4) for i, e in enumerate(extent))


def legal(op: Op, x: IntType) -> bool:
    """True where op accepts x."""
    try:
        op.infer(x)
    except EdgeqError:
        return False
    return True


def regroup(draw: Draw, dims: Sequence[int]) -> tuple[int, ...]:
    """A vector or an image with as many elements as `dims`, split at two of its boundaries."""
    if rare(draw, 3):
        return (prod(dims),)
    cuts = sorted(draw(0, len(dims)) for _ in range(2))
    return prod(dims[: cuts[0]]), prod(dims[cuts[0] : cuts[1]]), prod(dims[cuts[1] :])
