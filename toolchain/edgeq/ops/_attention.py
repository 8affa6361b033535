"""What the two products of attention share: the heads, exact ranges of sums of products, the token store, the lanes."""

from __future__ import annotations

from math import gcd

from edgeq.errors import EdgeqError
from edgeq.graph import Draw, IntType
from edgeq.ops import _sample
from edgeq.ops._mac import MAX_ACTIVATION_BITS

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
