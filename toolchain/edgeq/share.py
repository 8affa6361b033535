"""Common partial sums of the rows of a binary layer: terms that two rows have in common, up to one sign, are summed once.

A greedy search for large patterns: of all pairs of rows the one with most terms of equal (or all of opposite) sign gives its
terms to a new row, which both then refer to; the new row takes part in the search, so a pattern may be shared by many. Summing n
terms leaves n.bit_length() bits, so a pattern of n terms used twice saves n - n.bit_length() of the bits that are added.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Row:
    """A sum of terms with signs, [n] each, and of other rows with signs. count: terms in all."""

    terms: np.ndarray
    signs: np.ndarray
    parts: tuple[tuple[int, int], ...]
    count: int


def plain(rows: np.ndarray) -> list[Row]:
    """Rows without anything in common.  rows: [R, K] of -1, 0 and +1."""
    return [Row(used := np.flatnonzero(row), row[used], (), len(used)) for row in rows]


def shared(rows: np.ndarray, least: int) -> list[Row]:
    """The rows, then their common patterns that save `least` bits or more, each used twice.

    rows: [R, K] of -1, 0 and +1. O(K R) a pattern, of which there are at most 8 R, and 1,024. Deterministic: ties go to
    lower rows.
    """
    search = _Search(rows)
    while search.used < search.most and search.step(least):
        pass
    return search.rows()


class _Search:
    """The greedy search: m holds what is left of each row, [most, K]."""

    def __init__(self, rows: np.ndarray) -> None:
        self.used, terms = rows.shape
        self.most = self.used + min(8 * self.used, 1024)
        self.m = np.zeros((self.most, terms), np.float32)  # exact: counts below 2^24
        self.m[: self.used] = rows
        self.size = np.abs(self.m)
        self.common = np.zeros((self.most, self.most), np.int32)  # the larger overlap of two rows: of equal or opposite signs
        self.same = np.zeros((self.most, self.most), bool)
        self.best = np.zeros(self.most, np.int32)  # of each row, and with which other
        self.other = np.zeros(self.most, np.int64)
        self.parts: list[list[tuple[int, int]]] = [[] for _ in range(self.most)]
        self.counts = np.abs(rows).sum(axis=1).tolist()
        self._update(np.arange(self.used))

    def _update(self, changed: np.ndarray) -> None:
        """Compares the changed rows with all."""
        n = self.used
        product, both = self.m[:n] @ self.m[changed].T, self.size[:n] @ self.size[changed].T
        agree, differ = both + product, both - product
        found, sign = (np.maximum(agree, differ) / 2).astype(np.int32), agree >= differ
        found[changed, np.arange(len(changed))] = 0
        self.common[:n, changed], self.same[:n, changed] = found, sign
        self.common[changed, :n], self.same[changed, :n] = found.T, sign.T
        # Overlaps only shrink, so a row's best is still it unless it was with a changed row.
        stale = np.union1d(np.flatnonzero(np.isin(self.other[:n], changed)), changed)
        self.other[stale] = self.common[stale, :n].argmax(axis=1)
        self.best[:n] = self.common[np.arange(n), self.other[:n]]

    def step(self, least: int) -> bool:
        """Takes out the largest common pattern; False where none saves `least` bits."""
        i = int(self.best[: self.used].argmax())
        j, count, new = int(self.other[i]), int(self.best[i]), self.used
        if count - count.bit_length() < least:
            return False
        sign = 1 if self.same[i, j] else -1
        where = (self.m[i] != 0) & (self.m[i] == sign * self.m[j])
        self.m[new, where] = self.m[i, where]
        self.size[new, where] = 1
        for row, its_sign in ((i, 1), (j, sign)):
            self.m[row, where] = self.size[row, where] = 0
            self.parts[row].append((new, its_sign))
        self.counts.append(count)
        self.used += 1
        self._update(np.array([i, j, new]))
        return True

    def rows(self) -> list[Row]:
        """What is left of each row, and its parts."""
        left = plain(self.m[: self.used].astype(np.int64))
        parts = map(tuple, self.parts)
        return [Row(row.terms, row.signs, p, int(n)) for row, p, n in zip(left, parts, self.counts, strict=False)]
