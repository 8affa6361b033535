"""Integer operators as I-ViT publishes them (arXiv 2207.01405 and its code), in numpy: baselines.

x: int64 codes of the scale S, rows along the last axis. An operator gives (y, the unit of y), or raises Overflow where a word
passes int32.
"""

from __future__ import annotations

import math

import numpy as np

TOP = (1 << 31) - 1
NEWTON_START, NEWTON_STEPS = 1 << 16, 10
SOFTMAX_SHIFT, GELU_SHIFT, GELU_BITS = 15, 23, 8
GELU_SLOPE = 1.702


class Overflow(Exception):
    """An intermediate result is no int32."""


def exp_shift(x: np.ndarray, scale: float, shift: int) -> np.ndarray:
    """About 2^shift / S * exp(x * S), x at most 0."""
    one = math.floor(-1 / scale)
    x = np.maximum(x + (x >> 1) - (x >> 4), shift * one)
    q = x // one
    r = x - q * one
    return _int32((r - 2 * one << shift - q) >> 1)


def shiftmax(x: np.ndarray, scale: float, bits: int) -> tuple[np.ndarray, float]:
    e = exp_shift(x - x.max(-1, keepdims=True), scale, SOFTMAX_SHIFT)
    total = np.minimum(e.sum(-1, keepdims=True), TOP)
    return e * (TOP // total) >> 32 - bits, 2.0 ** (1 - bits)


def shift_gelu(x: np.ndarray, scale: float) -> tuple[np.ndarray, float]:
    """The maximum is a row's, so that a value depends on its neighbours; the reciprocal keeps what is left of 31 bits."""
    top = x.max(-1, keepdims=True)
    e, e0 = (exp_shift(t, GELU_SLOPE * scale, GELU_SHIFT) for t in (x - top, -top))
    sigmoid = e * (TOP // np.minimum(e + e0, TOP)) >> 32 - GELU_BITS
    return _int32(x * sigmoid), scale * 2.0 ** (1 - GELU_BITS)


def newton_root(v: np.ndarray) -> np.ndarray:
    """About sqrt(v), ten steps from 2^16 whatever v is: wrong for roots below 187."""
    k = np.full_like(_int32(v), NEWTON_START)
    for _ in range(NEWTON_STEPS):
        k = (k + v // k) >> 1
    return k


def layer_norm(x: np.ndarray) -> tuple[np.ndarray, float]:
    """Without its affine part."""
    d = x - np.rint(x.mean(-1, keepdims=True)).astype(np.int64)
    k = newton_root((d * d).sum(-1, keepdims=True))
    return d * (TOP // k) >> 1, math.sqrt(x.shape[-1]) * 2.0**-30


def _int32(x: np.ndarray) -> np.ndarray:
    if x.max(initial=0) > TOP or x.min(initial=0) < -TOP - 1:
        raise Overflow
    return x
