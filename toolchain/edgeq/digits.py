"""Integers as few signed digits: what a product by them is in shifts and additions.

The canonical form (non-adjacent: of two neighbouring digits one is 0) has the fewest digits that are not 0 (Reitwiesner, 1960).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeq.hardware import to_bits

MAX_CODE_BITS = 60
"""The longest code of an integer: tables of the HLS project hold 63 bits."""


def digit_count(codes: np.ndarray) -> np.ndarray:
    """The nonzero digits of integers in canonical signed-digit form, the fewest there are: int64 of the same shape."""
    size = np.abs(codes).astype(np.int64)
    return np.bitwise_count(size ^ (3 * size)).astype(np.int64)


def signed_digits(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The digits that are not 0, lowest first: signs (-1, 1, and 0 behind the last) and shifts, int64 [*values.shape, K].

    K is the most that any of them has, at least 1; values: below 2^61 in magnitude.
    """
    size, sign = np.abs(values).astype(np.int64), np.sign(values).astype(np.int64)
    count = max(1, int(digit_count(values).max(initial=0)))
    signs, shifts = (np.zeros((*values.shape, count), np.int64) for _ in range(2))
    rest = size.copy()
    for k in range(count):
        lowest = rest & -rest
        digit = np.where(rest & (lowest << 1), -1, 1) * (rest != 0)
        signs[..., k], shifts[..., k] = digit * sign, np.bitwise_count(np.maximum(lowest, 1) - 1)
        rest = rest - digit * lowest
    return signs, shifts


@dataclass(frozen=True)
class DigitCode:
    """How constants are stored as digits, each as eq_digit.sv has it. count: digits of a constant.  max_shift: of any."""

    count: int
    max_shift: int

    @staticmethod
    def of(values: np.ndarray) -> DigitCode:
        """The narrowest code that holds the values."""
        signs, shifts = signed_digits(values)
        return DigitCode(signs.shape[-1], int(shifts.max(initial=0)))

    @property
    def shift_bits(self) -> int:
        return self.max_shift.bit_length()

    @property
    def width(self) -> int:
        """Bits of a constant."""
        return self.count * (2 + self.shift_bits)

    @property
    def free(self) -> bool:
        """True where a product is the value, its negation or 0."""
        return (self.count, self.max_shift) == (1, 0)

    def codes(self, values: np.ndarray) -> np.ndarray:
        """The codes of constants as integers, the first digit lowest: int64 of the same shape."""
        signs, shifts = signed_digits(values)
        digits = (signs != 0) | (signs < 0).astype(np.int64) << 1 | shifts << 2
        return (digits << (2 + self.shift_bits) * np.arange(signs.shape[-1])).sum(axis=-1)

    def bits(self, values: np.ndarray) -> np.ndarray:
        """values [..., n] -> uint8 [..., n * width], lowest bit first."""
        return to_bits(self.codes(values), self.width)
