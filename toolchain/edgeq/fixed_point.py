"""Fixed-point formats as `ap_fixed` of HLS has them, and the cast to them, for numpy and torch alike.

A format of W bits and I integer bits holds code * 2^(I - W); W - I is the binary point, and may be negative or above W.
The cast of a real x is overflow(round(x * 2^(W - I))) * 2^(I - W), the rounding first:

| rounding       | to                                   | overflow    | a code outside of the word becomes              |
|----------------|--------------------------------------|-------------|-------------------------------------------------|
| AP_TRN         | minus infinity                       | AP_SAT      | the nearest end                                 |
| AP_TRN_ZERO    | zero                                 | AP_SAT_SYM  | the same; signed: -2^(W-1) + 1 is the lower end |
| AP_RND         | nearest, a half to plus infinity     | AP_SAT_ZERO | 0                                               |
| AP_RND_ZERO    | nearest, a half to zero              | AP_WRAP     | itself modulo 2^W                               |
| AP_RND_INF     | nearest, a half away from zero       |             |                                                 |
| AP_RND_MIN_INF | nearest, a half to minus infinity    |             |                                                 |
| AP_RND_CONV    | nearest, a half to even              |             |                                                 |

Source: Vitis HLS user guide (UG1399, "Arbitrary Precision Fixed-Point Data Types") and the headers that hls4ml ships, against
which tests/test_fixed.py checks every mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeq.errors import EdgeqError

ROUNDINGS = {
    "AP_TRN": "FLOOR", "AP_TRN_ZERO": "DOWN", "AP_RND": "HALF_CEIL", "AP_RND_ZERO": "HALF_DOWN", "AP_RND_INF": "HALF_UP",
    "AP_RND_MIN_INF": "HALF_FLOOR", "AP_RND_CONV": "HALF_EVEN",
}  # fmt: skip
"""The rounding modes, with their names in `edgeq.frontend.exact`."""
OVERFLOWS = ("AP_SAT", "AP_SAT_SYM", "AP_SAT_ZERO", "AP_WRAP")
MAX_BITS = 24
"""The longest word whose every value is a float32."""
DOMAIN, OPERATOR, LOOKUP, INTEGER = "edgeq.custom_op", "FixedQuant", "FixedLookup", "FixedOperator"
"""The ONNX nodes that mean such a cast where a QONNX Quant does not, a table, and an operator of the integer graph.

The domain is the module that defines them.
"""


@dataclass(frozen=True)
class FixedPoint:
    """A fixed-point type: ap_fixed<bits, integer, rounding, overflow>, or ap_ufixed where not signed.

    bits: W, 1 (signed: 2) to 24.  integer: I, the sign bit included; None where it is to be found from data.  Raises
    EdgeqError for a word length or a mode that is not known.
    """

    bits: int
    integer: int | None = None
    signed: bool = True
    rounding: str = "AP_RND_CONV"
    overflow: str = "AP_SAT"

    def __post_init__(self) -> None:
        if not 1 + self.signed <= self.bits <= MAX_BITS:
            raise EdgeqError(
                f"a word of {self.bits} bits", where=type(self).__name__, fix=f"{1 + self.signed} to {MAX_BITS} bits"
            )
        for kind, name, known in (("rounding", self.rounding, tuple(ROUNDINGS)), ("overflow", self.overflow, OVERFLOWS)):
            if name not in known:
                raise EdgeqError(f"the {kind} {name!r} is unknown", where=type(self).__name__, fix=f"one of {', '.join(known)}")

    @property
    def narrow(self) -> bool:
        """True where the lowest code is left out."""
        return self.signed and self.overflow == "AP_SAT_SYM"

    @property
    def lo(self) -> int:
        """The least code."""
        return -(1 << (self.bits - 1)) + self.narrow if self.signed else 0

    @property
    def hi(self) -> int:
        """The greatest code."""
        return (1 << (self.bits - self.signed)) - 1

    def codes(self, u: Any, xp: Any) -> Any:
        """overflow(round(u)): the codes, as floats, of values in units of the last bit.

        u: float32 or float64, finite, of xp, which is numpy or torch. Exact.
        """
        return overflowed(rounded(u, self.rounding, xp), self, xp)

    def __str__(self) -> str:
        name = "ap_fixed" if self.signed else "ap_ufixed"
        return f"{name}<{self.bits},{'?' if self.integer is None else self.integer},{self.rounding},{self.overflow}>"


def rounded(u: Any, mode: str, xp: Any) -> Any:
    """u to integers, in one of ROUNDINGS."""
    match mode:
        case "AP_TRN":
            y = xp.floor(u)
        case "AP_TRN_ZERO":
            y = xp.trunc(u)
        case "AP_RND_CONV":
            y = xp.round(u)
        case _:
            size = xp.abs(u)
            whole = xp.floor(size)
            rest = size - whole  # exact, where u + 0.5 is not: for 0.49999997 that is 1
            away = {"AP_RND": u > 0, "AP_RND_ZERO": u != u, "AP_RND_INF": u == u, "AP_RND_MIN_INF": u < 0}[mode]
            size = whole + xp.where((rest > 0.5) | ((rest == 0.5) & away), 1.0, 0.0)
            y = xp.where(u < 0, -size, size)
    y += 0.0  # no negative zero
    return y


def overflowed(r: Any, kind: FixedPoint, xp: Any) -> Any:
    """Integers r, as floats, brought into the word."""
    match kind.overflow:
        case "AP_WRAP":
            rest = xp.remainder(r, 1 << kind.bits)
            return xp.where(rest > kind.hi, rest - (1 << kind.bits), rest)
        case "AP_SAT_ZERO":
            return xp.where((r < kind.lo) | (r > kind.hi), 0.0, r)
        case _:
            return xp.clip(r, kind.lo, kind.hi)
