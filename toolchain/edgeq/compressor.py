"""How many bits of different weights are added in the fewest LUTs: a plan of counters and one final carry chain.

Position j of a carry chain computes O + 2*carry' = v + carry for any v in {0, 1, 2} that its LUT6_2 makes of the inputs:
S = [v == 1], DI = [v == 2] where v != 1. So two LUTs are a counter that takes six bits and a carry in, all of one weight, and
gives three: the upper position's v is how many pairs the first five bits have (Preusser, FPL 2017, arXiv 1806.08095). The
final chain adds up what is left of every column in one LUT a column; a ternary adder is one of its forms. Either removes two
bits a LUT, a 6:3 counter of plain LUTs one.

A chain of which only the highest sum bit is wanted (a comparison) covers several columns a position: with v of k columns,
carry' = [v + carry >= 2^k], so S = [v == 2^k - 1], DI = [v >= 2^k].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal, NamedTuple

from edgeq.cells import PAIR_INPUTS
from edgeq.errors import EdgeqError

LUT_INPUTS = 6

CarryIn = Literal["", "bit", "one"]
Pass = Literal["", "read", "wire"]
Search = Literal["exact", "small", "fast"]


@dataclass(frozen=True)
class Counter:
    """`low` bits of a column and `high` of the next one become a bit in each of `outputs` columns.

    7 and 6: a chain of two positions, with and without a carry in. (5, 1): a chain of two positions with a carry in.
    3 and 2: a full and a half adder in one LUT6_2. With one output: an exclusive or, in the highest column.
    """

    low: int
    high: int
    outputs: int

    @property
    def luts(self) -> int:
        return 1 if self.low <= 3 or self.outputs == 1 else 2

    @property
    def chained(self) -> bool:
        return self.low > 3 and self.outputs > 1


class Column(NamedTuple):
    """What happens to one column, lowest first.

    counters: in this order; their sum bits stay in the column. carry_in: what enters the chain, which starts here. chained: the
    chain runs through the column. passes: how the pairs among the bits get to the next position, which reads the bits again or
    a wire from this one's second LUT output. opens: a position of several columns starts here; extends: it goes on. up: the
    column's only bit and a constant 1 leave the bit inverted, and the bit again in the next column.
    """

    counters: tuple[Counter, ...]
    carry_in: CarryIn = ""
    chained: bool = False
    passes: Pass = ""
    opens: bool = False
    extends: bool = False
    up: bool = False


@dataclass(frozen=True)
class Plan:
    """cost: in units of the search; luts: the same in LUTs. levels: of LUTs in the chain, itself one. constant: what is added."""

    cost: int
    luts: float
    levels: int
    constant: int
    compare: bool
    columns: tuple[Column, ...]


class _State(NamedTuple):
    """What a position leaves for the next: `running`, a chain has started; of the pairs among the last column's bits their
    most, and the inputs that tell (a wire: -1). In a comparison: the largest value, inputs and columns of the open position.
    """

    running: bool = False
    most: int = 0
    inputs: int = 0
    columns: int = 0


_LUT, _WIRE, _CHAIN = 16, 3, 2
"""Costs: a LUT; a position that passes a signal on, which takes the place of a LUT but none in a count; a counter's chain."""
_NEVER = 1 << 60
_SLACK = 12
"""Bits of a column that full-size counters may leave for other counters and the chain."""


@lru_cache(maxsize=8192)
def plan(
    heights: tuple[int, ...],
    constant: int,
    word: bool = False,
    compare: bool = False,
    ternary: bool = True,
    search: Search = "exact",
) -> Plan:
    """The cheapest plan for the sum of a constant and of heights[j] bits of weight 2^j, modulo 2^len(heights).

    word: a bit of every column is added too, and comes last: only the chain reads it. compare: only the highest bit of the
    sum is wanted. ternary: positions may pass pairs by wire, which takes a third LUT level. Exact over the counters of
    `Counter` and the forms of `Column`, but for columns of many bits, of which counters leave at most 12. search: "small" and
    "fast" try two groups of counters a column (`_few_counters`), for many bits in many columns.
    """
    constant %= 1 << len(heights)
    cost, columns = _solver(word, compare, ternary, search).solve(heights, constant)
    if cost >= _NEVER and search != "exact":
        return plan(heights, constant, word, compare, ternary)
    if cost >= _NEVER:
        raise EdgeqError(f"no plan for columns of {heights} bits")
    wired = any(column.passes == "wire" for column in columns)
    return Plan(cost, cost / _LUT, 3 if wired else 2, constant, compare, columns)


@cache
def _solver(word: bool, compare: bool, ternary: bool, search: Search) -> _Solver:
    return _Solver(word, compare, ternary, search)


_Way = tuple[int, Column, _State]
"""Of the chain through a column: its cost, and what it leaves for the next."""


class _Move(NamedTuple):
    """What happens to one column. up1, up2: bits more in the next two."""

    cost: int
    up1: int
    up2: int
    after: _State
    counters: tuple[Counter, ...]
    chain: Column


_Found = tuple[int, _Move | None]
"""The least cost of some columns, and the lowest one's move."""


class _Sums(NamedTuple):
    """What is added, and what is known of columns j and up, by the bits in the lowest two and the state before them."""

    heights: tuple[int, ...]
    constant: int
    known: list[dict[tuple[int, int, _State], _Found]]


class _Solver:
    """The search, column by column; kept, since sums of different sizes meet in the same columns."""

    def __init__(self, word: bool, compare: bool, ternary: bool, search: Search) -> None:
        self.word, self.compare, self.ternary, self.search = word, compare, ternary, search
        self.known: dict[tuple[tuple[int, ...], int], dict[tuple[int, int, _State], _Found]] = {}
        self.known_moves: dict[tuple[int, int, int, int, _State], list[_Move]] = {}
        self.known_ways: dict[tuple[_State, int, int, int], list[_Way]] = {}

    def solve(self, heights: tuple[int, ...], constant: int) -> tuple[int, tuple[Column, ...]]:
        """Cost and columns."""
        width, heights = len(heights), (*heights, 0, 0)
        sums = _Sums(heights, constant, [self.known.setdefault((heights[j + 2 :], constant >> j), {}) for j in range(width)])
        here, above, state = heights[0], heights[1], _State()
        total, _ = self.least(sums, 0, here, above, state)
        columns = []
        for j in range(width):
            _, move = self.least(sums, j, here, above, state)
            if move is None:
                break
            columns.append(move.chain._replace(counters=move.counters))
            here, above, state = above + move.up1, heights[j + 2] + move.up2, move.after
        return total, tuple(columns)

    def least(self, sums: _Sums, j: int, here: int, above: int, state: _State) -> _Found:
        """For columns j and up, with `here` bits in this one and `above` in the next."""
        heights, constant, known = sums
        if (best := known[j].get((here, above, state))) is not None:
            return best
        best, top = (_NEVER, None), len(known) - 1 - j
        for move in self.moves(here, min(above, 1), min(top, 2), constant >> j & 1, state):
            cost, up1, up2, after, _, _ = move
            if cost < best[0] and top:
                cost += self.least(sums, j + 1, above + up1, heights[j + 2] + up2, after)[0]
            if cost < best[0]:
                best = cost, move
        known[j][here, above, state] = best
        return best

    def moves(self, here: int, above: int, top: int, one: int, state: _State) -> list[_Move]:
        """For a column of `here` bits, of those that leave the same the first of the cheapest. `above` 1, `top` 2: or more."""
        key = here, above, top, one, state
        if (found := self.known_moves.get(key)) is not None:
            return found
        every = _counters(here, above, top) if self.search == "exact" else _few_counters(self.search, here, above, top, one)
        best: dict[tuple[int, int, _State], _Move] = {}
        for counters, left, taken, up1, up2 in every:
            used = sum(c.luts * _LUT + c.chained * _CHAIN for c in counters)
            for cost, chain, after in self.ways(state, left, one, top):
                leaves = up1 + chain.up - taken, up2, after
                if leaves not in best or used + cost < best[leaves].cost:
                    best.pop(leaves, None)  # of equal costs the first one counts, in this order
                    best[leaves] = _Move(used + cost, *leaves, counters, chain)
        return self.known_moves.setdefault(key, list(best.values()))

    def ways(self, state: _State, bits: int, one: int, top: int) -> list[_Way]:
        """As `positions`."""
        key = state, bits, one, top
        if (found := self.known_ways.get(key)) is None:
            found = self.known_ways[key] = list(self.positions(*key))
        return found

    def positions(self, state: _State, bits: int, one: int, top: int) -> Iterator[_Way]:
        """Ways of the chain through a column that has `bits` bits beside the word's, and perhaps a constant 1."""
        bits += self.word
        step = self.compared if self.compare else self.summed
        if state.running:
            yield from step(state, bits, one, top, "")
            return
        if bits + one <= 1 or (bits == 1 and top == 0):
            yield 0, Column(()), state
        elif bits == one == 1:
            yield 0, Column((), up=True), state
        elif top == 0:
            if bits <= LUT_INPUTS:
                yield _LUT, Column(()), state
            return
        yield from step(_State(True), bits, one, top, "")
        if bits > self.word:
            yield from step(_State(True), bits - 1, one, top, "bit")
        if one:
            yield from step(_State(True), bits, 0, top, "one")

    def summed(self, state: _State, bits: int, one: int, top: int, carry_in: CarryIn) -> Iterator[_Way]:
        """A position of an adder. The bits are an odd number, whose pairs pass on, and one more; or one more alone."""
        _, most, read, _ = state
        wire = read < 0
        total, inputs = bits + one, bits + abs(read)
        cost = _LUT if inputs > 1 or (inputs and one) or (read > 0 and most == 0) else _WIRE * (inputs == 1)
        column = Column((), carry_in, True)
        plain = _State(True)
        if top == 0:
            if inputs <= LUT_INPUTS:
                yield cost, column, plain
        elif total <= 2 - most:
            if inputs <= PAIR_INPUTS:
                yield cost, column, plain
        elif most == 0 and total <= LUT_INPUTS:  # the last bit is DI
            passed = total - 1
            yield _LUT, column._replace(passes="read"), _State(True, passed // 2, passed - one)
            if passed <= 3 and self.ternary:
                yield _LUT, column._replace(passes="wire"), _State(True, 1, -1)
        elif most == 1 and total <= 3 and inputs <= PAIR_INPUTS:
            yield _LUT, column._replace(passes="read"), _State(True, 1, total - one)
            if wire and self.ternary:
                yield _LUT, column._replace(passes="wire"), _State(True, 1, -1)

    def compared(self, state: _State, bits: int, one: int, top: int, carry_in: CarryIn) -> Iterator[_Way]:
        """A position of an adder of which only the carry is wanted, or a column of a position of a comparison."""
        _, most, inputs, columns = state
        if columns:
            value, read = most + ((bits + one) << columns), inputs + bits
            if top and read <= PAIR_INPUTS and value <= 4 << columns:
                more = _position_cost(read, value) - _position_cost(inputs, most)
                yield more, Column((), carry_in, True, extends=True), _State(True, value, read, columns + 1)
            if most > (2 << columns) - 2:
                return
            state = _State(True)
        yield from self.summed(state, bits, one, top, carry_in)
        value, read = state.most + bits + one, abs(state.inputs) + bits
        if top and read <= PAIR_INPUTS and value <= 4:
            yield _position_cost(read, value), Column((), carry_in, True, opens=True), _State(True, value, read, 1)


def _position_cost(inputs: int, value: int) -> int:
    """Of a position of a comparison by its inputs and largest value: where they are one, S is the input."""
    return _LUT if value > 1 and inputs else _WIRE * inputs


@cache
def _counters(here: int, above: int, top: int) -> tuple[tuple[tuple[Counter, ...], int, int, int, int], ...]:
    """Counters for a column of `here` bits: with the bits left, those taken from the next column, and carries to the next two.

    top: columns above. The last counter leaves its own sum bit.
    """
    if top == 0:  # only the parity counts
        least = max(0, -(-(here - LUT_INPUTS) // 5))
        most = max(0, -(-(here - 1) // 5))
        sizes = [[min(6, here - 5 * i) for i in range(n)] for n in range(least, most + 1)]
        return tuple((tuple(Counter(k, 0, 1) for k in n), here - sum(n) + len(n), 0, 0, 0) for n in sizes)
    wide = min(3, top + 1)
    found = []
    for sevens in range(max(0, -(-(here - _SLACK) // 6)), max(0, here - 1) // 6 + 1):
        for tail in _TAILS:
            low = sum(c.low - 1 for c in tail)
            high = sum(c.high for c in tail)
            left = here - 6 * sevens - low
            if left >= bool(sevens or tail) and high <= above + sevens:
                tails = tuple(Counter(c.low, c.high, min(c.outputs, wide)) for c in tail)
                up2 = sevens + sum(c.outputs == 3 for c in tail) if wide == 3 else 0
                found.append(((Counter(7, 0, wide),) * sevens + tails, left, high, sevens + len(tail), up2))
    return tuple(found)


_Option = tuple[tuple[Counter, ...], int, int, int, int]
"""Of `_counters`."""


@cache
def _few_counters(search: Search, here: int, above: int, top: int, one: int) -> tuple[_Option, ...]:
    """Of `_counters`, those that leave what a chain can add to a constant `one`: the two that remove most bits a LUT ("small"),
    or that leave most ("fast"): what is left are the latest bits, for which the column's own counters then do not wait."""
    every = _counters(here, above, top)
    if top <= 1:
        return every
    room = max(3 - one, min(left for _, left, *_ in every))

    def waste(option: _Option) -> float:
        counters, left, *_ = option
        removed = sum(c.low + c.high - c.outputs for c in counters)
        return sum(c.luts for c in counters) - removed / 2 + (0.3 if search == "small" else 9) * (room - left)

    return tuple(sorted((o for o in every if o[1] <= room), key=waste)[:2])


_TAILS = (
    (),
    (Counter(6, 0, 3),),
    (Counter(5, 1, 3),),
    (Counter(3, 0, 2),),
    (Counter(3, 0, 2), Counter(3, 0, 2)),
    (Counter(2, 0, 2),),
    (Counter(3, 0, 2), Counter(2, 0, 2)),
    (Counter(6, 0, 3), Counter(3, 0, 2)),
    (Counter(5, 1, 3), Counter(3, 0, 2)),
)
"""Counters beside 7:3 of which a column takes one group."""
