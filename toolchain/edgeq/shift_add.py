"""A layer of constant integer weights as SystemVerilog without a multiplier: shifts, additions, then the fused operator.

Weights are canonical signed digits, so that a sum of products is a sum of shifted inputs, added or subtracted. Two-term
subexpressions a +- (b << s) that several sums have in common are added once (Hcub and CMVM, Aksoy et al.; da4ml, arXiv
2507.04535), greedily by the LUTs that they save: a bit that goes into a sum costs half a LUT (`compressor`), one of a
subexpression a LUT. What is left of a sum are columns of bits, which counters and one carry chain add. A signed word has its top
bit inverted, a subtracted one the others; what that takes off, offsets and halves for rounding are one constant a sum.

A `Rescale` multiplies the sum the same way: by a power of two it is a shift of the terms; else a second sum of the first one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from edgeq.cells import FAMILIES
from edgeq.compressor import LUT_INPUTS, Plan, plan
from edgeq.digits import digit_count, digit_planes
from edgeq.fold import MAX_LUT_LEVELS
from edgeq.graph import range_width
from edgeq.netlist import Bit, Netlist, Word, chain_start
from edgeq.unrolled import Compare

MAX_DIGITS = 40_000
"""Nonzero digits of the weights of a layer that can be unrolled."""
BLOCK = 64
"""Inputs among which common subexpressions are looked for."""
MAX_PARTS = 512
"""Common subexpressions of a block."""
MAX_DEPTH = 2
"""Of a subexpression, in additions."""
_LUT_A_BIT = 0.5
_TEXT_BITS = 31


@dataclass(frozen=True)
class Inputs:
    """The words that the terms of a layer are. port: the vector and place of each word's lowest bit; lo, hi: int64 [K].

    A word is unsigned where lo >= 0, else two's complement, of as many bits as [lo, hi] needs.
    """

    port: tuple[tuple[str, int], ...]
    lo: np.ndarray
    hi: np.ndarray

    def width(self, k: int) -> int:
        return range_width(int(self.lo[k]), int(self.hi[k]))


@dataclass(frozen=True)
class Sums:
    """acc_o[c] = y[c] in `bits` bits, two's complement. registered: they come from registers."""

    bits: int
    registered: bool = True


@dataclass(frozen=True)
class Rescale:
    """y_o[c] = clip(round((y[c]*multiplier[c] + offset[c]) / 2^shift), lo, hi) in `bits` bits, two's complement where lo < 0.

    multiplier, offset: int64 [C]. half_even: rounds half to even; else down.
    """

    multiplier: np.ndarray
    offset: np.ndarray
    shift: int
    half_even: bool
    lo: int
    hi: int
    bits: int


Tail = Sums | Compare | Rescale


@dataclass(frozen=True)
class ShiftAdd:
    """A generated module.

    text: SystemVerilog. latency: cycles from x_i to the output. additions: of words; direct_additions: without common
    subexpressions; subexpressions: how many. compare: the output is one bit a channel. luts, ffs, carries (CARRY8): by the
    generator's own count.
    """

    text: str
    latency: int
    additions: int
    direct_additions: int
    subexpressions: int
    luts: int
    ffs: int
    carries: int
    compare: bool


Term = tuple[int, int, int]
"""A node, the shift, and the sign: +-(node << shift)."""


@dataclass(frozen=True)
class Program:
    """Sums of terms. Node K + i is the sum of parts[i], those before are the inputs. lo, hi: the exact range of each node."""

    parts: tuple[tuple[Term, ...], ...]
    rows: tuple[tuple[Term, ...], ...]
    lo: tuple[int, ...]
    hi: tuple[int, ...]
    digits: int

    @property
    def additions(self) -> int:
        return len(self.parts) + sum(max(0, len(row) - 1) for row in self.rows)


def digits(weight: np.ndarray) -> int:
    """Nonzero digits of all weights."""
    return int(digit_count(weight).sum())


def program(weight: np.ndarray, inputs: Inputs, blocks: tuple[tuple[int, ...], ...], share: bool = True) -> Program:
    """The sums of weight [C, K], int64, of the inputs; the last ones are kept.

    blocks: the inputs among which subexpressions are shared, such as those of a group.
    """
    arrays = weight.astype(np.int64), inputs.lo.astype(np.int64), inputs.hi.astype(np.int64)
    return _program(*(a.tobytes() for a in arrays), weight.shape, blocks, share)


@lru_cache(maxsize=64)
def _program(
    weights: bytes, low: bytes, high: bytes, shape: tuple[int, int], blocks: tuple[tuple[int, ...], ...], share: bool
) -> Program:
    weight = np.frombuffer(weights, np.int64).reshape(shape)
    lo, hi = np.frombuffer(low, np.int64), np.frombuffer(high, np.int64)
    rows: list[list[Term]] = [[] for _ in range(shape[0])]
    parts: list[tuple[Term, ...]] = []
    ranges = list(zip(lo.tolist(), hi.tolist(), strict=True))
    for whole in blocks:
        count = -(-len(whole) // BLOCK)
        for block in np.array_split(np.array(whole), count):
            own = np.flatnonzero(weight[:, block].any(axis=1))
            if not len(own):
                continue
            search = _Search(weight[np.ix_(own, block)], lo[block], hi[block])
            while share and search.step():
                pass
            first = shape[1] + len(parts)
            names = [*block.tolist(), *range(first, first + len(search.parts))]
            parts += [tuple((names[n], s, sign) for n, s, sign in part) for part in search.parts]
            ranges += search.ranges
            for row, terms in zip(own.tolist(), search.rows(), strict=True):
                rows[row] += [(names[n], s, sign) for n, s, sign in terms]
    low_of, high_of = zip(*ranges, strict=True)
    return Program(tuple(parts), tuple(map(tuple, rows)), low_of, high_of, digits(weight))


class _Search:
    """The greedy search of a block. v: the digits left of each node, [most, S, C]; gain: of a pattern, [most, most, 2S - 1, 2].

    The pattern [a, b, d, same] is (a << s) +- (b << s + d - (S - 1)) for any s, with `same` 1 for equal signs.
    """

    def __init__(self, weight: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> None:
        self.v = digit_planes(weight).transpose(1, 2, 0).astype(np.float32)  # exact: counts below 2^24
        self.used, self.places, channels = self.v.shape
        self.inputs = self.used
        self.most = self.used + min(MAX_PARTS, 8 * channels)
        self.v = np.concatenate([self.v, np.zeros((self.most - self.used, *self.v.shape[1:]), np.float32)])
        self.lo, self.hi = lo, hi
        self.weights = np.zeros((self.most, self.used), np.int64)  # of each node, in the inputs
        self.weights[: self.used] = np.eye(self.used, dtype=np.int64)
        self.width = np.zeros(self.most, np.int64)
        self.width[: self.used] = [range_width(a, b) for a, b in zip(lo.tolist(), hi.tolist(), strict=True)]
        self.depth = np.zeros(self.most, np.int64)
        self.parts: list[tuple[Term, Term]] = []
        self.ranges: list[tuple[int, int]] = []
        self.gain = np.full((self.most, self.most, 2 * self.places - 1, 2), -1, np.float32)
        self.never: set[tuple[int, int, int, int]] = set()
        self.best = np.full(self.most, -1, np.float32)
        self.other = np.zeros(self.most, np.int64)
        self._update(np.arange(self.used))

    def _update(self, changed: np.ndarray) -> None:
        """Counts the patterns of the changed nodes anew."""
        n, s = self.used, self.places
        moved = np.zeros((len(changed), 2 * s - 1, s, self.v.shape[2]), np.float32)
        for d in range(1 - s, s):
            moved[:, d + s - 1, max(0, -d) : s - max(0, d)] = self.v[changed, max(0, d) : s + min(0, d)]
        flat, other = self.v[:n].reshape(n, -1), moved.reshape(len(changed) * (2 * s - 1), -1)
        product, both = flat @ other.T, np.abs(flat) @ np.abs(other).T
        count = np.stack([both - product, both + product], axis=-1).reshape(n, len(changed), 2 * s - 1, 2) / 2
        distance = np.arange(1 - s, s)
        wide, own = self.width[:n, None, None], self.width[changed][None, :, None]
        span = np.maximum(wide, own + distance) - np.minimum(0, distance) + 1
        saved = wide + own - span
        deep = np.maximum(self.depth[:n, None], self.depth[changed]) >= MAX_DEPTH
        gain = (count * (saved * _LUT_A_BIT)[..., None] - (span - np.abs(distance))[..., None]).astype(np.float32)
        gain[deep] = -1
        gain[changed, np.arange(len(changed)), s - 1] = -1  # a node with itself, unshifted
        self.gain[:n, changed] = gain
        self.gain[changed, :n] = gain.transpose(1, 0, 2, 3)[:, :, ::-1]
        for a, b, place, same in self.never:
            self.gain[a, b, place, same] = self.gain[b, a, 2 * s - 2 - place, same] = -1
        stale = np.union1d(np.flatnonzero(np.isin(self.other[:n] // (4 * s - 2), changed)), changed)
        rows = self.gain[stale, :n].reshape(len(stale), -1)
        self.other[stale] = rows.argmax(axis=1)
        self.best[stale] = rows[np.arange(len(stale)), self.other[stale]]
        fresh = self.gain[:n][:, changed].reshape(n, -1)  # a part that was just made may be the best for others
        most = fresh.argmax(axis=1)
        better = np.flatnonzero(fresh[np.arange(n), most] > self.best[:n])
        which, rest = np.divmod(most[better], 4 * s - 2)
        self.other[better] = changed[which] * (4 * s - 2) + rest
        self.best[better] = fresh[better, most[better]]

    def step(self) -> bool:
        """Makes the pattern that saves most a part; False where none saves a LUT."""
        if self.used == self.most:
            return False
        a = int(self.best[: self.used].argmax())
        if self.best[a] <= 0:
            return False
        b, rest = divmod(int(self.other[a]), 4 * self.places - 2)
        place, same = divmod(rest, 2)
        d = place - (self.places - 1)
        if d < 0:
            a, b, d = b, a, -d
        sign = 1 if same else -1
        new = self.used
        found = 0
        for s in range(self.places - d):
            at = self.v[a, s] * self.v[b, s + d] == sign
            if at.any():
                found += int(np.count_nonzero(at))
                self.v[new, s, at] = self.v[a, s, at]
                self.v[a, s, at] = 0
                self.v[b, s + d, at] = 0
        self.weights[new] = self.weights[a] + sign * (self.weights[b] << d)
        ends = self.weights[new] * self.lo, self.weights[new] * self.hi
        low, high = int(np.minimum(*ends).sum()), int(np.maximum(*ends).sum())
        self.width[new] = max(1, range_width(low, high))
        span = self.width[new]
        if a == b and found * (self.width[a] + self.width[b] - span) * _LUT_A_BIT <= span - d:  # overlaps counted more
            self.v[a] += self.v[new]
            self.v[a, d:] += sign * self.v[new, : self.places - d]
            self.v[new] = 0
            self.never.add((a, b, d + self.places - 1, same))
            self._update(np.array([a]))
            return True
        self.used += 1
        self.depth[new] = max(self.depth[a], self.depth[b]) + 1
        self.parts.append(((a, 0, 1), (b, d, sign)))
        self.ranges.append((low, high))
        self._update(np.unique([a, b, new]))
        return True

    def rows(self) -> list[list[Term]]:
        """What is left of each row."""
        found: list[list[Term]] = [[] for _ in range(self.v.shape[2])]
        for n, s, c in np.argwhere(self.v[: self.used]).tolist():
            found[c].append((n, s, int(self.v[n, s, c])))
        return found


@dataclass(frozen=True)
class _Number:
    """A word and its exact range; two's complement where lo < 0."""

    word: Word
    lo: int
    hi: int


def _product(terms: Sequence[Term], lo: Sequence[int], hi: Sequence[int], constant: int) -> tuple[int, int]:
    """A range that holds the sum of terms with these ranges."""
    ends = [sorted((sign * lo[n] << s, sign * hi[n] << s)) for n, s, sign in terms]
    return sum(a for a, _ in ends) + constant, sum(b for _, b in ends) + constant


def _multiplier(value: int) -> list[tuple[int, int]]:
    """Shift and sign of each digit."""
    found = digit_planes(np.array([value]))[0]
    return [(s, int(d)) for s, d in enumerate(found) if d]


class _Build:
    """The netlist of a layer, and the word of each output."""

    def __init__(
        self, weight: np.ndarray, constant: np.ndarray, inputs: Inputs, made: Program, tail: Tail, net: Netlist, arrival: int
    ) -> None:
        self.net, self.made, self.inputs, self.tail, self.arrival = net, made, inputs, tail, arrival
        self.nodes: dict[int, _Number] = {}
        ends = weight * inputs.lo, weight * inputs.hi
        low, high = np.minimum(*ends).sum(axis=1) + constant, np.maximum(*ends).sum(axis=1) + constant
        self.outputs = [self.output(c, int(constant[c]), int(low[c]), int(high[c])) for c in range(len(weight))]
        last = max((b.stage for word in self.outputs for b in word if isinstance(b, Bit)), default=0)
        self.latency = last + (isinstance(tail, Sums) and tail.registered)

    def node(self, n: int) -> _Number:
        if n not in self.nodes:
            lo, hi = self.made.lo[n], self.made.hi[n]
            known = len(self.inputs.port)
            if n < known:
                port, first = self.inputs.port[n]
                bits: Word = [Bit(f"{port}[{first + i}]", 0, self.arrival) for i in range(self.inputs.width(n))]
                self.nodes[n] = _Number(bits, lo, hi)
            else:
                self.nodes[n] = self.total(self.terms(self.made.parts[n - known]), 0, lo, hi)
        return self.nodes[n]

    def terms(self, terms: Sequence[Term]) -> list[tuple[_Number, int, int]]:
        return [(self.node(n), s, sign) for n, s, sign in terms]

    def columns(self, terms: Sequence[tuple[_Number, int, int]], constant: int, width: int) -> tuple[list[list[Bit]], int]:
        """The bits of each weight, and a constant, whose sum is that of the terms modulo 2^width."""
        columns: list[list[Bit]] = [[] for _ in range(width)]
        for number, shift, sign in terms:
            top = len(number.word) - 1
            for j, bit in enumerate(number.word):
                if shift + j >= width:
                    break
                negative = (number.lo < 0 and j == top) != (sign < 0)
                if isinstance(bit, int):
                    constant += (-bit if negative else bit) << shift + j
                elif negative:
                    columns[shift + j].append(~bit)
                    constant -= 1 << shift + j
                else:
                    columns[shift + j].append(bit)
        return columns, constant % (1 << width)

    def total(self, terms: Sequence[tuple[_Number, int, int]], constant: int, lo: int, hi: int) -> _Number:
        """The sum, which is known to lie in [lo, hi]."""
        columns, constant = self.columns(terms, constant, max(1, range_width(lo, hi)))
        return _Number(self.add(columns, constant, False), lo, hi)

    def add(self, columns: list[list[Bit]], constant: int, compare: bool) -> Word:
        """The plan that is done first, in whole cycles; of such the smaller one."""
        heights, times, levels = tuple(map(len, columns)), [[b.time for b in c] for c in columns], self.net.levels

        def found(search: str) -> tuple[int, float, Plan]:
            made = plan(heights, constant, False, compare, levels > 2, search)
            return chain_start(made, times, levels) // levels, made.cost, made

        best = found("small")
        if best[0] > max((t for column in times for t in column), default=0) // levels:  # else nothing is earlier
            best = min(best, found("fast"), key=lambda each: each[:2])
        return self.net.add(best[2], columns)

    def reaches(self, terms: Sequence[tuple[_Number, int, int]], constant: int, lo: int, hi: int, least: int) -> Bit | int:
        """1 where the sum, known to lie in [lo, hi], is `least` or more."""
        if least <= lo or least > hi:
            return int(least <= lo)
        columns, constant = self.columns(terms, constant - least, range_width(lo - least, hi - least))
        (top,) = self.add(columns, constant, True)
        return ~top if isinstance(top, Bit) else 1 - top

    def output(self, c: int, constant: int, lo: int, hi: int) -> Word:
        terms = self.made.rows[c]
        if isinstance(self.tail, Compare):
            made = self.reaches(self.terms(terms), constant, lo, hi, int(self.tail.thresholds[c]))
            flip = bool(self.tail.negative[c])
            return [~made if isinstance(made, Bit) else 1 - made] if flip else [made]
        if isinstance(self.tail, Sums):
            return _extended(self.total(self.terms(terms), constant, lo, hi), self.tail.bits)
        m, b = int(self.tail.multiplier[c]), int(self.tail.offset[c])
        half = 1 << self.tail.shift - 1 if self.tail.half_even and self.tail.shift else 0
        factors = _multiplier(m)
        if len(factors) == 1:
            (e, sign) = factors[0]
            scaled, constant = self.terms([(n, s + e, own * sign) for n, s, own in terms]), constant * m
        else:
            sums = self.total(self.terms(terms), constant, lo, hi) if factors else None
            scaled, constant = [(sums, s, sign) for s, sign in factors] if sums else [], 0
        ends = sorted((lo * m + b + half, hi * m + b + half))
        return self.rounded(self.total(scaled, constant + b + half, *ends), half > 0)

    def rounded(self, number: _Number, half_even: bool) -> Word:
        """The quotient by 2^shift, clipped. half_even: a half was added: a tie, whose lower bits are 0, goes to the even one."""
        assert isinstance(self.tail, Rescale)
        net, tail, shift = self.net, self.tail, self.tail.shift
        below = _extended(number, max(shift + 1, len(number.word)))
        word, lower = below[shift:], below[:shift]
        quotient = _Number(word, number.lo >> shift, number.hi >> shift)
        untied = self.any(lower) if half_even else 1
        lo, hi = tail.lo, tail.hi
        # With an even lo and hi + 1, the last bit of the quotient does not matter to the clip.
        if untied != 1 and ((lo & 1 and quotient.lo <= lo) or (not hi & 1 and quotient.hi > hi)):
            first = net.sum_bit([word[0], untied], lambda q, rest: q & rest)
            quotient = _Number([first, *word[1:]], quotient.lo - (quotient.lo & 1), quotient.hi)
            word, untied = quotient.word, 1
        under, over = self.outside(quotient)
        y = _extended(quotient, tail.bits)
        rules: list[tuple[list[Bit | int], Callable[..., int]]] = []
        for j in range(tail.bits):
            low, high = lo >> j & 1, hi >> j & 1
            if j == 0 and untied != 1:
                rules.append(
                    ([y[0], under, over, untied], lambda q, u, o, rest, low=low, high=high: low if u else high if o else q & rest)
                )
            else:
                rules.append(([y[j], under, over], lambda q, u, o, low=low, high=high: low if u else high if o else q))
        made: Word = []
        for j in range(0, len(rules), 2):
            made += net.wires([net.rule(*rule) for rule in rules[j : j + 2]])
        return made

    def outside(self, quotient: _Number) -> tuple[Bit | int, Bit | int]:
        """Bits that tell where a number is below lo and where it is above hi; `over` may be anything where it is below."""
        assert isinstance(self.tail, Rescale)
        word, lo, hi = quotient.word, self.tail.lo, self.tail.hi
        sign = word[-1] if quotient.lo < 0 else 0
        size = len(word) - (quotient.lo < 0)
        if quotient.lo >= lo:
            under: Bit | int = 0
        elif lo == 0:
            under = sign
        else:
            under = _not(self.reaches([(quotient, 0, 1)], 0, quotient.lo, quotient.hi, lo))
        if quotient.hi <= hi:
            over: Bit | int = 0
        elif hi + 1 & hi == 0 and hi >= 0 and lo == 0:
            over = self.any(word[hi.bit_length() : size])
        else:
            over = self.reaches([(quotient, 0, 1)], 0, quotient.lo, quotient.hi, hi + 1)
        return under, over

    def any(self, bits: Sequence[Bit | int]) -> Bit | int:
        """Whether one of them is 1; those that are ready first are taken first."""
        if 1 in [b for b in bits if isinstance(b, int)]:
            return 1
        left = [b for b in bits if isinstance(b, Bit)]
        while len(left) > 1:
            left.sort(key=lambda b: b.time)
            made = self.net.sum_bit(left[:LUT_INPUTS], lambda *values: int(any(values)))
            assert isinstance(made, Bit)
            left = [*left[LUT_INPUTS:], made]
        return left[0] if left else 0

    def ports(self) -> list[tuple[str, Word]]:
        """What is assigned to the output port."""
        if isinstance(self.tail, Compare):
            return [("y_o", [word[0] for word in self.outputs])]
        bits, port = self.tail.bits, "acc_o" if isinstance(self.tail, Sums) else "y_o"
        return [(f"{port}[{c * bits} +: {bits}]", word) for c, word in enumerate(self.outputs)]


def _not(bit: Bit | int) -> Bit | int:
    return ~bit if isinstance(bit, Bit) else 1 - bit


def _extended(number: _Number, bits: int) -> Word:
    """The lowest bits of a number, of as many as it takes."""
    more = bits - len(number.word)
    return [*number.word, *[number.word[-1] if number.lo < 0 else 0] * more] if more > 0 else number.word[:bits]


def shift_add_sv(
    name: str,
    weight: np.ndarray,
    constant: np.ndarray,
    inputs: Inputs,
    blocks: tuple[tuple[int, ...], ...],
    tail: Tail,
    ports: dict[str, int],
    share: bool = True,
    max_lut_levels: int = MAX_LUT_LEVELS,
    family: str = "xcup",
    arrival: int = 0,
) -> ShiftAdd:
    """A module with all inputs in, and all of y = weight @ x + constant, or what `tail` makes of them, out, every cycle.

    weight: int64 [C, K]; constant: int64 [C]. inputs, blocks: as `program`. ports: the input vectors that `inputs` names, and
    their bits. acc_o or y_o: channel c at [c*bits +: bits]. Fixed latency, no reset, no stall; y_o, and acc_o unless
    `tail` has it registered, come from up to max_lut_levels LUT levels behind the last registers. max_lut_levels: between two
    registers. family: of edgeq.cells.FAMILIES; it changes neither sums nor latency. arrival: LUT levels that the inputs have
    behind them.

    Two bodies, of equal meaning and latency: behavioural, and LUTs with carry chains for synthesis (with EQ_LUT6 defined).
    """
    weight, constant = weight.astype(np.int64), constant.astype(np.int64)
    made = program(weight, inputs, blocks, share)
    built = _Build(weight, constant, inputs, made, tail, Netlist(max_lut_levels, family=FAMILIES[family]), arrival)
    body, luts, ffs = built.net.text(built.latency, built.ports(), False)
    bits = 1 if isinstance(tail, Compare) else tail.bits
    out = "acc_o" if isinstance(tail, Sums) else "y_o"
    behaviour = _behavioural(weight, constant, inputs, made, tail)
    unused = ", ".join(ports)
    text = [
        f"// Generated by edgeq. {len(weight)} sums of {weight.shape[1]} terms with constant weights: {made.digits:,} digits, "
        f"{len(made.parts):,} common subexpressions.",
        f"module {name} (",
        "  /// clock",
        "  input  logic clk_i,",
        *(f"  /// input words\n  input  logic [{size - 1}:0] {port}," for port, size in ports.items()),
        f"  /// results for the inputs of {built.latency} cycles ago, {bits} bits a channel",
        f"  output logic [{len(weight) * bits - 1}:0] {out}",
        ");",
        "  /* verilator lint_off UNUSEDSIGNAL */",
        "  logic unused;",
        f"  assign unused = ^{{clk_i, {unused}}};",
        "`ifdef EQ_LUT6",
        *body,
        "`else",
        *behaviour,
        *_delayed(out, len(weight) * bits, built.latency),
        "`endif",
        "  /* verilator lint_on UNUSEDSIGNAL */",
        f"endmodule : {name}",
        "",
    ]
    direct = int(np.maximum(0, digit_count(weight).sum(axis=1) - 1).sum())
    return ShiftAdd(
        "\n".join(text), built.latency, made.additions, direct, len(made.parts), luts, ffs,
        len(built.net.blocks) if built.net.family.block else 0, isinstance(tail, Compare),
    )  # fmt: skip


def estimated_shift_add_luts(
    weight: np.ndarray, inputs: Inputs, blocks: tuple[tuple[int, ...], ...], tail: Tail, share: bool = True
) -> float:
    """LUTs of `shift_add_sv` within 15 %, by the bits that are added; quick once the program is known."""
    made = program(weight, inputs, blocks, share)
    width = [max(1, range_width(lo, hi)) for lo, hi in zip(made.lo, made.hi, strict=True)]
    known = len(inputs.port)
    luts = 0.0 + sum(width[n] - part[1][1] for n, part in enumerate(made.parts, start=known))
    ends = weight * inputs.lo, weight * inputs.hi
    low, high = np.minimum(*ends).sum(axis=1).tolist(), np.maximum(*ends).sum(axis=1).tolist()
    for c, row in enumerate(made.rows):
        sum_bits = range_width(low[c], high[c])
        luts += max(0, sum(width[n] for n, _, _ in row) - sum_bits) * _LUT_A_BIT * 1.06
        if isinstance(tail, Rescale):
            more = len(_multiplier(int(tail.multiplier[c]))) - 1
            luts += max(0, more) * sum_bits * _LUT_A_BIT + 2 + tail.bits * 0.6
    return luts


def _behavioural(weight: np.ndarray, constant: np.ndarray, inputs: Inputs, made: Program, tail: Tail) -> list[str]:
    """The program in words, straight on, as the variable y."""
    most = int((np.abs(weight) * np.maximum(np.abs(inputs.lo), np.abs(inputs.hi))).sum(axis=1).max() + np.abs(constant).max())
    if isinstance(tail, Rescale):
        most = max(
            most * int(np.abs(tail.multiplier).max()) + int(np.abs(tail.offset).max()) + (1 << tail.shift),
            abs(tail.lo),
            abs(tail.hi),
        )
    kind = "int" if most.bit_length() < _TEXT_BITS else "longint"
    bits = 1 if isinstance(tail, Compare) else tail.bits
    known = len(inputs.port)
    reads, sums, results = [], [], []
    for k, (port, first) in enumerate(inputs.port):
        word = f"{port}[{first} +: {inputs.width(k)}]"
        value = f"signed'({word})" if inputs.lo[k] < 0 else word
        reads.append(f"    n{k} = {kind}'({value});")
    for k, part in enumerate(made.parts, start=known):
        sums.append(f"    n{k} = {_sum(part, 0, kind)};")
    for c, row in enumerate(made.rows):
        target = f"y[{c * bits} +: {bits}]"
        results.append(f"    v = {_sum(row, int(constant[c]), kind)};")
        if isinstance(tail, Sums):
            results.append(f"    {target} = {bits}'(v);")
        elif isinstance(tail, Compare):
            limit = f"{_number(int(np.clip(tail.thresholds[c], -most - 1, most + 1)), kind)}"
            results.append(f"    {target} = (v >= {limit}) ^ 1'b{int(tail.negative[c])};")
        else:
            m, b = int(tail.multiplier[c]), int(tail.offset[c])
            half = 1 << tail.shift - 1 if tail.half_even and tail.shift else 0
            product = "v" if m == 1 else f"v * {_number(m, kind)}"
            results.append(f"    v = {product} + {_number(b + half, kind)};")
            if half:
                results.append(f"    tie = (v & {_number((1 << tail.shift) - 1, kind)}) == 0;")
            if tail.shift:
                results.append(f"    v = v >>> {tail.shift};")  # a statement of its own: nothing unsigned is near it
            if half:
                results.append("    if (tie) v[0] = 1'b0;")
            lo, hi = _number(tail.lo, kind), _number(tail.hi, kind)
            results.append(f"    {target} = {bits}'(v < {lo} ? {lo} : v > {hi} ? {hi} : v);")
    names = [f"n{k}" for k in range(known + len(made.parts))]
    return [
        f"  logic [{len(weight) * bits - 1}:0] y;",
        *(f"  {kind} {', '.join(names[i : i + 16])};" for i in range(0, len(names), 16)),
        f"  {kind} v;",
        *(["  logic tie;"] if isinstance(tail, Rescale) and tail.half_even and tail.shift else []),
        "  always_comb begin",
        *reads,
        *sums,
        *results,
        "  end",
    ]


def _number(value: int, kind: str) -> str:
    size = 64 if kind == "longint" else 32
    return f"-{size}'sd{-value}" if value < 0 else f"{size}'sd{value}"


def _sum(terms: Sequence[Term], constant: int, kind: str) -> str:
    """Terms, the positive ones first, and a constant."""
    ordered = sorted(terms, key=lambda t: -t[2])
    words = [("-" if sign < 0 else "+", f"(n{n} <<< {s})" if s else f"n{n}") for n, s, sign in ordered]
    if constant or not words:
        words.append(("-" if constant < 0 else "+", _number(abs(constant), kind)))
    (sign, first), *rest = words
    return f"{'-' * (sign == '-')}{first}" + "".join(f" {sign} {word}" for sign, word in rest)


def _delayed(out: str, bits: int, latency: int) -> list[str]:
    if latency == 0:
        return [f"  assign {out} = y;"]
    return [
        f"  logic [{bits - 1}:0] y_q [{latency}];",
        "  always_ff @(posedge clk_i) begin",
        "    y_q[0] <= y;",
        f"    for (int i = 1; i < {latency}; i++) y_q[i] <= y_q[i-1];",
        "  end",
        f"  assign {out} = y_q[{latency - 1}];",
    ]
