"""How many bits of different weights are added with LUT6: a plan of counters and one final carry adder.

Every counter below costs one LUT an output, so a 6:3 counter (three LUT) removes three bits. The final adder costs one LUT
a column, and its second operand may be any function of five signals, since LUT6 has room for it: the last counters are free.
A 6:3 counter adds a constant 1 for nothing (six bits and a one make at most seven).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from edgeq.errors import EdgeqError

FREE_INPUTS = 5
"""Signals that a LUT6 of the final adder can take beside the first operand."""
_NO_LIMIT = 1 << 60


@dataclass(frozen=True)
class Counter:
    """`low` bits of a column, `high` of the next one and the constant `plus` (0 or 1) become one bit in each of `outputs` columns."""

    low: int
    high: int
    plus: int
    outputs: int


@dataclass(frozen=True)
class Column:
    """What happens to one column, lowest first.

    counters: in this order. constant: a 1 that is left for the second operand. span: columns that the part of the second
    operand that starts here covers; 0 inside such a part, or where only a constant is left.
    """

    counters: tuple[Counter, ...]
    constant: int
    span: int


@dataclass(frozen=True)
class Plan:
    """luts: counters and final adder."""

    luts: int
    columns: tuple[Column, ...]


_TAILS = (None, (5, 0), (4, 1), (3, 2), (3, 0), (4, 0))
"""Counters beside 6:3 and (5,1):3, of which one a column evens the numbers out."""

_Part = tuple[int, int, int]
"""A part of the second operand in progress: columns still to cover, signals still free, the sum that still fits."""


@lru_cache(maxsize=4096)
def plan(width: int, bits: int, constant: int, second: bool) -> Plan:
    """The cheapest plan for the sum of `bits` bits of weight 1, `constant` and, where `second` is False, nothing else; where it
    is True, a word of `width` bits; modulo 2^width.

    The final adder's first operand is that word, else one bit of each column. Exact search over the counters of each column.
    """
    if width == 0:
        return Plan(0, ())
    if second and bits == 0 and constant % (1 << width) == 0:
        return Plan(0, (Column((), 0, 0),) * width)
    keep = 0 if second else 1  # bits of a column that the first operand takes

    @lru_cache(maxsize=None)
    def solve(j: int, here: int, above: int, rest: int, part: _Part | None) -> tuple[int, tuple[Column, ...]]:
        """Columns j and up: bits here and in the next column, and the constant shifted to here."""
        if j == width:
            return 0, ()
        top = width - j
        best: tuple[int, tuple[Column, ...]] = (_NO_LIMIT, ())
        for counters, used_here, used_above in _choices(here, above, FREE_INPUTS + keep, top, rest):
            carries = [sum(c.outputs > k for c in counters) for k in (1, 2)]
            left = (rest - sum(c.plus for c in counters)) % (1 << top)
            live = max(0, here - used_here - keep)
            for span, cost, next_part in _parts(top, part, live, left & 1):
                above_next, columns = solve(j + 1, above - used_above + carries[0], carries[1], left >> 1, next_part)
                total = above_next + cost + sum(c.outputs for c in counters)
                if total < best[0]:
                    best = (total, (Column(counters, left & 1, span), *columns))
        return best

    luts, columns = solve(0, bits, 0, constant % (1 << width), None)
    if not columns:
        raise EdgeqError(f"no compressor plan for {bits} bits in {width} columns")
    return Plan(luts + width, columns)


def _choices(here: int, above: int, most: int, top: int, rest: int) -> Iterator[tuple[tuple[Counter, ...], int, int]]:
    """Counters that leave at most `most` bits of a column, and the bits that they take, net, here and from the next column."""
    for fives in range(min(2, here // 4) + 1):
        for tail in _TAILS:
            low, high = tail or (0, 0)
            other = 4 * fives + (low - 1 if tail else 0)
            least = max(0, -(-(here - other - most) // 5))
            for sixes in (least, least + 1):
                used = other + 5 * sixes
                # The last counter leaves its own sum bit; bits from the next column must not be a counter's own carry.
                if here - used < bool(fives or tail or sixes) or fives + high > above + sixes + bool(tail and not high):
                    continue
                for plus in sorted({0, *range(rest & 1, min(sixes, 7) + 1, 2)}):
                    counters = [Counter(6, 0, int(i < plus), min(3, top)) for i in range(sixes)]
                    if tail:
                        counters.append(Counter(low, high, 0, min((low + 2 * high).bit_length(), top)))
                    counters += [Counter(5, 1, 0, min(3, top))] * fives
                    yield tuple(counters), used, fives + high


def _parts(top: int, part: _Part | None, live: int, constant: int) -> Iterator[tuple[int, int, _Part | None]]:
    """Ways to give a column's `live` bits and constant to the second operand: columns covered, LUT, the part in progress."""
    if part is None and live == 0:
        yield 0, constant, None  # an inverter
        return
    starts = [part] if part else [(m, FREE_INPUTS, (1 << m) - 1 if m < top else _NO_LIMIT) for m in range(1, top + 1)]
    for columns, free, room in starts:
        if live <= free and live + constant <= room:
            room_above = _NO_LIMIT if room == _NO_LIMIT else (room - live - constant) // 2
            yield 0 if part else columns, 0, (columns - 1, free - live, room_above) if columns > 1 else None
