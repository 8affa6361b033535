"""The integer square root: what the operators that take one share."""

from __future__ import annotations

import numpy as np

ROOT_BITS = 48
"""Longest word whose root the engines take."""


def isqrt(v: np.ndarray) -> np.ndarray:
    """floor(sqrt(v)), exact.  v: int64 in [0, 2^62].

    v as a double is off by at most 2^-53 of it, so the double's root by less than one, and a step up or down corrects it.
    """
    k = np.sqrt(v.astype(np.float64)).astype(np.int64)
    k -= k * k > v
    return k + ((k + 1) * (k + 1) <= v)
