"""Our resource model: what the modules of hls/rtl cost, by formulas that follow their structure.

Source "model" in reports. LUT constants were fitted to Yosys `synth_xilinx -family xcup` on single modules; expect 30 %.
"""

from __future__ import annotations

from math import ceil, prod
from typing import TYPE_CHECKING

import numpy as np

from edgeq.fold import Fold
from edgeq.graph import IntType
from edgeq.hardware import Cost, memory_cost
from edgeq.ops._rtl import PATCH_FIFO, Window, signed_bits, steps, value_bits
from edgeq.unrolled import layer_trees

if TYPE_CHECKING:
    from edgeq.ops._mac import Mac

CONTROL = Cost(lut=40, ff=40)
"""Handshake, counters and credits of one operator."""
LUT_PER_XNOR = 0.9
"""XNOR of variable bits and its share of a popcount of LUT6 compressors."""
MUX_INPUTS_PER_LUT = 2.5
FF_PER_ADDITION = 0.95
"""Registers a summed bit of an unrolled layer, whose LUT are one a bit: 1,898 and 2,052 for 2,038 bits (32 x 144, random)."""
UNROLLED_DEPTH = 32
DSP_PORTS = (26, 17)
"""Unsigned bits of the two factors of a DSP48E2."""
DSP_MIN_PRODUCT_BITS = 9
"""Narrower products become LUTs in Yosys."""


def fifo(width: int, depth: int) -> Cost:
    """eq_fifo and eq_outfifo."""
    return memory_cost(width, depth) + CONTROL


def product(a_bits: int, b_bits: int) -> Cost:
    """One signed multiplication of variables."""
    if min(a_bits, b_bits) < 2 or a_bits + b_bits < DSP_MIN_PRODUCT_BITS:
        return Cost(lut=a_bits * b_bits, ff=a_bits + b_bits)
    wide, narrow = max(a_bits, b_bits), min(a_bits, b_bits)
    return Cost(dsp=ceil(wide / DSP_PORTS[0]) * ceil(narrow / DSP_PORTS[1]))


def scaled(cost: Cost, times: float) -> Cost:
    return Cost(*(times * v for v in cost.astuple()))


def window(geometry: Window, pixel_bits: int) -> Cost:
    """eq_window: the line memory, the registers of the window, counters."""
    (kh, kw), (dh, dw) = geometry.kernel, geometry.dilation
    lines = memory_cost((kh - 1) * dh * pixel_bits, geometry.padded[1]) if kh > 1 else Cost()
    return lines + CONTROL + Cost(lut=60, ff=kh * ((kw - 1) * dw + 1) * pixel_bits + pixel_bits)


def threshold(levels: int, bits: int, lanes: int, words: int) -> Cost:
    """eq_post with a threshold: comparators, a count, parameters for `words` channels a lane."""
    compare = bits if words > 1 else bits / 2
    lane = Cost(lut=levels * compare + 1.5 * (levels - 1), ff=levels + 2)
    return scaled(lane, lanes) + memory_cost(lanes * (levels * (bits + 1) + 1), words, rom=True)


def requantize(bits: int, multiplier_bits: int, sum_bits: int, out_bits: int, lanes: int, words: int) -> Cost:
    """eq_post with a requantize: product, sum, rounding, clip."""
    lane = product(bits, multiplier_bits) + Cost(lut=2 * sum_bits + 2 * out_bits, ff=2 * sum_bits + out_bits)
    return scaled(lane, lanes) + memory_cost(lanes * (multiplier_bits + sum_bits), words, rom=True)


def pointwise(op: object, x: IntType, y: IntType) -> Cost:
    """A fusible operator on its own."""
    return post(op, value_bits(x), x, x.channels, 1) + fifo(y.channels * y.width, 8)


def post(op: object, bits: int, x: IntType, lanes: int, words: int) -> Cost:
    """A fused operator on `lanes` values of `bits` bits at a time; it says itself what a lane costs."""
    return op.cost_post(x, bits, lanes, words) if op is not None else Cost()  # type: ignore[attr-defined]


def layer(
    op: Mac, fold: Fold, x: IntType, accumulator: IntType, rows: np.ndarray, geometry: Window | None, groups: int = 1
) -> Cost:
    """A convolution (with a window) or dense layer."""
    channels, terms = rows.shape
    y = op.finish(accumulator)
    bits = max(2, signed_bits(accumulator.lo, accumulator.hi))
    binary = x.bipolar and bool(np.all(np.abs(rows) == 1))
    taps = prod(geometry.kernel) if geometry else 1
    front = window(geometry, x.channels * x.width) if geometry else Cost()
    patch_bits = taps * x.channels * x.width + taps
    if fold.mode == "unrolled" and binary:
        additions = sum(tree.additions for tree in layer_trees(rows, groups, fold.mst))
        last = channels * (1 + (bits if geometry and geometry.masks() is not None else 0))  # the border's adder
        tree = Cost(lut=additions + last, ff=FF_PER_ADDITION * additions + last)
        return front + tree + post(op.post, bits, accumulator, channels, 1) + fifo(channels * y.width, UNROLLED_DEPTH)
    pe, simd = (fold.pe, fold.simd) if fold.mode == "folded" else (channels, terms)
    count = steps(Fold("folded", pe, simd), channels, terms)
    lo, hi = int(rows.min()), int(rows.max())
    weight_bits = 1 if np.all(np.abs(rows) == 1) else max(1, signed_bits(lo, hi) - (lo >= 0))
    weights = memory_cost(pe * simd * weight_bits, count, rom=True)
    if binary:
        dot = Cost(lut=pe * simd * LUT_PER_XNOR, ff=pe * 8 + simd)
    elif weight_bits == 1:
        dot = Cost(lut=2 * pe * simd * value_bits(x), ff=1.5 * pe * simd * value_bits(x))
    else:
        one = product(value_bits(x), weight_bits)
        bits_of_product = value_bits(x) + weight_bits
        dot = scaled(one, pe * simd) + Cost(lut=pe * (simd - 1) * (bits_of_product + 2), ff=1.5 * pe * simd * bits_of_product)
    slices = max(1, groups * terms // simd)
    spans = max(1, pe * groups // channels)
    select = Cost(lut=spans * simd * x.width * (slices - 1) / MUX_INPUTS_PER_LUT, ff=spans * simd * x.width)
    patches = fifo(patch_bits, PATCH_FIFO if geometry else 2) if count > 1 or not geometry else Cost()
    tail = post(op.post, bits, accumulator, pe, channels // pe) + Cost(lut=pe * bits, ff=pe * bits + channels * y.width)
    return front + patches + select + weights + dot + tail + fifo(channels * y.width, max(4, 12 // count + 2)) + CONTROL
