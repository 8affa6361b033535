"""Integers as few signed digits: what a product by them is in shifts and additions.

The canonical form (non-adjacent: of two neighbouring digits one is 0) has the fewest digits that are not 0 (Reitwiesner, 1960).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeq.hardware import to_bits

MAX_CODE_BITS = 60
"""The longest code of an integer: tables of the HLS project hold 63 bits."""


def _places(values: np.ndarray) -> np.ndarray:
    """A bit for each place that has a digit: int64 of the same shape."""
    size = np.abs(values).astype(np.int64)
    return (size ^ (3 * size)) >> 1


def digit_count(values: np.ndarray) -> np.ndarray:
    """The nonzero digits of integers in canonical signed-digit form, the fewest there are: int64 of the same shape."""
    return np.bitwise_count(_places(values)).astype(np.int64)


def digit_planes(values: np.ndarray) -> np.ndarray:
    """The digit of each place, lowest first: int64 in {-1, 0, 1}, [*values.shape, places]; as many places as any value needs."""
    size = np.abs(values).astype(np.int64)
    plus, minus = (size + (size >> 1)) & ~(size >> 1), ~(size + (size >> 1)) & (size >> 1)
    shifts = np.arange(max(1, int((plus | minus).max(initial=0)).bit_length()))
    digits = (plus[..., None] >> shifts & 1) - (minus[..., None] >> shifts & 1)
    return digits * np.sign(values).astype(np.int64)[..., None]


def signed_digits(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The digits that are not 0, lowest first: signs (-1, 1, and 0 behind the last) and shifts, int64 [*values.shape, K].

    K is the most that any of them has, at least 1; values: below 2^61 in magnitude.
    """
    planes = digit_planes(values)
    order = np.argsort(planes == 0, axis=-1, kind="stable")[..., : max(1, int(digit_count(values).max(initial=0)))]
    signs = np.take_along_axis(planes, order, axis=-1)
    return signs, np.where(signs == 0, 0, order)


@dataclass(frozen=True)
class DigitCode:
    """How constants are stored as digits, each as eq_digit.sv has it. count: digits of a constant.  max_shift: of any."""

    count: int
    max_shift: int

    @staticmethod
    def of(values: np.ndarray) -> DigitCode:
        """The narrowest code that holds the values."""
        count = max(1, int(digit_count(values).max(initial=0)))
        return DigitCode(count, max(0, int(_places(values).max(initial=0)).bit_length() - 1))

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
