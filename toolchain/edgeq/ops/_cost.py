"""Our resource model: what the modules of hls/rtl cost, by formulas that follow their structure.

Source "model" in reports. LUT constants were fitted to Yosys `synth_xilinx -family xcup` on single modules; expect 30 %.
"""

from __future__ import annotations

from math import ceil, prod
from typing import TYPE_CHECKING

import numpy as np

from edgeq.delta import BANKS_PER_RAM, Program, program
from edgeq.digits import DigitCode
from edgeq.fold import Fold
from edgeq.graph import IntType
from edgeq.hardware import LINE_LUT_DEPTH, Cost, memory_cost, store_cost
from edgeq.ops._rtl import (
    PATCH_FIFO,
    Window,
    beat_parts,
    fusible,
    is_binary,
    lanes,
    layer_digits,
    signed_bits,
    tail_of,
    terms_of,
    value_bits,
)
from edgeq.shift_add import Sums, estimated_shift_add_luts
from edgeq.unrolled import estimated_luts

if TYPE_CHECKING:
    from edgeq.ops._mac import Mac

CONTROL = Cost(lut=40, ff=40)
"""Handshake, counters and credits of one operator."""
LUT_PER_XNOR, LUT_PER_COUNT = 2.1, 3
"""eq_equal_count: XNOR of variable bits and a popcount; Yosys counts 60, 81, 102 and 135 LUT for 27, 36, 48 and 64 bits."""
LUT_PER_SUM_BIT = 1.5
"""An accumulator and what clears it."""
LUT_PER_SHIFTED_BIT = 0.6
"""A bit and position of the shift of eq_digit."""
LUT_PER_DIVIDED_BIT = 2
"""A comparison and a subtraction of eq_divide."""
MUX_INPUTS_PER_LUT = 2.5
LOAD_INPUTS_PER_LUT = 2.0
"""Where a word count is no power of two: 273 LUT for 28 words of 21 bits, 1,175 for 30 of 77."""
FF_PER_LUT = 2.2
"""Registers a LUT of an unrolled layer, at 6 LUT levels: 1.7 to 2.7 on random, correlated and trained weights."""
FF_PER_ADDED_LUT = 1.2
"""The same of an unrolled integer layer: 0.8 to 1.7 on the layers of a jet tagger."""
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


def slices(bits: int, parts: int) -> Cost:
    """eq_slices: a beat of `bits` bits in parts."""
    return Cost(lut=bits * (parts - 1) / parts / MUX_INPUTS_PER_LUT, ff=bits / parts) + CONTROL


def divide(den_bits: int, digits: int, iterative: bool = False) -> Cost:
    """eq_divide: a comparison and a subtraction a digit, as wide as the divisor; divisor, rest and quotient are kept."""
    lut = LUT_PER_DIVIDED_BIT * den_bits
    if iterative:
        return Cost(lut=lut + 2 * den_bits + digits, ff=2 * den_bits + digits)
    return Cost(lut=digits * lut, ff=digits * (2 * den_bits + digits / 2))


def scaled(cost: Cost, times: float) -> Cost:
    return Cost(*(times * v for v in cost.astuple()))


def window(geometry: Window, pixel_bits: int) -> Cost:
    """eq_window: the line memory, the registers of the window, counters."""
    (kh, kw), (dh, dw) = geometry.kernel, geometry.dilation
    lines = memory_cost((kh - 1) * dh * pixel_bits, geometry.padded[1], lut_depth=LINE_LUT_DEPTH) if kh > 1 else Cost()
    return lines + CONTROL + Cost(lut=60, ff=kh * ((kw - 1) * dw + 1) * pixel_bits + pixel_bits)


def threshold(levels: int, bits: int, lanes: int, words: int) -> Cost:
    """eq_post with a threshold: comparators, a count, parameters for `words` channels a lane."""
    compare = bits if words > 1 else bits / 2
    lane = Cost(lut=levels * compare + 1.5 * (levels - 1), ff=levels + 2)
    return scaled(lane, lanes) + memory_cost(lanes * (levels * (bits + 1) + 1), words, rom=True)


def digit(bits: int, code: DigitCode, constant: bool = False) -> Cost:
    """eq_digit: a shifter, of which nothing is left where the digit is a constant."""
    wide = bits + code.max_shift
    return Cost(lut=0 if constant else LUT_PER_SHIFTED_BIT * wide * max(1, code.shift_bits), ff=wide)


def requantize(
    bits: int, multiplier_bits: int, sum_bits: int, out_bits: int, lanes: int, words: int, code: DigitCode | None
) -> Cost:
    """eq_post with a requantize: product, or shifts and a sum for the digits of `code`, sum, rounding, clip."""
    lane = Cost(lut=2 * sum_bits + 2 * out_bits, ff=2 * sum_bits + out_bits)
    if code is None:
        lane += product(bits, multiplier_bits)
    else:
        multiplier_bits = code.width
        lane += scaled(digit(bits + 1, code, words == 1), code.count) + Cost(lut=(code.count - 1) * sum_bits)
    return scaled(lane, lanes) + memory_cost(lanes * (multiplier_bits + sum_bits), words, rom=True)


def pointwise(op: object, fold: Fold, x: IntType, y: IntType) -> Cost:
    """A fusible operator on its own."""
    pe = lanes(fold, x.channels)
    out = fifo(beat_parts(fold, x.channels) * pe * y.width, 8)
    return post(op, fold, value_bits(x), x, pe, x.channels // pe) + in_parts(fold, x, y) + out


def in_parts(fold: Fold, x: IntType, y: IntType) -> Cost:
    """eq_slice of x and eq_collect of y, of an operator on some channels at a time."""
    pe, others = lanes(fold, x.channels), beat_parts(fold, x.channels) - 1
    return Cost(lut=pe * x.width * others / MUX_INPUTS_PER_LUT, ff=others * pe * y.width)


def post(op: object, fold: Fold, bits: int, x: IntType, lanes: int, words: int) -> Cost:
    """A fused operator on `lanes` values of `bits` bits at a time; it says itself what a lane costs."""
    return op.cost_post(x, bits, lanes, words, fold.digits) if op is not None else Cost()  # type: ignore[attr-defined]


def layer(
    op: Mac, fold: Fold, x: IntType, accumulator: IntType, rows: np.ndarray, geometry: Window | None, groups: int = 1
) -> Cost:
    """A convolution (with a window) or dense layer."""
    channels, terms = rows.shape
    y = op.finish(accumulator)
    bits = max(2, signed_bits(accumulator.lo, accumulator.hi))
    binary = is_binary(x, rows)
    taps = prod(geometry.kernel) if geometry else 1
    front = window(geometry, x.channels * x.width) if geometry and not fold.narrow else Cost()
    patch_bits = taps * x.channels * x.width + taps
    if fold.mode == "unrolled" and binary:
        compare = fusible(op.post).rtl_compare(channels) if op.post else None
        luts = estimated_luts(rows, fold.form, groups, compare is not None, fold.max_depth)
        masked = geometry is not None and geometry.masks() is not None
        logic = Cost(lut=luts + channels * bits * masked, ff=FF_PER_LUT * luts)
        last = Cost() if compare else post(op.post, fold, bits, accumulator, channels, 1)
        return front + logic + last + fifo(channels * y.width, UNROLLED_DEPTH)
    if fold.mode == "unrolled":
        weight, _, inputs, blocks = terms_of(x, rows, geometry, groups)
        end = tail_of(op, accumulator)
        luts = estimated_shift_add_luts(weight, inputs, blocks, end, fold.share and fold.mst)
        last = post(op.post, fold, bits, accumulator, channels, 1) if isinstance(end, Sums) else Cost()
        return front + Cost(lut=luts, ff=FF_PER_ADDED_LUT * luts) + last + fifo(channels * y.width, UNROLLED_DEPTH)
    if fold.mode == "tree":
        masks = geometry.masks() if geometry else None
        made = program(rows, fold.pe, groups, taps)
        patches = fifo(taps * x.channels + (4 if masks is not None else 0), PATCH_FIFO) if geometry else Cost()
        unit = delta(made, bits, 1 if masks is None else len(masks))
        return front + patches + unit + _tree_tail(op, fold, made, y, bits, accumulator)
    pe, simd = fold.pe, fold.simd
    count = (channels // pe) * (terms // simd)
    lo, hi = int(rows.min()), int(rows.max())
    weight_bits = 1 if np.all(np.abs(rows) == 1) else max(1, signed_bits(lo, hi) - (lo >= 0))
    digits = layer_digits(fold, rows)
    word = pe * simd * (digits.width if digits else weight_bits)
    weights = memory_cost(word, count, rom=True, block=fold.block)
    if binary:
        dot = Cost(lut=pe * (simd * LUT_PER_XNOR + LUT_PER_COUNT), ff=pe * 8 + simd)
    elif weight_bits == 1:
        dot = Cost(lut=2 * pe * simd * value_bits(x), ff=1.5 * pe * simd * value_bits(x))
    elif digits:
        bits_of_term, terms_at_once = x.width + 1 + digits.max_shift, simd * digits.count
        dot = scaled(digit(x.width + 1, digits), pe * terms_at_once) + Cost(
            lut=pe * (terms_at_once - 1) * (bits_of_term + 2) + simd * x.width, ff=0.5 * pe * terms_at_once * bits_of_term
        )
    else:
        one = product(value_bits(x), weight_bits)
        bits_of_product = value_bits(x) + weight_bits
        dot = scaled(one, pe * simd) + Cost(lut=pe * (simd - 1) * (bits_of_product + 2), ff=1.5 * pe * simd * bits_of_product)
    slices = max(1, groups * terms // simd)
    spans = max(1, pe * groups // channels)
    if fold.narrow:
        given, interval, source = pe, slices, stored(simd * x.width, slices)
    else:
        given, interval = channels, count
        patches = fifo(patch_bits, PATCH_FIFO) if geometry and count > 1 else Cost()
        source = patches + Cost(lut=spans * simd * x.width * (slices - 1) / MUX_INPUTS_PER_LUT, ff=spans * simd * x.width)
    tail = post(op.post, fold, bits, accumulator, pe, channels // pe) + Cost(
        lut=pe * bits * LUT_PER_SUM_BIT, ff=pe * bits + given * y.width
    )
    return front + source + weights + dot + tail + fifo(given * y.width, max(4, 12 // interval + 2)) + CONTROL


def stored(width: int, slices: int, frames: int = 2) -> Cost:
    """eq_token_store of frames of so many slices, in narrow beats; its counters are few beside the FIFO's control."""
    words = frames * slices
    memory = store_cost(width, words)
    return memory + (Cost() if memory.bram36 else Cost(ff=width)) + Cost(lut=15, ff=15)


def delta(made: Program, bits: int, classes: int) -> Cost:
    """eq_mvu_tree up to the fused operator."""
    lanes, words, pe = made.layout.lanes, made.layout.words, made.pe
    count = made.layout.full.sum(axis=1).max().item().bit_length()
    lane = Cost(lut=8 / BANKS_PER_RAM + LUT_PER_XNOR, ff=2)
    select = Cost(lut=lanes * (words - 1) / LOAD_INPUTS_PER_LUT)
    sums = Cost(lut=2 * count + LUT_PER_COUNT, ff=3 * count)
    finish = Cost(lut=3 * bits, ff=4 * bits + 2 * count) + memory_cost(bits, made.slots.size)
    tables = memory_cost(made.code_width, made.cycles, rom=True) + memory_cost(made.slot_width(bits), made.slots.size, rom=True)
    if classes > 1:
        tables += memory_cost(bits, classes * made.slots.size, rom=True) + Cost(lut=bits + 4 * classes, ff=bits)
    return scaled(lane, pe * lanes) + select + scaled(sums, pe) + finish + tables + CONTROL


def _tree_tail(op: Mac, fold: Fold, made: Program, y: IntType, bits: int, accumulator: IntType) -> Cost:
    """The fused operator on one lane, and the output."""
    out = y.channels * y.width
    return post(op.post, fold, bits, accumulator, 1, made.slots.size) + Cost(ff=out) + fifo(out, max(3, 12 // made.cycles + 3))
