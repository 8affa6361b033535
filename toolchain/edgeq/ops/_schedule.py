"""What the operators' `schedule()` share: the control of the modules of hls/rtl, cycle by cycle. Latencies are theirs."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import ceil, prod
from typing import TYPE_CHECKING

import numpy as np

from edgeq.delta import program
from edgeq.fold import Fold
from edgeq.graph import IntType
from edgeq.hardware import EMIT, READ, TAKE, Stage
from edgeq.ops._rtl import PATCH_FIFO, Window, beat_parts, fusible, is_binary, lanes, layer_digits, steps, unrolled_latency
from edgeq.schedule import cycles_alone

if TYPE_CHECKING:
    from edgeq.ops._mac import Mac

WINDOW_LATENCY = 2
"""From the last pixel of a patch to the patch, in eq_window."""


def sum_latency(terms: int) -> int:
    """Of eq_sum: a register a level of four-input adders."""
    return ((terms - 1).bit_length() + 1) // 2


def by_lanes(fold: Fold, x: IntType, depth: Callable[[int], int], latency: int) -> tuple[Stage]:
    """A beat out for a beat in, some channels a cycle.  depth: of the FIFO, from the cycles a beat."""
    parts = beat_parts(fold, x.channels)
    return (Stage.each(x.size // lanes(fold, x.channels) // parts, depth(parts), latency, parts),)


def parts(count: int) -> bytes:
    """The walk of a beat that is read, given out in parts and handed back."""
    walk = bytearray([EMIT]) * count
    walk[0] |= READ
    walk[-1] |= TAKE
    return bytes(walk)


def together(count: int) -> bytes:
    """The walk of beats that are taken together: one is given out with the last."""
    return bytes([READ | TAKE]) * (count - 1) + bytes([READ | TAKE | EMIT])


def whole_frame(beats: int, depth: int, latency: int, back: int = 1) -> tuple[Stage]:
    """A beat for a whole frame, after its last beat."""
    return (Stage(together(beats), depth, latency, back=back),)


def window(geometry: Window, depth: int, latency: int = 0) -> Stage:
    """eq_window, and a pipeline of `latency` cycles behind it: a step a position of the padded image."""
    top, left, _, _ = geometry.pads
    height, width = geometry.x.shape[1:]
    walk = np.zeros(geometry.padded, np.uint8)
    walk[top : top + height, left : left + width] = READ | TAKE
    walk.flat[geometry.ends()] |= EMIT
    return Stage(walk.tobytes(), depth, WINDOW_LATENCY + latency)


def layer(
    op: Mac, fold: Fold, x: IntType, accumulator: IntType, rows: np.ndarray, geometry: Window | None, groups: int = 1
) -> tuple[Stage, ...]:
    """A convolution (with a window) or dense layer; the arguments of `_rtl.layer`."""
    binary = is_binary(x, rows)
    patches = op.finish(accumulator).pixels
    post = fusible(op.post).rtl_latency if op.post else 0
    if fold.mode == "unrolled":
        inner, latency = unrolled_latency(op, fold, x, accumulator, rows, geometry, groups)
        depth = inner + 8
        if geometry:
            return (window(geometry, depth, latency),)
        return (Stage.each(patches, depth, latency + binary),)  # only a binary layer registers its vector
    front: tuple[Stage, ...] = ()
    if fold.narrow:
        slices = rows.shape[1] // fold.simd
        front, walk, cycles = (stored(patches, slices),), parts(len(rows) // fold.pe), slices
    else:
        walk, cycles = parts(1), steps(fold, rows, groups, prod(geometry.kernel) if geometry else 1)
        if geometry:
            front = (window(geometry, 4 if cycles == 1 else PATCH_FIFO),)
    if fold.mode == "tree":
        return *front, *_tree(fold, rows, groups, geometry, post, patches)
    simd = fold.simd if fold.mode == "folded" else rows.shape[1]
    digits = layer_digits(fold, rows)
    terms = simd * (digits.count if digits else 1)
    deepest = 8 + sum_latency(terms)
    latency = 3 + (0 if binary else sum_latency(terms)) + post
    return *front, Stage(walk * patches, (deepest + 2 * cycles) // cycles + 1, latency, cycles)


def stored(tokens: int, slices: int, port: int | None = None, of: int = 1) -> Stage:
    """eq_token_store in narrow beats, a slice each, of frames of `of` tokens."""
    return Stage(together(of * slices) * (tokens // of), depth=2, port=port)


def _tree(fold: Fold, rows: np.ndarray, groups: int, geometry: Window | None, post: int, patches: int) -> tuple[Stage, Stage]:
    """eq_mvu_tree: it reads patches into two halves of its banks, and works on one."""
    made = program(rows, fold.pe, groups, prod(geometry.kernel) if geometry else 1)
    border = geometry is not None and geometry.masks() is not None
    last = int(np.flatnonzero(made.slots[-1] >= 0)[-1])
    deepest = fold.pe + 12
    depth = (deepest + 2 * made.cycles) // made.cycles + 1
    work = Stage.each(patches, depth, 6 + last + border + post, made.cycles)
    return _read(patches, made.layout.words), work


def _read(patches: int, words: int) -> Stage:
    """The reading of patches in eq_mvu_tree."""
    return Stage.each(patches, depth=2, cycles=words)


@lru_cache(maxsize=4096)
def convolution_cycles(geometry: Window, steps: int, read: int = 0) -> int:
    """Cycles a frame of a convolution alone, by its schedule, which is evaluated only where no rule tells.

    steps: cycles a patch.  read: words in which eq_mvu_tree reads one, 0 for eq_mvu.
    """
    ends = geometry.ends()
    gaps = np.diff(ends, prepend=ends[-1] - geometry.positions)
    if steps <= gaps.min():
        return geometry.positions
    row = (geometry.padded[1] - (geometry.kernel[1] - 1) * geometry.dilation[1] - 1) // geometry.stride[1] + 1
    if (
        (len(ends) - 2 * PATCH_FIFO) * steps > geometry.positions
        and (PATCH_FIFO - 4) * steps > gaps.max()
        and row * steps > geometry.stride[0] * geometry.padded[1]
    ):
        return len(ends) * steps  # the FIFO fills, and outlasts the longest gap
    front = (window(geometry, PATCH_FIFO), *((_read(len(ends), read),) if read else ()))
    return ceil(cycles_alone((*front, Stage.each(len(ends), None, cycles=steps))))
