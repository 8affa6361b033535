"""Functions that no sum of products is, as tables of integer codes: what training, export and every engine agree on.

A table is computed here and nowhere else, each entry from the float64 value of the function at an exact point; from then on it is
carried along. The forms below lose no digits where a sum would cancel. Where float64 itself is 1 or 0 (the sigmoid of 40),
AP_TRN casts that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.fixed_point import FixedPoint

MAX_TABLE_BITS = 12
"""The longest word that a table is made for."""


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def gelu(x: float) -> float:
    return x / 2 * math.erfc(-x / math.sqrt(2))


def gelu_tanh(x: float) -> float:
    """x/2 * (1 + tanh(u)) with u = sqrt(2/pi) * (x + 0.044715 x^3)."""
    return x * sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def silu(x: float) -> float:
    return x * sigmoid(x)


FUNCTIONS: dict[str, Callable[[float], float]] = {
    "gelu": gelu, "gelu_tanh": gelu_tanh, "silu": silu, "sigmoid": sigmoid, "tanh": math.tanh,
}  # fmt: skip


def check_function(name: str, inner: FixedPoint) -> None:
    """Raises EdgeqError where there is no such function, or no table for words as long as `inner`'s."""
    if name not in FUNCTIONS:
        raise EdgeqError(f"the function {name!r} is unknown", fix=f"one of {', '.join(FUNCTIONS)}")
    if inner.bits > MAX_TABLE_BITS:
        raise EdgeqError(f"a table of {inner}, which has {inner.bits} bits", where=name, fix=f"at most {MAX_TABLE_BITS} bits")


@lru_cache(maxsize=256)
def code_table(name: str, inner: FixedPoint, out: FixedPoint) -> np.ndarray:
    """The code in `out` of the function's value at each code of `inner`, lo .. hi: int64 [n], read-only.

    inner and out have an `integer`.
    """
    check_function(name, inner)
    if inner.integer is None or out.integer is None:
        raise EdgeqError("a table needs both binary points", where=name, fix="FixedPoint(bits, integer)")
    step = 2.0 ** (inner.integer - inner.bits)
    values = np.array([FUNCTIONS[name](code * step) for code in range(inner.lo, inner.hi + 1)])
    table = out.codes(np.ldexp(values, out.bits - out.integer), np).astype(np.int64)
    table.flags.writeable = False
    return table
