"""The argument that a bit of a netlist is a comparison of a sum of products, for all inputs.

1. The bit is bit W - 1 of T = constant + sum of weight * net, modulo 2^W: shown for all values of these nets, going along the
   carry chain with the set of all pairs (carry, what is left of the sum of the nets seen so far). Which nets and weights comes
   from a remark in the file; a wrong one shows nothing. Without a remark T is the word that the bit is the last of.
2. T = A(x) modulo 2^W, an affine form of the input bits (argument.py).
3. A = a + m * (y + n) / 2, n the sum of the weights, for the sum y of the layer. So the bit is a function of y alone, and it is
   compared for every value that y can have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from edgeq.prove.argument import Affine, NotAffine, Prover, affine_range
from edgeq.prove.logic import Chain, Literal, Logic
from edgeq.prove.netlist import Bit, Remark, truth

MOST_STATES, MOST_INPUTS = 1 << 18, 12
MOST_SHIFT = 5
"""Bits of a word below its carry chain that are tried."""


class Top(NamedTuple):
    """A bit is the highest of M modulo 2^form.bits (or not, where inverted), M a multiple of 2^shift equal to `form`."""

    form: Affine
    shift: int
    inverted: bool


def remarks_by_net(logic: Logic, remarks: Mapping[Bit, Remark]) -> dict[Bit, Remark]:
    """The remarks by what their bits are in the Logic."""
    found = {}
    for bit, remark in remarks.items():
        literal = logic.literal[bit]
        found[literal >> 1] = remark._replace(inverted=remark.inverted ^ bool(literal & 1))
    return found


def tops_of_sums(prover: Prover, bit: Bit, remark: Remark | None) -> Iterator[Top]:
    """Sums that a net is the highest bit of. Raises NotAffine where the remark is wrong, or none is found."""
    logic = prover.logic
    if remark is not None:
        terms = [(1 << j, _at(logic, literal)) for j, column in enumerate(remark.columns) for literal in column]
        terms.append((remark.constant, 1))
        _check_top(logic, 2 * bit + remark.inverted, terms, len(remark.columns))
        yield Top(prover.affine(terms, len(remark.columns)), 0, remark.inverted)
        return
    number = logic.unit_of.get(bit)
    chain = None if number is None else logic.units[number]
    if not isinstance(chain, Chain):
        raise NotAffine(f"{logic.name(bit)} is no sum, and there is no remark on it")
    high = chain.sums.index(bit) if bit in chain.sums else chain.carries.index(bit)
    word = [*chain.sums[:high], *([] if bit in chain.sums else [chain.sums[high]]), bit]
    reasons = []
    for shift in range(MOST_SHIFT):
        try:
            form = prover.affine([(1 << (p + shift), 2 * net) for p, net in enumerate(word)], len(word) + shift)
        except NotAffine as error:
            reasons.append(str(error))
        else:
            yield Top(form, shift, False)
    if len(reasons) == MOST_SHIFT:
        raise NotAffine(f"the word of {logic.name(bit)} has no affine form: {reasons[0]}")


def decided(top: Top, weight: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(y, bit) for each value of y = sum of weight * (2 * x - 1) over the real terms; x is 0 elsewhere.

    Raises NotAffine where the bit is no function of y.
    """
    constant, x, rest = top.form.balanced()
    terms = np.flatnonzero(real & (weight != 0))
    scale = int(x[terms[0]] * weight[terms[0]]) if len(terms) else 0
    wrong = np.flatnonzero(real & (x != scale * weight))
    if len(wrong):
        raise NotAffine(f"x_i[{wrong[0]}] has the coefficient {x[wrong[0]]}, not {scale * int(weight[wrong[0]])}")
    sums = np.arange(-len(terms), len(terms) + 1, 2)
    least, most = affine_range(0, np.zeros(0, np.int64), rest)
    if most - least >= 1 << top.shift:
        raise NotAffine(f"a word is {1 << top.shift} times a sum, but {most - least} is left beside it")
    values = constant + scale * (sums + int(weight[terms].sum())) // 2 + most
    return sums, (values >> top.shift << top.shift >> (top.form.bits - 1)) & 1 ^ top.inverted


def _at(logic: Logic, literal: Literal) -> Literal:
    """A literal of the netlist as one of the Logic."""
    return logic.literal[literal >> 1] ^ (literal & 1)


def _sum_at(logic: Logic, bit: Bit) -> tuple[Chain | None, int]:
    """The chain of which a net is a sum, and how many sums are not above it."""
    number = logic.unit_of.get(bit)
    unit = None if number is None else logic.units[number]
    if not isinstance(unit, Chain) or bit not in unit.sums:
        return None, 0
    return unit, unit.sums.index(bit) + 1


def _check_top(logic: Logic, bit: Literal, terms: Iterable[tuple[int, Literal]], width: int) -> None:
    """Raises NotAffine unless `bit` is bit width - 1 of the sum of weight * literal, for all values of the nets in the sum."""
    constant, weights = 0, dict[Bit, int]()
    for weight, literal in terms:
        constant += weight * (literal & 1)
        if literal > 1:
            weights[literal >> 1] = weights.get(literal >> 1, 0) + (-weight if literal & 1 else weight)
    chain, length = _sum_at(logic, bit >> 1)
    if chain is None or bit >> 1 in weights:
        positions, last, carry_in = [], _function(logic, bit, weights), _Function((), np.zeros(1, np.uint8))
    else:
        pairs = list(zip(chain.s, chain.di, strict=True))[: length - 1]
        positions = [(_function(logic, s, weights), _function(logic, di, weights)) for s, di in pairs]
        last, carry_in = _function(logic, chain.s[length - 1] ^ (bit & 1), weights), _function(logic, chain.ci, weights)
    reads = [set(carry_in.inputs), *({*s.inputs, *di.inputs} for s, di in positions), set(last.inputs)]
    states = _States(constant, width, weights)
    for net in sorted(weights.keys() - set().union(*reads), key=lambda net: (weights[net] & -weights[net], net)):
        states.see([net])
        states.keep(())
    states.see(carry_in.inputs)
    states.carry = states.value(carry_in)
    for p, (s, di) in enumerate(positions, 1):
        states.see(reads[p])
        states.carry = np.where(states.value(s), states.carry, states.value(di))
        states.keep(set().union(*reads[p + 1 :]))
    states.see(last.inputs)
    if np.any(states.value(last) ^ states.carry != states.total >> (width - 1) & 1):
        raise NotAffine(f"{logic.name(bit >> 1)} is not the highest bit of the sum that the file says")


class _Function(NamedTuple):
    """values: uint8 [2^inputs]; input i is bit i of the index."""

    inputs: tuple[Bit, ...]
    values: np.ndarray


def _function(logic: Logic, literal: Literal, leaves: Mapping[Bit, int]) -> _Function:
    """A literal as a function of the nets in `leaves`. Raises NotAffine where it is none."""
    net = literal >> 1
    if literal < 2:
        return _Function((), np.array([literal], np.uint8))
    if net in leaves:
        return _Function((net,), np.array([0, 1], np.uint8) ^ (literal & 1))
    if net not in logic.functions:
        raise NotAffine(f"{logic.name(net)} is not in the sum that the file says")
    function = logic.functions[net]
    parts = [_function(logic, 2 * bit, leaves) for bit in function.inputs]
    inputs = tuple(dict.fromkeys(bit for part in parts for bit in part.inputs))
    if len(inputs) > MOST_INPUTS:
        raise NotAffine(f"{logic.name(net)} depends on more than {MOST_INPUTS} nets of the sum")
    assignment = np.arange(1 << len(inputs))
    index = sum(part.values[_index(part.inputs, inputs, assignment)].astype(np.int64) << i for i, part in enumerate(parts))
    return _Function(inputs, truth(len(parts), function.table)[index] ^ (literal & 1))


def _index(some: Sequence[Bit], inputs: Sequence[Bit], assignment: np.ndarray) -> np.ndarray:
    """For each assignment of `inputs`, that of some of them."""
    found = np.zeros(len(assignment), np.int64)
    for i, bit in enumerate(some):
        found |= (assignment >> inputs.index(bit) & 1) << i
    return found


class _States:
    """Everything that can be on the way along a carry chain, without repetition: arrays of one length.

    carry; total, the sum of the nets seen so far, without the bits that no other net can change any more; bits, the values of
    the nets that are read again.
    """

    def __init__(self, constant: int, width: int, weights: Mapping[Bit, int]) -> None:
        self.width, self.unseen = width, dict(weights)
        self.carry = np.zeros(1, np.uint8)
        self.total = np.array([constant], np.int64)
        self.bits: dict[Bit, np.ndarray] = {}

    def see(self, nets: Iterable[Bit]) -> None:
        """Nets become known: each with both values."""
        for net in sorted(net for net in nets if net in self.unseen):
            weight = self.unseen.pop(net)
            if len(self.total) > MOST_STATES:
                raise NotAffine("a comparison depends on too many nets at once")
            self.carry = np.tile(self.carry, 2)
            self.bits = {bit: np.tile(value, 2) for bit, value in self.bits.items()}
            self.bits[net] = np.repeat(np.array([0, 1], np.uint8), len(self.total))
            self.total = np.concatenate([self.total, self.total + weight])

    def keep(self, nets: Collection[Bit]) -> None:
        """Only these nets are read again."""
        self.bits = {bit: value for bit, value in self.bits.items() if bit in nets}
        unit = min((weight & -weight for weight in self.unseen.values() if weight), default=1 << (self.width - 1))
        key = self.total % (1 << self.width) // unit * unit
        for value in (*self.bits.values(), self.carry):
            key = 2 * key + value
        key = np.unique(key)
        self.carry = (key & 1).astype(np.uint8)
        for i, bit in enumerate(reversed(self.bits), 1):
            self.bits[bit] = (key >> i & 1).astype(np.uint8)
        self.total = key >> (1 + len(self.bits))

    def value(self, function: _Function) -> np.ndarray:
        index = np.zeros(len(self.total), np.int64)
        for i, bit in enumerate(function.inputs):
            index |= self.bits[bit].astype(np.int64) << i
        return function.values[index]
