"""The argument that a word of a netlist is an affine form of the input bits, for all inputs.

A sum of bits with weights is rewritten, from the outputs to the inputs, until only input bits are left. Every step replaces a
term by an equal one, modulo 2^b:

1. A LUT is the multilinear integer polynomial of its inputs that its truth table gives. LUTs of the same inputs are replaced
   together: for a counter, sum of 2^j * out_j, all products cancel (that is what its truth table is checked for).
2. A carry chain: sum_p + 2 * c[p+1] = v[p] + c[p], where v[p] = 1 if s[p], else 2 * di[p]. So the sum of 2^p * sum_p over n
   positions, and 2^n * c[n], is that of 2^p * v[p], and c[0].
3. A word that a chain makes is rewritten once (a lemma): sum of 2^p * sum_p = form, modulo 2^n. Elsewhere it is replaced by
   its form, modulo 2^n; or as an integer, where the range of the form shows that no multiple of 2^n is missing.

How terms are grouped and in which order they go is a choice that cannot make a result wrong.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from edgeq.prove.logic import Chain, Function, Group, Literal, Logic, driven
from edgeq.prove.netlist import Bit, truth

MOST_PRODUCTS = 5_000
"""Products of bits in a sum at which the rewriting gives up."""
MOST_STRAYS = 3
"""Bits of a word that may be missing from a sum, or have another weight."""

Product = tuple[Bit, ...]
"""Two nets or more, ascending."""


class NotAffine(Exception):
    """No argument was found. The message names the cell at which the rewriting stopped."""


@dataclass(frozen=True)
class Affine:
    """constant + x @ (input bits) + sum of rest[net] * net, modulo 2^bits. x: int64 [inputs]."""

    bits: int
    constant: int
    x: np.ndarray
    rest: dict[Bit, int]

    def balanced(self) -> tuple[int, np.ndarray, dict[Bit, int]]:
        """Coefficients in [-2^(bits-1), 2^(bits-1))."""
        half = 1 << (self.bits - 1)
        rest = {net: (value + half) % (2 * half) - half for net, value in self.rest.items()}
        return self.constant, (self.x + half) % (2 * half) - half, rest


@dataclass
class Prover:
    """Rewrites sums of a Logic. inputs: the nets of x, in order.

    shared: lemmas of another Prover on the same netlist, for chains in `shareable` (those that no constant reaches).
    counters, adders: what has been rewritten so far.
    """

    logic: Logic
    inputs: Sequence[Bit]
    shareable: frozenset[Bit] = frozenset()
    shared: dict[tuple[Bit, int, int], Affine | None] = field(default_factory=dict)
    counters: set[Bit] = field(default_factory=set)
    adders: set[Bit] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.index = {bit: i for i, bit in enumerate(self.inputs)}
        self._lemmas: dict[tuple[Bit, int, int], Affine | None] = {}

    def affine(self, terms: Iterable[tuple[int, Literal]], bits: int) -> Affine:
        """The sum of weight * literal modulo 2^bits. `rest` are nets that are left. Raises NotAffine."""
        work = _Sum(self, bits)
        for weight, literal in terms:
            work.add_literal(literal, weight)
        return work.rewritten()

    def lemma(self, chain: Chain, length: int, shift: int) -> Affine | None:
        """2^shift * (the first `length` sums of a chain as a word), modulo 2^(length + shift); None where none was found."""
        known = self.shared if chain.sums[0] in self.shareable else self._lemmas
        for smaller in range(shift, -1, -1):
            found = known.get((chain.sums[0], length, smaller))
            if found is not None:
                return _scaled(found, shift - smaller)
        if (chain.sums[0], length, shift) not in known:
            work = _Sum(self, length + shift)
            work.add_chain(chain, [1 << (p + shift) for p in range(length)])
            try:
                known[chain.sums[0], length, shift] = work.rewritten()
            except NotAffine:
                known[chain.sums[0], length, shift] = None
            self.adders.add(chain.sums[0])
        return known[chain.sums[0], length, shift]

    def integer(self, chain: Chain, length: int, shift: int, signed: bool) -> Affine | None:
        """The same as an integer and not only modulo: with balanced coefficients, and the constant that its range leaves.

        signed: the last sum has the weight -2^(length - 1). None where the range of the form does not decide.
        """
        form = self.lemma(chain, length, shift)
        if form is None:
            return None
        constant, x, rest = form.balanced()
        least, most = affine_range(constant, x, rest, step=1 << shift)
        window = 1 << form.bits
        low = -window // 2 if signed else 0
        turn = (low - least) // -window * -window if least < low else (least - low) // window * -window
        if least + turn < low or most + turn >= low + window:
            return None
        return Affine(form.bits, constant + turn, x, rest)


def affine_range(constant: int, x: np.ndarray, rest: Mapping[Bit, int], step: int = 1) -> tuple[int, int]:
    """Bounds of an integer form over all bits, of which the value is known to be a multiple of `step`."""
    others = list(rest.values())
    least = constant + int(x[x < 0].sum()) + sum(v for v in others if v < 0)
    most = constant + int(x[x > 0].sum()) + sum(v for v in others if v > 0)
    return -(-least // step) * step, most // step * step


def _scaled(form: Affine, shift: int) -> Affine:
    if not shift:
        return form
    rest = {net: value << shift for net, value in form.rest.items()}
    return Affine(form.bits + shift, form.constant << shift, form.x << shift, rest)


class _Sum:
    """A polynomial in nets, modulo 2^bits, while it is rewritten."""

    def __init__(self, prover: Prover, bits: int) -> None:
        self.prover, self.logic = prover, prover.logic
        self.bits, self.mask = bits, (1 << bits) - 1
        self.constant = 0
        self.x = np.zeros(len(prover.inputs), np.int64)
        self.linear: dict[Bit, int] = {}
        self.products: dict[Product, int] = {}
        self.within: dict[Bit, set[Product]] = {}
        self.rest: dict[Bit, int] = {}
        self._crossed: dict[Bit, list[tuple[Group, tuple[int, ...]]]] = {}
        self._queue: list[int] = []
        self._queued: set[int] = set()

    def add_literal(self, literal: Literal, weight: int) -> None:
        if literal < 2:
            self.constant += weight * literal
        elif literal & 1:
            self.constant += weight
            self.add_net(literal >> 1, -weight)
        else:
            self.add_net(literal >> 1, weight)

    def add_net(self, net: Bit, weight: int) -> None:
        place = self.prover.index.get(net)
        if place is not None:
            self.x[place] += weight
        else:
            self.linear[net] = self.linear.get(net, 0) + weight
            self._enqueue(net)

    def add_product(self, product: Product, weight: int) -> None:
        if len(product) < 2:
            if product:
                self.add_net(product[0], weight)
            else:
                self.constant += weight
            return
        value = (self.products.get(product, 0) + weight) & self.mask
        if value:
            if product not in self.products:
                if len(self.products) == MOST_PRODUCTS:
                    raise NotAffine(f"products of bits do not cancel at {self.logic.name(product[-1])}")
                for net in product:
                    self.within.setdefault(net, set()).add(product)
                    self._enqueue(net)
            self.products[product] = value
        elif product in self.products:
            self._drop(product)

    def add_chain(self, chain: Chain, weights: Sequence[int]) -> None:
        """The sum of weights[p] * v[p], and weights[0] * c[0]: rule 2."""
        self.add_literal(chain.ci, weights[0])
        for weight, s, di in zip(weights, chain.s, chain.di, strict=False):
            nets, polynomial = self._position(s, di)
            for members, value in polynomial:
                self.add_product(tuple(sorted(nets[i] for i in members)), weight * value)

    def rewritten(self) -> Affine:
        """Rewrites until only inputs, and nets that stand for themselves, are left."""
        while self._queue:
            number = -heapq.heappop(self._queue)
            unit = self.logic.units[number]
            self._queued.discard(number)
            self._settle(driven(unit))
            if isinstance(unit, Group):
                self._replace_group(unit)
            else:
                self._replace_chain(unit)
        self._settle({net for product in self.products for net in product})
        if self.products:
            product = min(self.products)
            names = " * ".join(map(self.logic.name, product))
            raise NotAffine(f"the product {names} has the coefficient {self.products[product]}")
        rest = {net: value & self.mask for net, value in self.rest.items() if value & self.mask}
        return Affine(self.bits, self.constant & self.mask, self.x & self.mask, rest)

    def _enqueue(self, net: Bit) -> None:
        number = self.logic.unit_of.get(net)
        if number is not None and number not in self._queued:
            self._queued.add(number)
            heapq.heappush(self._queue, -number)

    def _drop(self, product: Product) -> int:
        for net in product:
            self.within[net].discard(product)
        return self.products.pop(product)

    def _take(self, net: Bit) -> int:
        return self.linear.pop(net, 0) & self.mask

    def _replace_group(self, group: Group) -> None:
        """Rule 1."""
        for i, net in enumerate(group.nets):
            for product in list(self.within.get(net, ())):
                value = self._drop(product)
                others = tuple(bit for bit in product if bit != net)
                for members, weight in _polynomial(group.tables[i], len(group.inputs)):
                    self.add_product(tuple(sorted({*others, *(group.inputs[k] for k in members)})), value * weight)
        weights = tuple(self._take(net) for net in group.nets)
        if any(weights):
            terms = _combined(group.tables, len(group.inputs), weights, self.bits)
            for members, value in terms:
                self.add_product(tuple(sorted(group.inputs[i] for i in members)), value)
            if any(len(members) > 1 for members, _ in terms):
                for bit in group.inputs:
                    self._crossed.setdefault(bit, []).append((group, weights))
            self.prover.counters.add(group.nets[0])

    def _settle(self, nets: Iterable[Bit]) -> None:
        """Before nets are replaced: products that they are still in are those of a word of which a bit is missing."""
        for net in nets:
            for group, weights in reversed(self._crossed.get(net, ())):
                if not self.within.get(net):
                    break
                self._leave_one(group, weights)

    def _leave_one(self, group: Group, weights: tuple[int, ...]) -> None:
        """Where products are left that cancel with one more of these LUTs: take so much of it, and keep the net instead.

        weights: of the LUTs in the sum. One that was not in it comes first: what is kept of others, they need not have lost.
        """
        place = {bit: i for i, bit in enumerate(group.inputs)}
        nearby = {p for bit in group.inputs for p in self.within.get(bit, ())}
        left = {
            tuple(sorted(place[bit] for bit in product)): self.products[product]
            for product in nearby
            if all(bit in place for bit in product)
        }
        if not left:
            return
        for i in sorted(range(len(group.nets)), key=lambda i: weights[i] != 0):
            net = group.nets[i]
            polynomial = dict(_polynomial(group.tables[i], len(group.inputs)))
            crossed = {members: value for members, value in polynomial.items() if len(members) > 1}
            if not crossed or not left.keys() <= crossed.keys():
                continue
            members = min(crossed, key=lambda m: (crossed[m] & -crossed[m], m))
            weight = _divided(-left.get(members, 0), crossed[members], self.bits)
            if weight is None or any((left.get(m, 0) + weight * v) & self.mask for m, v in crossed.items()):
                continue
            for found, value in polynomial.items():
                self.add_product(tuple(sorted(group.inputs[k] for k in found)), weight * value)
            self.rest[net] = self.rest.get(net, 0) - weight
            return

    def _replace_chain(self, chain: Chain) -> None:
        """Rules 2 and 3."""
        if any(self.within.get(net) for net in driven(chain)):
            raise NotAffine(f"a product has a bit of the adder {chain.name}")
        used = {net: value for net in driven(chain) if (value := self._take(net))}
        if not used:
            return
        sums = [used.get(net, 0) for net in chain.sums]
        carries = [used.get(net, 0) for net in chain.carries]
        try:
            self._replace_word(chain, sums, carries)
        except NotAffine:
            if len(used) > MOST_STRAYS:
                raise
            for net, value in used.items():
                self.rest[net] = self.rest.get(net, 0) + value

    def _replace_word(self, chain: Chain, sums: list[int], carries: list[int]) -> None:
        length = max((p + 1 for p, value in enumerate(sums) if value), default=0)
        if not length or any(carries[length:]):
            raise NotAffine(f"a carry of {chain.name} is used without the sums below it")
        sums, carries = sums[:length], carries[:length]
        taken, left = self._split(chain, sums, carries)
        unit = taken[0] & -taken[0]
        shift, factor = unit.bit_length() - 1, taken[0] // unit
        lost = (carries[-1] - 2 * taken[-1]) & self.mask
        if not any(carries) and lost:
            form = None
            for signed in (True, False):
                last = -taken[-1] if signed else taken[-1]
                if not (sums[-1] - last) & self.mask:
                    left.pop(chain.sums[length - 1], None)
                    form = self.prover.integer(chain, length, shift, signed)
            if form is None:
                raise NotAffine(f"the range of {chain.name} does not show that it cannot overflow")
            self._add_form(form, factor)
        elif lost:
            raise NotAffine(f"the carry of {chain.name} at position {length} has the weight {carries[-1]}")
        elif any(carries):
            self.add_chain(chain, taken)
            self.prover.counters.add(chain.sums[0])
        elif (lemma := self.prover.lemma(chain, length, shift)) is None:
            self.add_chain(chain, taken)
        else:
            self._add_form(lemma, factor)
        for net, value in left.items():
            self.rest[net] = self.rest.get(net, 0) + value

    def _split(self, chain: Chain, sums: list[int], carries: list[int]) -> tuple[list[int], dict[Bit, int]]:
        """The weights as those of a word (each twice the one before, less that of the carry between), and what differs."""
        half = 1 << (self.bits - 1)
        choices: list[tuple[bool, int, list[int], dict[Bit, int]]] = []
        for start in range(min(len(sums), MOST_STRAYS)):
            first = (sums[start] + half) % (2 * half) - half
            if not first or first & ((1 << start) - 1) or any(carries[:start]):
                continue
            taken = [first >> (start - p) for p in range(start + 1)]
            for p in range(start + 1, len(sums)):
                taken.append((2 * taken[-1] - carries[p - 1]) & self.mask)
            differ = {chain.sums[p]: v for p, (a, b) in enumerate(zip(sums, taken, strict=True)) if (v := (a - b) & self.mask)}
            lost = bool((carries[-1] - 2 * taken[-1]) & self.mask)
            if len(differ) <= MOST_STRAYS:
                choices.append((lost, len(differ), taken, differ))
        if not choices:
            raise NotAffine(f"the bits of the adder {chain.name} are used with weights that are no word's: {sums}")
        return min(choices, key=lambda choice: choice[:2])[2:]

    def _add_form(self, form: Affine, factor: int) -> None:
        self.constant += form.constant * factor
        self.x = (self.x + form.x * factor) & self.mask
        for net, value in form.rest.items():
            self.add_net(net, value * factor)

    def _position(self, s: Literal, di: Literal) -> tuple[tuple[Bit, ...], list[tuple[tuple[int, ...], int]]]:
        """v = 1 if s, else 2 * di, as a polynomial of nets; the LUT of s is looked into where that is what makes it simple."""
        nets: tuple[Bit, ...] = tuple(dict.fromkeys(v >> 1 for v in (s, di) if v > 1))
        inner: Function | None = None
        if s > 1 and di > 1 and s >> 1 != di >> 1:
            inner = self.logic.functions.get(s >> 1)
        if inner is None:
            place = {net: i for i, net in enumerate(nets)}
            return nets, _carry_value(_seen(s, place), _seen(di, place), (), 0, (), 0, len(nets))
        nets = inner.inputs
        other = self.logic.functions.get(di >> 1)
        if di >> 1 in nets or other is None or not set(other.inputs) <= set(nets):
            other = None
            nets = nets if di >> 1 in nets else (*nets, di >> 1)
        place = {net: i for i, net in enumerate(nets)}
        inner_at = tuple(place[net] for net in inner.inputs)
        if other is None:
            return nets, _carry_value(-1 - (s & 1), _seen(di, place), inner_at, inner.table, (), 0, len(nets))
        other_at = tuple(place[net] for net in other.inputs)
        return nets, _carry_value(-1 - (s & 1), -1 - (di & 1), inner_at, inner.table, other_at, other.table, len(nets))


def _seen(literal: Literal, place: Mapping[Bit, int]) -> int:
    return literal if literal < 2 else 2 + 2 * place[literal >> 1] + (literal & 1)


@lru_cache(maxsize=1 << 16)
def _carry_value(
    s: int, di: int, s_at: tuple[int, ...], s_table: int, di_at: tuple[int, ...], di_table: int, nets: int
) -> list[tuple[tuple[int, ...], int]]:
    """The polynomial of 1 if s else 2 * di. s, di: 0, 1, 2 + 2 * net + inverted, or -1 (-2: inverted) for a table."""
    assignment = np.arange(1 << nets)

    def value(which: int, at: tuple[int, ...], table: int) -> np.ndarray:
        if which < 0:
            index = sum((assignment >> place & 1) << i for i, place in enumerate(at))
            return truth(len(at), table)[index].astype(np.int64) ^ (which == -2)
        if which < 2:
            return np.full(1 << nets, which, np.int64)
        return (assignment >> (which // 2 - 1) & 1) ^ (which & 1)

    return _terms(np.where(value(s, s_at, s_table), 1, 2 * value(di, di_at, di_table)))


@lru_cache(maxsize=1 << 16)
def _polynomial(table: int, inputs: int) -> list[tuple[tuple[int, ...], int]]:
    """A truth table as the multilinear polynomial: (inputs multiplied, coefficient)."""
    return _terms(truth(inputs, table).astype(np.int64))


@lru_cache(maxsize=1 << 16)
def _combined(tables: tuple[int, ...], inputs: int, weights: tuple[int, ...], bits: int) -> list[tuple[tuple[int, ...], int]]:
    """The polynomial of sum of weights[i] * table i, without the terms that are 0 modulo 2^bits."""
    mask = (1 << bits) - 1
    total: dict[tuple[int, ...], int] = {}
    for table, weight in zip(tables, weights, strict=True):
        for members, value in _polynomial(table, inputs) if weight else ():
            total[members] = total.get(members, 0) + weight * value
    return [(members, value & mask) for members, value in total.items() if value & mask]


def _terms(values: np.ndarray) -> list[tuple[tuple[int, ...], int]]:
    """values of a function at each assignment -> its multilinear polynomial (Moebius transform)."""
    values = values.copy()
    inputs = len(values).bit_length() - 1
    for i in range(inputs):
        halves = values.reshape(-1, 2, 1 << i)
        halves[:, 1] -= halves[:, 0]
    return [(tuple(i for i in range(inputs) if m >> i & 1), int(values[m])) for m in np.flatnonzero(values)]


def _divided(value: int, by: int, bits: int) -> int | None:
    """The q nearest to 0 with q * by = value modulo 2^bits."""
    unit = by & -by
    if value % unit:
        return None
    modulus = max(1, (1 << bits) // unit)
    q = value // unit * pow(by // unit, -1, modulus) % modulus
    return q - modulus if 2 * q > modulus else q
