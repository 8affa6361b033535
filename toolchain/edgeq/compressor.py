"""How many bits of different weights are added with LUT6: a plan of counters and one final carry adder.

Every counter below costs one LUT an output, so a 6:3 counter (three LUT) removes three bits. The final adder costs one LUT
a column, and its second operand may be any function of five signals, since LUT6 has room for it: the last counters are free.
A 6:3 counter adds a constant 1 for nothing (six bits and a one make at most seven).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

from edgeq.errors import EdgeqError

FREE_INPUTS = 5
"""Signals that a LUT6 of the final adder can take beside the first operand."""
_NO_LIMIT = 1 << 60


@dataclass(frozen=True)
class Counter:
    """`low` bits of a column, `high` of the next and the constant `plus` (0 or 1) become a bit in each of `outputs` columns."""

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


_Tail = tuple[int, int]
_TAILS: tuple[_Tail | None, ...] = (None, (5, 0), (4, 1), (3, 2), (3, 0))
"""Counters beside 6:3 and (5,1):3, of which one a column evens the numbers out: bits of the column and of the next one."""
_TAIL_BELOW = 40
"""Columns of more bits do without one: they have many 6:3 and (5,1):3 to choose from, and the search stays short."""

_Choice = tuple[int, int, int, _Tail | None, int, int]
"""One column of a plan: 6:3 counters, ones that they add, (5,1):3 counters, the tail, the constant left, the span."""
_Part = tuple[int, int, int]
"""A part of the second operand in progress: columns still to cover, signals still free, the sum that still fits."""


@lru_cache(maxsize=4096)
def plan(width: int, bits: int, constant: int, second: bool) -> Plan:
    """The cheapest plan for the sum of `bits` bits of weight 1 and `constant`, modulo 2^width.

    second: a word of `width` bits is added too, as the final adder's first operand; else that operand takes one bit of each
    column. A search over the counters of each column, exact for the counters it knows in columns of few bits.
    """
    if second and bits == 0 and constant % (1 << width) == 0:
        return Plan(0, (Column((), 0, 0),) * width)
    keep = 0 if second else 1  # bits of a column that the first operand takes

    @cache
    def solve(j: int, here: int, above: int, rest: int, part: _Part | None) -> tuple[int, tuple[_Choice, ...]]:
        """Columns j and up: bits here and in the next column, and the constant shifted to here."""
        if j == width:
            return 0, ()
        top = width - j
        best: tuple[int, tuple[_Choice, ...]] = (_NO_LIMIT, ())
        for sixes, fives, tail in _counters(here, above, FREE_INPUTS + keep):
            low, high = tail or (0, 0)
            many, of_tail = min(3, top), min((low + 2 * high).bit_length(), top)
            luts = many * (sixes + fives) + of_tail
            used = 5 * sixes + 4 * fives + (low - 1 if tail else 0)
            carries = [(many > k) * (sixes + fives) + (of_tail > k) for k in (1, 2)]
            for plus in sorted({0, *(p for p in (rest & 1, rest & 3, rest & 7) if p <= sixes)}):
                left = (rest - plus) % (1 << top)
                for span, cost, next_part in _parts(top, part, max(0, here - used - keep), left & 1):
                    cost += luts
                    if cost >= best[0]:
                        continue
                    after, choices = solve(j + 1, above - fives - high + carries[0], carries[1], left >> 1, next_part)
                    if cost + after < best[0]:
                        best = (cost + after, ((sixes, plus, fives, tail, left & 1, span), *choices))
        return best

    luts, choices = solve(0, bits, 0, constant % (1 << width), None)
    if len(choices) < width:
        raise EdgeqError(f"no compressor plan for {bits} bits in {width} columns")
    return Plan(luts + width, tuple(_column(choice, width - j) for j, choice in enumerate(choices)))


def _counters(here: int, above: int, most: int) -> Iterator[tuple[int, int, _Tail | None]]:
    """Counters (6:3, (5,1):3, tail) that leave at most `most` bits of a column."""
    for fives in range(min(4, here // 4) + 1):
        for tail in _TAILS if here <= _TAIL_BELOW else _TAILS[:1]:
            low, high = tail or (0, 0)
            left = here - 4 * fives - (low - 1 if tail else 0)
            least = max(0, -(-(left - most) // 5))
            for sixes in (least, least + 1):
                # The last counter leaves its own sum bit; bits from the next column must not be a counter's own carry.
                if left - 5 * sixes >= bool(fives or tail or sixes) and fives + high <= above + sixes + bool(tail and not high):
                    yield sixes, fives, tail


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


def _column(choice: _Choice, top: int) -> Column:
    sixes, plus, fives, tail, constant, span = choice
    counters = [Counter(6, 0, int(i < plus), min(3, top)) for i in range(sixes)]
    if tail:
        counters.append(Counter(*tail, 0, min((tail[0] + 2 * tail[1]).bit_length(), top)))
    return Column((*counters, *[Counter(5, 1, 0, min(3, top))] * fives), constant, span)
