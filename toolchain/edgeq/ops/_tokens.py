"""What the operators with constant tokens share."""

from __future__ import annotations

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.fold import Fold


def spacing(constants: np.ndarray, lo: int) -> int:
    """The largest number that divides every constant - lo; 0 where all are lo.  constants: int64, in [lo, lo + 2^63]."""
    return int(np.gcd.reduce((constants - lo).astype(np.uint64).ravel()))


def in_units(constants: np.ndarray, exponent: int) -> np.ndarray:
    """constants / 2^exponent. Raises EdgeqError where one is not a whole number or leaves 63 bits."""
    scaled = constants >> exponent if exponent >= 0 else constants << min(-exponent, 63)
    back = scaled << exponent if exponent >= 0 else scaled >> min(-exponent, 63)
    if not np.array_equal(back, constants):
        raise EdgeqError(f"constants of at most {np.abs(constants).max()} in units of 2^{exponent}", fix="another format")
    return scaled


def parts(fold: Fold, channels: int) -> int:
    """Beats of a pixel: such operators take a beat a cycle, whatever it carries."""
    return channels // fold.pe if fold.narrow else 1


def by_beats(constants: np.ndarray, fold: Fold) -> np.ndarray:
    """Constants [C, pixels] as [beats, channels of a beat]."""
    return constants.T.reshape(constants.shape[1] * parts(fold, len(constants)), -1)


def repeated(walk: bytes, parts: int) -> bytes:
    """The walk of beats where a pixel takes one, of beats where it takes so many."""
    return bytes(np.repeat(np.frombuffer(walk, np.uint8), parts))
