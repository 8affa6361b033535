"""What the two products of attention share: the heads, exact ranges of sums of products, the token store, the lanes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType
from edgeq.hardware import EMIT, READ, READ_SECOND, TAKE, TAKE_SECOND, Cost, Stage
from edgeq.ops import _cost, _sample
from edgeq.ops._mac import MAX_ACTIVATION_BITS
from edgeq.ops._rtl import value_bits

if TYPE_CHECKING:
    from edgeq.lower.onnx import Body

MAX_TERMS = ((1 << 31) - 1) // 255**2
"""Products of two bytes whose sum fits 32 bits, which is what MatMulInteger adds up in."""


def check_operands(kind: str, heads: int, channels: int, terms: int, *xs: IntType) -> None:
    """Raises EdgeqError unless `heads` divides the channels, and the operands and the number of terms are legal."""
    for x in xs:
        if len(x.shape) != 3:
            raise EdgeqError(f"{kind} reads {x}", fix="tokens are the pixels of an image (C, H, W)")
        if x.width > MAX_ACTIVATION_BITS:
            raise EdgeqError(f"{kind} reads {x}, which needs {x.width} bits", fix=f"at most {MAX_ACTIVATION_BITS} bits")
    if heads < 1 or channels % heads:
        raise EdgeqError(f"{kind} of {channels} channels has {heads} heads", fix="a number of heads that divides the channels")
    if terms > MAX_TERMS:
        raise EdgeqError(f"{kind} adds up {terms:,} products, which pass 32 bits", fix=f"at most {MAX_TERMS:,}")


def sum_type(shape: tuple[int, ...], x: IntType, y: IntType, terms: int) -> IntType:
    """The exact range of sums of `terms` products of an element of x and one of y."""
    ends = [a * b for a in (x.lo, x.hi) for b in (y.lo, y.hi)]
    # (x.lo + i*x.step) * (y.lo + j*y.step) is x.lo*y.lo and multiples of these
    step = gcd(x.lo * y.step, y.lo * x.step, x.step * y.step)
    return IntType(shape, terms * min(ends), terms * max(ends), step)


def sample_type(draw: Draw, shape: tuple[int, ...]) -> IntType:
    """A random operand."""
    return _sample.int_type(draw, shape, MAX_ACTIVATION_BITS)


def integer_product(body: Body, x: str, x_view: Sequence[int], y: str, y_view: Sequence[int], swapped: tuple[bool, bool]) -> str:
    """The matrix products of two function inputs as int32 or int64, each reshaped to its view, its last axes swapped where said.

    MatMulInteger of bytes, unsigned by unsigned with zero points, as `_mac.integer_sum`; wider operands are sums of two bytes.
    """
    operands = []
    for name, view, swap in zip((x, y), (x_view, y_view), swapped, strict=True):
        parts = []
        for byte, weight in body.bytes(name):
            u8, zero = body.as_u8(byte)
            u8 = body.op("Reshape", u8, body.const(np.array(view)))
            parts.append((body.op("Transpose", u8, perm=[0, 1, 3, 2]) if swap else u8, body.const(np.uint8(zero)), weight))
        operands.append(parts)
    total = ""
    for (a, a_zero, a_weight), (b, b_zero, b_weight) in product(*operands):
        term = body.cast(body.op("MatMulInteger", a, b, a_zero, b_zero, dtype=np.int32), body.wide)
        if a_weight * b_weight != 1:
            term = body.op("Mul", term, body.const(np.array(a_weight * b_weight, body.wide)))
        total = body.op("Add", total, term) if total else term
    return total


def stages(query: bytes, queries: int, keys: int, slices: int, cycles: int, latency: int, more: int = 0) -> tuple[Stage, Stage]:
    """The schedule of both: eq_token_store, and what reads it.

    query: the steps of one query but for READ_SECOND, of `cycles` each.  slices: cycles in which a token is stored.
    more: cycles that a beat of the FIFO takes to leave it, beyond one.
    """
    store = Stage(bytes([READ | TAKE]) * (keys - 1) + bytes([READ | TAKE | EMIT]), depth=2, cycles=slices, port=1)
    walk = np.frombuffer(query * queries, np.uint8) | READ_SECOND
    walk[-1] |= TAKE_SECOND
    between = len(query) * cycles // sum(step & EMIT > 0 for step in query)
    return store, Stage(walk.tobytes(), fifo_depth(between, latency + more), latency, cycles)


def fifo_depth(cycles: int, latency: int) -> int:
    """FifoDepth of both modules, which give a beat every so many cycles."""
    return 1 + (latency + cycles) // cycles


def lanes(x: IntType, y: IntType, lanes: int, terms: int, sum_bits: int) -> Cost:
    """eq_products, and a sum behind each lane."""
    bits = [value_bits(t) for t in (x, y)]
    single = [other for t, other in zip((x, y), bits[::-1], strict=True) if t.width == 1]
    wide = single[0] if single else sum(bits)
    adders = Cost(lut=(terms - 1) * (wide + 2), ff=(terms - 1) * (wide + 2) / 3)
    if x.bipolar and y.bipolar:
        dot = Cost(lut=terms * _cost.LUT_PER_XNOR + _cost.LUT_PER_COUNT, ff=terms.bit_length())
    elif single:
        dot = Cost(lut=terms * wide, ff=terms * wide) + adders
    else:
        one = _cost.product(*bits)
        dot = _cost.scaled(Cost(lut=one.lut, ff=wide, dsp=one.dsp), terms) + adders
    return _cost.scaled(dot + Cost(lut=sum_bits * _cost.LUT_PER_SUM_BIT, ff=sum_bits), lanes)


def slices(width: int, count: int) -> Cost:
    """eq_slice. width: bits of a slice of all groups."""
    return Cost(lut=width * (count - 1) / _cost.MUX_INPUTS_PER_LUT)


def store(y: IntType, width: int, count: int, narrow: bool = False) -> Cost:
    """eq_token_store of the tokens of y, in `count` slices of `width` bits."""
    return _cost.stored(width, y.pixels * count) + (Cost() if narrow else slices(width, count))
