"""Weights that need no multiplier: formats whose words are few signed powers of two, for every layer that takes a format.

| format        | codes                                             | source                                                |
|---------------|---------------------------------------------------|-------------------------------------------------------|
| KHot(W, k=K)  | at most K nonzero signed digits; K = 1: 0, +-2^e  | QFX (arXiv 2401.17544); signed and nearest: ours      |
| DenseShift(W) | +-2^e, e from 0 to W - 2: never 0                 | arXiv 2208.09708; one latent weight, nearest: ours    |
| Ternary()     | -1, 0, 1: clip(round(w / median abs(w)), -1, 1)   | arXiv 2407.09527 (b1.58 Reloaded); times 2^-point: ours |

All learn their binary point like any other format, are symmetric, and pass the gradient straight through.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from edgeq.digits import digit_count
from edgeq.errors import EdgeqError
from edgeq.fixed_point import FixedPoint

MAX_TABLE_BITS = 16


@dataclass(frozen=True)
class Coding(FixedPoint):
    """A format of the codes +-m, m in `magnitudes()`: the nearest, a half to zero."""

    rounding: str = "AP_RND_ZERO"
    overflow: str = "AP_SAT_SYM"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_modes()

    def check_modes(self) -> None:
        """Raises EdgeqError where a field has not the value that all codings have."""
        if not self.signed or (self.rounding, self.overflow) != ("AP_RND_ZERO", "AP_SAT_SYM") or self.bits > MAX_TABLE_BITS:
            fix = f"signed, AP_RND_ZERO, AP_SAT_SYM, at most {MAX_TABLE_BITS} bits"
            raise EdgeqError(f"no {type(self).__name__} weights are {super().__str__()}", fix=fix)

    def magnitudes(self) -> np.ndarray:
        """The magnitudes of the codes, rising, float64."""
        raise NotImplementedError

    def codes(self, u: Any, xp: Any) -> Any:
        table = self.magnitudes()
        index = xp.searchsorted(xp.asarray((table[1:] + table[:-1]) / 2, dtype=u.dtype), xp.abs(u))  # left: a half to zero
        size = xp.asarray(table, dtype=u.dtype)[index]
        return xp.where(u < 0, -size, size) + 0.0

    def __str__(self) -> str:
        return f"{type(self).__name__}<{self.bits},{'?' if self.integer is None else self.integer}>"


@dataclass(frozen=True)
class KHot(Coding):
    """Words of at most k nonzero signed digits: a product is k shifts and k - 1 additions.  bits: 2 to 16."""

    k: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 1:
            raise EdgeqError(f"words of {self.k} nonzero digits", where="KHot", fix="k=1 or more")

    def magnitudes(self) -> np.ndarray:
        return _k_hot(self.bits, self.k)

    def __str__(self) -> str:
        return f"{super().__str__()[:-1]},k={self.k}>"


@dataclass(frozen=True)
class DenseShift(Coding):
    """Words of +-2^e, e from 0 to bits - 2, without zero: a product is a shift.  bits: 2 to 16."""

    def magnitudes(self) -> np.ndarray:
        return 2.0 ** np.arange(self.bits - 1)


@dataclass(frozen=True)
class Ternary(Coding):
    """-1, 0 and 1 times a power of two, the boundary at half the median magnitude.  bits: 2."""

    bits: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bits != 2:
            raise EdgeqError(f"ternary words of {self.bits} bits", where="Ternary", fix="2 bits")

    def magnitudes(self) -> np.ndarray:
        return np.array([0.0, 1.0])

    def codes(self, u: Any, xp: Any) -> Any:
        median = float(xp.quantile(xp.abs(u), 0.5))
        return super().codes(u / median, xp) if median else super().codes(u, xp)


@lru_cache
def _k_hot(bits: int, k: int) -> np.ndarray:
    values = np.arange(1 << (bits - 1))
    return values[digit_count(values) <= k].astype(np.float64)
