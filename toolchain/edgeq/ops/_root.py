"""The integer square root: what the operators that take one share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.hardware import Cost

if TYPE_CHECKING:
    from edgeq.lower.onnx import Body

ROOT_BITS = 48
"""Longest word whose root the engines take."""


def isqrt(v: np.ndarray) -> np.ndarray:
    """floor(sqrt(v)), exact.  v: int64 in [0, 2^62].

    v as a double is off by at most 2^-53 of it, so the double's root by less than one, and a step up or down corrects it.
    """
    k = np.sqrt(v.astype(np.float64)).astype(np.int64)
    k -= k * k > v
    return k + ((k + 1) * (k + 1) <= v)


def to_onnx(body: Body, v: str) -> str:
    """isqrt in standard operators.  v: int64 in [0, 2^ROOT_BITS), which a double holds; corrected as in `isqrt`."""
    one = body.const(np.int64(1))
    k = body.cast(body.op("Sqrt", body.cast(v, np.float64)), np.int64)
    above = body.op("Greater", body.op("Mul", k, k), v, dtype=np.bool_)
    k = body.op("Sub", k, body.cast(above, np.int64))
    up = body.op("Add", k, one)
    below = body.op("LessOrEqual", body.op("Mul", up, up), v, dtype=np.bool_)
    return body.op("Add", k, body.cast(below, np.int64))


def digits(bits: int) -> int:
    """Bits of the root of a word, and cycles that eq_root takes."""
    return (bits + 1) // 2


def cost(bits: int, iterative: bool = False) -> Cost:
    """eq_root: a subtraction and a choice a digit, as wide as the root so far; what is left of the word, rest and root."""
    n = digits(bits)
    return Cost(lut=6 * n, ff=4 * n) if iterative else Cost(lut=2 * n * n, ff=1.45 * n * n)
