"""A netlist as functions: registers dropped, constants and inverters absorbed, cells in units that are substituted together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from edgeq.prove.netlist import Bit, Carry, Lut, Netlist, Register, truth

Literal = int
"""2 * net + 1 where inverted; 0 and 1 are the constants."""


@dataclass(frozen=True)
class Function:
    """A truth table over nets: input i is bit i of the index."""

    inputs: tuple[Bit, ...]
    table: int


@dataclass(frozen=True)
class Chain:
    """A carry chain on literals, see netlist.Carry."""

    name: str
    sums: tuple[Bit, ...]
    carries: tuple[Bit, ...]
    s: tuple[Literal, ...]
    di: tuple[Literal, ...]
    ci: Literal


@dataclass(frozen=True)
class Group:
    """LUTs that read the same nets, or some of them: table i, over `inputs`, is what nets[i] is."""

    nets: tuple[Bit, ...]
    inputs: tuple[Bit, ...]
    tables: tuple[int, ...]


Unit = Chain | Group


@dataclass
class Logic:
    """The combinational function of a netlist with some input bits constant.

    literal: what each net is. functions: of the nets that are LUT outputs. units: each after all units that it reads;
    unit_of: the unit that drives a net. Which LUTs share a unit is a matter of speed only: nothing relies on it.
    """

    literal: dict[Bit, Literal] = field(default_factory=dict)
    functions: dict[Bit, Function] = field(default_factory=dict)
    names: dict[Bit, str] = field(default_factory=dict)
    units: list[Unit] = field(default_factory=list)
    unit_of: dict[Bit, int] = field(default_factory=dict)

    @staticmethod
    def of(netlist: Netlist, constants: Mapping[Bit, int]) -> Logic:
        """Registers become wires: Netlist.latency() has shown that every path has as many."""
        made = Logic({0: 0, 1: 1})
        chains = []
        for bits in netlist.inputs.values():
            made.literal |= {bit: constants.get(bit, 2 * bit) for bit in bits}
        for cell in netlist.cells:
            match cell:
                case Register():
                    made.literal[cell.q] = made.literal[cell.d]
                case Lut():
                    made._lut(cell)
                case Carry():
                    chains.append(made._chain(cell))
        made._arrange(chains)
        return made

    def name(self, net: Bit) -> str:
        """A net for people: by the cell that drives it."""
        if net in self.unit_of and isinstance(unit := self.units[self.unit_of[net]], Chain):
            bit = f"O[{unit.sums.index(net)}]" if net in unit.sums else f"CO[{unit.carries.index(net)}]"
            return f"{unit.name}.{bit}"
        return self.names.get(net) or f"net {net}"

    def _lut(self, cell: Lut) -> None:
        read = [self.literal[bit] for bit in cell.inputs]
        nets = list(dict.fromkeys(literal >> 1 for literal in read if literal > 1))
        place = {net: i for i, net in enumerate(nets)}
        pattern = tuple(v if v < 2 else 2 + 2 * place[v >> 1] + (v & 1) for v in read)
        kept, table = _simplified(cell.table, pattern, len(nets))
        if not kept:
            self.literal[cell.out] = table
        elif len(kept) == 1:
            self.literal[cell.out] = 2 * nets[kept[0]] + (table == 0b01)
        else:
            self.literal[cell.out] = 2 * cell.out
            self.functions[cell.out] = Function(tuple(nets[i] for i in kept), table)
            self.names[cell.out] = cell.name

    def _chain(self, cell: Carry) -> Chain:
        s, di = (tuple(self.literal[bit] for bit in bits) for bits in (cell.s, cell.di))
        self.literal |= {bit: 2 * bit for bit in (*cell.sums, *cell.carries)}
        return Chain(cell.name, cell.sums, cell.carries, s, di, self.literal[cell.ci])

    def _arrange(self, chains: list[Chain]) -> None:
        """Units in order. Groups that make a circle are taken apart."""
        groups = self._groups(chains)
        while True:
            units: list[Unit] = [*groups, *chains]
            order = _ordered(units)
            if len(order) == len(units):
                break
            stuck = set(range(len(units))) - set(order)
            groups = [
                single for i, group in enumerate(groups) for single in (map(self._single, group.nets) if i in stuck else (group,))
            ]
        self.units = [units[i] for i in order]
        for i, unit in enumerate(self.units):
            self.unit_of |= dict.fromkeys(driven(unit), i)

    def _single(self, net: Bit) -> Group:
        function = self.functions[net]
        return Group((net,), function.inputs, (function.table,))

    def _groups(self, chains: list[Chain]) -> list[Group]:
        """LUTs with the LUT of most inputs that reads all that they read; the LUTs of carry chains for themselves."""
        uses = Counter(net for f in self.functions.values() for net in f.inputs)
        for_chains = {literal >> 1 for chain in chains for literal in (*chain.s, *chain.di)}
        alone = {net for net in for_chains if not uses[net]}
        readers: dict[Bit, list[Bit]] = {}
        for net, function in self.functions.items():
            if net not in alone:
                for read in function.inputs:
                    readers.setdefault(read, []).append(net)
        members: dict[Bit, list[Bit]] = {}
        leader: dict[frozenset[Bit], Bit] = {}
        for net in sorted(self.functions, key=lambda net: (-len(self.functions[net].inputs), net)):
            inputs = frozenset(self.functions[net].inputs)
            if net in alone:
                members[net] = [net]
                continue
            if inputs not in leader:
                fewest = min(inputs, key=lambda bit: len(readers[bit]))
                above = [other for other in readers[fewest] if other in members and inputs < set(self.functions[other].inputs)]
                leader[inputs] = min(above, key=lambda other: (len(self.functions[other].inputs), other), default=net)
            members.setdefault(leader[inputs], []).append(net)
        return [self._group(nets) for nets in members.values()]

    def _group(self, nets: list[Bit]) -> Group:
        inputs = self.functions[nets[0]].inputs
        place = {bit: i for i, bit in enumerate(inputs)}
        tables = []
        for net in nets:
            function = self.functions[net]
            tables.append(_spread(function.table, tuple(place[bit] for bit in function.inputs), len(inputs)))
        return Group(tuple(nets), inputs, tuple(tables))


def driven(unit: Unit) -> tuple[Bit, ...]:
    return unit.nets if isinstance(unit, Group) else (*unit.sums, *unit.carries)


def _ordered(units: list[Unit]) -> list[int]:
    """Units after those they read; those on a circle, or behind one, are missing."""
    driver = {bit: i for i, unit in enumerate(units) for bit in driven(unit)}
    readers: list[list[int]] = [[] for _ in units]
    waiting = []
    for i, unit in enumerate(units):
        read = unit.inputs if isinstance(unit, Group) else [literal >> 1 for literal in (*unit.s, *unit.di, unit.ci)]
        sources = {driver[bit] for bit in read if bit in driver}
        waiting.append(len(sources))
        for source in sources:
            readers[source].append(i)
    order = [i for i, count in enumerate(waiting) if not count]
    for i in order:
        for reader in readers[i]:
            waiting[reader] -= 1
            if not waiting[reader]:
                order.append(reader)
    return order


@lru_cache(maxsize=1 << 16)
def _simplified(table: int, pattern: tuple[int, ...], nets: int) -> tuple[tuple[int, ...], int]:
    """The nets that a LUT depends on, and its table over them. pattern: each input as 0, 1 or 2 + 2 * net + inverted."""
    assignment = np.arange(1 << nets)
    index = np.zeros(1 << nets, np.int64)
    for i, literal in enumerate(pattern):
        index |= (literal if literal < 2 else (assignment >> (literal // 2 - 1) & 1) ^ (literal & 1)) << i
    values = truth(len(pattern), table)[index]
    kept = list(range(nets))
    for i in reversed(range(nets)):
        halves = values.reshape(-1, 2, 1 << i)
        if np.array_equal(halves[:, 0], halves[:, 1]):
            values = halves[:, 0].ravel()
            kept.remove(i)
    return tuple(kept), _packed(values)


@lru_cache(maxsize=1 << 16)
def _spread(table: int, places: tuple[int, ...], inputs: int) -> int:
    """A table over more inputs: input i of it is input places[i]."""
    assignment = np.arange(1 << inputs)
    index = np.zeros(1 << inputs, np.int64)
    for i, place in enumerate(places):
        index |= (assignment >> place & 1) << i
    return _packed(truth(len(places), table)[index])


def _packed(values: np.ndarray) -> int:
    return int.from_bytes(np.packbits(values, bitorder="little").tobytes(), "little")
