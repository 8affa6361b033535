"""A pipelined netlist of LUTs and carry chains, built from the plans of `compressor`, and its SystemVerilog text.

How cells are written is the part's `Family`: LUT1..LUT6, LUT6_2 (its sixth input tied to 1: two functions of five inputs) and
CARRY8 or CARRY4 with constant INITs, or plain expressions; registers are in always_ff. Short chains share a CARRY8: between two
there is a position with S = 0, whose DI is the carry into the upper one. So a CARRY8 holds three counters, and a device with
eight LUTs a CARRY8 runs out of LUTs first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from edgeq.cells import FAMILIES, PAIR_INPUTS, Family, lines
from edgeq.compressor import LUT_INPUTS, Column, Counter, Plan
from edgeq.errors import EdgeqError

CHAIN_LEVELS = 2
"""LUT levels of a counter: a LUT and the carry chain."""


class Bit(NamedTuple):
    """A one-bit signal: the pipeline stage that makes it, and when it is ready, in LUT levels since the input."""

    name: str
    stage: int
    time: int
    inverted: bool = False

    def __invert__(self) -> Bit:
        return Bit(self.name, self.stage, self.time, not self.inverted)


Word = list[Bit | int]
"""Lowest bit first; an int is the constant 0 or 1."""


class Function(NamedTuple):
    """A function of signals. values: a byte 0 or 1 for each of 2^inputs, before inversions; input i is bit i of the index."""

    inputs: tuple[Bit, ...]
    values: bytes

    def init(self) -> int:
        """The LUT's contents, with the inversions of its inputs."""
        flip = 0
        for i, bit in enumerate(self.inputs):
            if bit.inverted:
                flip |= 1 << i
        return _init(self.values, flip)

    def wire(self) -> Bit | int | None:
        """The constant or signal that it is, as it comes; None where it takes a LUT."""
        if not self.inputs:
            return self.values[0]
        if len(self.inputs) == 1 and self.init() == 2:
            return _plain(self.inputs[0])
        return None


def _plain(bit: Bit) -> Bit:
    """The signal as it comes."""
    return ~bit if bit.inverted else bit


@cache
def _init(values: bytes, flip: int) -> int:
    return sum(values[i ^ flip] << i for i in range(len(values)))


_Table = tuple[tuple[int, ...], bytes]
"""A function of some inputs: their numbers, and its values."""


def _reduced(values: np.ndarray, care: np.ndarray | None = None) -> _Table:
    """Without the inputs that it need not depend on, dropped lowest first. care: bool, False where the value is free."""
    care = np.ones_like(values) if care is None else care
    support = list(range(len(values).bit_length() - 1))
    at = 0
    while at < len(support):
        v, c = (a.reshape(-1, 2, 1 << at) for a in (values, care))
        if np.all(v[:, 0] == v[:, 1], where=c[:, 0] & c[:, 1]):
            values, care = np.where(c[:, 0], v[:, 0], v[:, 1]).ravel(), (c[:, 0] | c[:, 1]).ravel()
            del support[at]
        else:
            at += 1
    return tuple(support), (values & care).astype(np.uint8).tobytes()


@lru_cache(maxsize=4096)
def _position(
    passed: int, passed_one: int, read: int, read_one: int, wire: int, weights: tuple[int, ...], one: int, columns: int
) -> tuple[_Table, _Table, _Table]:
    """S, DI, and the pairs that pass on, of a position with `columns` columns; 0 columns: the highest one.

    Inputs in this order: bits whose pairs pass on (passed_one: and a constant 1), bits whose pairs come here, perhaps
    one pair by wire, and bits of these weights; `one` is a constant of weight 1 and up.
    """
    counts = (passed, read, wire, len(weights))
    index = np.arange(1 << sum(counts))
    parts, low = [], 0
    for count, weight in zip(counts, ((1,) * passed, (1,) * read, (1,) * wire, weights), strict=True):
        parts.append(((index[:, None] >> low + np.arange(count)) & 1) @ np.array(weight, np.int64).reshape(count))
        low += count
    own = parts[0] + passed_one
    v = (own & 1) + (parts[1] + read_one >> 1) + parts[2] + parts[3] + one
    if columns == 0:
        return _reduced((v & 1).astype(bool)), ((), b"\0"), ((), b"\0")
    propagate = v == (1 << columns) - 1
    return _reduced(propagate), _reduced(v >= 1 << columns, ~propagate), _reduced((own >> 1).astype(bool))


class _Lut(NamedTuple):
    """A LUTn, or with a second output a LUT6_2. inputs: read as they come, also where they are called inverted."""

    stage: int
    names: tuple[str, ...]
    inputs: tuple[Bit, ...]
    init: int


class _Block(NamedTuple):
    """A block of positions (a CARRY8, two CARRY4, a sum), lowest first. linked: carry_in is the last carry of another block."""

    stage: int
    carry_in: Bit | int
    di: list[Bit | int]
    s: list[Bit | int]
    linked: bool = False


class Netlist:
    """Cells in pipeline stages of `levels` LUT levels. Which stage reads what decides the registers.

    early: sums are counted as soon as their bits are there and wait for what they are added to, not the other way round.
    family: the part's.
    """

    def __init__(self, levels: int, early: bool = False, family: Family = FAMILIES["xcup"]) -> None:
        if levels < CHAIN_LEVELS:
            raise EdgeqError(f"{levels} LUT levels between registers", fix=f"{CHAIN_LEVELS} or more")
        self.levels, self.early, self.family = levels, early, family
        self.cells: list[_Lut] = []
        self.blocks: list[_Block] = []
        self.notes: list[tuple[int, str]] = []
        self._open: dict[int, list[int]] = {}
        self._made: dict[tuple[tuple[str, ...], int], Bit] = {}

    def lut(self, function: Function, time: int = 0) -> Bit | int:
        """A function of at most six signals, not before `time`."""
        (made,) = self.wires([function], time)
        return made

    def wires(self, functions: Sequence[Function], time: int = 0) -> list[Bit | int]:
        """One or two functions as signals; two that take LUTs share one where they have at most five inputs together."""
        ready = [f.wire() for f in functions]
        built = [f for f, wire in zip(functions, ready, strict=True) if wire is None]
        if len(built) == 2:
            inputs = tuple({b.name: b for f in built for b in f.inputs}.values())
            if len(inputs) <= PAIR_INPUTS:
                where = {b.name: i for i, b in enumerate(inputs)}
                high, low = (_spread(f.init(), tuple(where[b.name] for b in f.inputs)) for f in built)
                stage = max(time, *(b.time for b in inputs)) // self.levels
                names = self.pair(stage, inputs, low | high << 32)
                times = [max(time, *(b.time for b in f.inputs)) + 1 for f in built]
                return [Bit(name, stage, t) for name, t in zip(names, times, strict=True)]
        return [self._one(f, time) if wire is None else wire for f, wire in zip(functions, ready, strict=True)]

    def pair(self, stage: int, inputs: tuple[Bit, ...], init: int) -> tuple[str, str]:
        """A LUT6_2 of at most five inputs: the names of O6 and O5."""
        names = f"p{len(self.cells)}", f"g{len(self.cells)}"
        self.cells.append(_Lut(stage, names, inputs, init))
        return names

    def _one(self, f: Function, time: int) -> Bit:
        time = max(time, *[b.time for b in f.inputs])
        key = tuple([b.name for b in f.inputs]), f.init()
        if (made := self._made.get(key)) is None or made.time > time + 1:
            stage = time // self.levels
            made = self._made[key] = Bit(self.single(stage, f.inputs, key[1]), stage, time + 1)
        return made

    def single(self, stage: int, inputs: tuple[Bit, ...], init: int) -> str:
        """A LUT of these inputs: the name of its output."""
        name = f"p{len(self.cells)}"
        self.cells.append(_Lut(stage, (name,), inputs, init))
        return name

    def function(self, inputs: tuple[Bit, ...], values: np.ndarray) -> Bit | int:
        """A function of any number of signals: multiplexers of LUTs. values: bool [2^inputs]."""
        support, reduced = _reduced(values.astype(bool))
        used = tuple(inputs[i] for i in support)
        if len(used) <= LUT_INPUTS:
            return self.lut(Function(used, reduced))
        halves = np.frombuffer(reduced, np.uint8).reshape(2, -1)
        low, high = (self.function(used[:-1], half) for half in halves)
        return self.sum_bit([low, high, used[-1]], _chosen)

    def sum_bit(self, inputs: Sequence[Bit | int], rule: Callable[..., int]) -> Bit | int:
        """A LUT of signals and constants, as `rule`."""
        return self.lut(self.rule(inputs, rule))

    def rule(self, inputs: Sequence[Bit | int], rule: Callable[..., int]) -> Function:
        """The function of signals and constants that a rule on their values gives: one that stays, for its tables are kept."""
        table = _rule_table(rule, tuple([None if isinstance(b, Bit) else b for b in inputs]))
        return _function(table, [b for b in inputs if isinstance(b, Bit)])

    # sums

    def add(self, plan: Plan, columns: Sequence[Sequence[Bit]], word: Word | None = None, start: int = 0) -> Word:
        """What the plan says, of columns of bits and perhaps a word; the chain starts as late as `start` allows.

        The sum modulo 2^width; of a comparison its highest bit alone.
        """
        late = self._latest(plan, tuple(map(len, columns)), start)
        return _Sum(self, plan, [[(max(b.time, late), b) for b in c] for c in columns], word).run()

    def _latest(self, plan: Plan, heights: tuple[int, ...], start: int) -> int:
        """The last moment at which bits may come for a chain that begins at `start`."""
        for late in range(0 if self.early else start, 0, -1):
            if late + _duration(plan, heights, self.levels, late % self.levels) <= start:
                return late
        return 0

    def fit(self, time: int, levels: int) -> int:
        """The first moment from `time` on when so many levels fit before the next register."""
        return _fit(time, levels, self.levels)

    def chain(
        self, time: int, carry_in: Bit | int, positions: Sequence[tuple[Bit | int, Bit | int]], levels: int
    ) -> tuple[list[Bit], Bit]:
        """A carry chain of (S, DI) whose LUTs start at `time`: O of each position, and the last one's carry out."""
        stage, ready = time // self.levels, time + levels
        blocks, output = self.blocks, self.family.output
        count, size = len(positions), self.family.block or len(positions)
        open_blocks = self._open.setdefault(time, [])
        index = next((i for i in open_blocks if len(blocks[i].s) + 1 + count <= size), -1)
        if index < 0 and self.family.feeds and isinstance(carry_in, Bit):
            index = len(blocks)
            blocks.append(_Block(stage, 0, [carry_in], [0]))
        elif index >= 0:
            blocks[index].s.append(0)
            blocks[index].di.append(carry_in)
        sums: list[Bit] = []
        enter = carry_in
        for s, di in positions:
            if index < 0 or len(blocks[index].s) == size:
                if sums:
                    enter = Bit(output("co", index, size - 1), stage, ready)
                index = len(blocks)
                blocks.append(_Block(stage, enter, [], [], bool(sums)))
            block = blocks[index]
            sums.append(Bit(output("o", index, len(block.s)), stage, ready))
            block.s.append(s)
            block.di.append(di)
        used = len(blocks[index].s)
        if index in open_blocks:
            open_blocks.remove(index)
        if used + 1 + 2 <= size:  # room for a counter
            open_blocks.append(index)
        return sums, Bit(output("co", index, used - 1), stage, ready)

    # text

    def text(self, latency: int, outputs: Sequence[tuple[str, Word]], masked: bool) -> tuple[list[str], int, int]:
        """The body of a module, its LUTs and its registers in bits. outputs: what is assigned after the last register."""
        held: list[dict[str, str]] = [{} for _ in range(latency + 1)]  # the register of each signal that a stage holds
        for name, (made, last) in self._lives(latency, outputs).items():
            for stage in range(made + 1, last + 1):
                held[stage][name] = f"s{stage}_{len(held[stage])}_q"
        inverters: set[str] = set()

        def read(bits: Iterable[Bit | int], registers: dict[str, str]) -> list[str]:
            found = []
            for bit in bits:
                if isinstance(bit, int):
                    found.append(f"1'b{bit}")
                    continue
                name = registers.get(bit.name, bit.name)
                if bit.inverted:
                    inverters.add(name)
                    name = f"~{name}"
                found.append(name)
            return found

        cells: list[list[_Lut]] = [[] for _ in held]
        for cell in self.cells:
            cells[cell.stage].append(cell)
        blocks: list[list[tuple[int, _Block]]] = [[] for _ in held]
        for index, block in enumerate(self.blocks):
            blocks[block.stage].append((index, block))
        said: list[list[str]] = [[] for _ in held]
        for stage, note in self.notes:
            said[stage].append(note)
        text = []
        if masked:  # not every tap is needed to tell the masks apart
            text += ["  logic unused_mask;", "  assign unused_mask = ^mask_i;"]
        for stage, registers in enumerate(held):
            if registers:
                text.append(f'  (* shreg_extract = "no" *) logic {lines(list(registers.values()))};')
                text.append("  always_ff @(posedge clk_i) begin")
                before = held[stage - 1]
                text += [f"    {register} <= {before.get(name, name)};" for name, register in registers.items()]
                text.append("  end")
            text += [f"  // {note}" for note in said[stage]]
            if names := [name for cell in cells[stage] for name in cell.names]:
                text.append(f"  logic {lines(names)};")
            text += self.family.declared([(index, len(block.s)) for index, block in blocks[stage]])
            for cell in cells[stage]:
                text += self.family.lut(cell.names, cell.init, [registers.get(b.name, b.name) for b in cell.inputs])
            for index, block in blocks[stage]:
                (enter,) = read((block.carry_in,), registers)
                text += self.family.chain(index, enter, block.linked, read(block.di, registers), read(block.s, registers))
        for target, word in outputs:
            bits = read(reversed(word), held[latency])
            text.append(f"  assign {target} = {bits[0] if len(bits) == 1 else f'{{{lines(bits)}}}'};")
        return text, len(self.cells) + len(inverters), sum(map(len, held))

    def _lives(self, latency: int, outputs: Sequence[tuple[str, Word]]) -> dict[str, tuple[int, int]]:
        """For each signal the stage that makes it and the last one that reads it."""
        found: dict[str, tuple[int, int]] = {}
        reads: list[tuple[int, Iterable[Bit | int]]] = [(cell.stage, cell.inputs) for cell in self.cells]
        reads += [(block.stage, (block.carry_in, *block.di, *block.s)) for block in self.blocks]
        reads += [(latency, word) for _, word in outputs]
        for stage, bits in reads:
            for bit in bits:
                if isinstance(bit, int):
                    continue
                name, made, _, _ = bit
                if name not in found or found[name][1] < stage:
                    found[name] = made, stage
        return found


def _chosen(a: int, b: int, second: int) -> int:
    return b if second else a


@lru_cache(maxsize=4096)
def _rule_table(rule: Callable[..., int], inputs: tuple[int | None, ...]) -> _Table:
    """Of a rule on signals (None) and constants, by signal."""
    free = inputs.count(None)
    values = []
    for index in range(1 << free):
        each = iter(range(free))
        values.append(rule(*(index >> next(each) & 1 if value is None else value for value in inputs)))
    return _reduced(np.array(values, bool))


@lru_cache(maxsize=1 << 16)
def _spread(init: int, places: tuple[int, ...]) -> int:
    """The 32 values, of five inputs, of a LUT whose inputs are at these places among them."""
    index = np.arange(32)
    own = np.zeros(32, np.int64)
    for i, place in enumerate(places):
        own |= (index >> place & 1) << i
    return sum((init >> v & 1) << i for i, v in enumerate(own.tolist()))


def _fit(time: int, levels: int, most: int) -> int:
    return time if time % most + levels <= most else (time // most + 1) * most


@lru_cache(maxsize=1 << 16)
def _duration(plan: Plan, heights: tuple[int, ...], levels: int, offset: int) -> int:
    """LUT levels from the bits, all of one time that is `offset` after a register, to the chain."""
    return chain_start(plan, [[offset] * h for h in heights], levels, offset) - offset


def chain_start(plan: Plan, times: Sequence[Sequence[int]], levels: int, last: int = 0) -> int:
    """When the chain of a plan begins, for columns of bits that are ready at these times; not before `last`."""
    columns = [*map(list, times), [], []]
    for j, column in enumerate(plan.columns):
        for counter in column.counters:
            columns[j].sort()
            columns[j + 1].sort()
            took = columns[j][: counter.low] + columns[j + 1][: counter.high]
            del columns[j][: counter.low], columns[j + 1][: counter.high]
            done = _fit(max(took), CHAIN_LEVELS, levels) + CHAIN_LEVELS if counter.chained else max(took) + 1
            for k in range(counter.outputs):
                columns[j + k].append(done)
        if column.up:
            columns[j + 1] += columns[j]
        last = max([last, *columns[j]])
    return _fit(last, min(plan.levels, levels), levels)


_Timed = tuple[int, Bit]
"""When a bit may be read, and the bit."""


class _Sum:
    """One plan on its way into a netlist."""

    def __init__(self, netlist: Netlist, plan: Plan, columns: Sequence[list[_Timed]], word: Word | None) -> None:
        self.netlist, self.plan, self.word = netlist, plan, word
        self.columns: list[list[_Timed]] = [*columns, [], []]

    def run(self) -> Word:
        """The counters, then the chain."""
        plan = self.plan
        for j, column in enumerate(plan.columns):
            if column.counters:
                self.counters(j, column.counters)
            if self.word is not None:
                bit = self.word[j]
                assert isinstance(bit, Bit)
                self.columns[j].append((bit.time, bit))
            if column.up:
                self.columns[j + 1].append(self.columns[j][0])
        first = next((j for j, column in enumerate(plan.columns) if column.chained), None)
        if plan.compare:
            top = self.alone(len(plan.columns) - 1) if first is None else self.chain(first)[-1]
            self.note(top)
            return [top]
        below = [self.alone(j) for j in range(len(plan.columns) if first is None else first)]
        return below if first is None else [*below, *self.chain(first)]

    def note(self, top: Bit | int) -> None:
        """A remark that `top` is the highest bit of a constant and of columns of bits: where `edgeq prove` starts from."""
        if isinstance(top, Bit):
            ups = [int(column.up) for column in self.plan.columns]
            constant = self.plan.constant - sum(up << j for j, up in enumerate(ups))
            columns = [[b for _, b in column] for column in self.columns[: len(ups)]]
            columns = [[~b for b in bits] if up else bits for bits, up in zip(columns, ups, strict=True)]
            words = [",".join(f"{'~' * b.inverted}{b.name}" for b in bits) for bits in columns]
            name = f"{'~' * top.inverted}{top.name}"
            self.netlist.notes.append((top.stage, f"{name} = top of {constant} + {' '.join(f'[{word}]' for word in words)}"))

    def alone(self, j: int) -> Bit | int:
        """The sum bit of a column below the chain, or of the highest where there is none."""
        bits, one = [b for _, b in self.columns[j]], self.plan.constant >> j & 1
        if len(bits) <= 1:
            return (~bits[0] if one else bits[0]) if bits else one
        table = _position(0, 0, 0, 0, 0, (1,) * len(bits), one, 0)[0]
        return self.netlist.lut(_function(table, bits), max(time for time, _ in self.columns[j]))

    def counters(self, j: int, counters: tuple[Counter, ...]) -> None:
        """The counters of a column, each of the bits that are ready first."""
        here = sorted(self.columns[j], key=_time)
        sums: list[_Timed] = []  # ready one after the other, as the counters are
        at = used = 0
        for counter in counters:
            low = []
            for _ in range(counter.low):
                if used < len(sums) and (at == len(here) or sums[used][0] < here[at][0]):
                    low.append(sums[used])
                    used += 1
                else:
                    low.append(here[at])
                    at += 1
            high: list[_Timed] = []
            if counter.high:
                above = self.columns[j + 1]
                above.sort(key=_time)
                high = above[: counter.high]
                del above[: counter.high]
            first, *rest = self.counter(counter, low, high)
            sums.append(first)
            for k, timed in enumerate(rest, start=j + 1):
                self.columns[k].append(timed)
        self.columns[j] = [*here[at:], *sums[used:]]

    def counter(self, counter: Counter, low: list[_Timed], high: list[_Timed]) -> list[_Timed]:
        """The outputs of one counter."""
        net = self.netlist
        time = max([t for t, _ in low + high])
        bits, more = [b for _, b in low], [b for _, b in high]
        if not counter.chained:
            made = net.wires([_function(_count_table(len(bits), k), bits) for k in range(counter.outputs)], time)
            return [(time + 1, b) for b in made if isinstance(b, Bit)]
        # Carry in and DI are signals as they come. With too few of those, all bits are counted inverted: 7 - n is ~n.
        enters = counter.low != 6
        first, others = [b for b in bits if b.inverted], [b for b in bits if not b.inverted]
        flip = len(others) < 1 + enters
        if flip:
            first, others = others, [~b for b in first]
        passed = first + others  # the first ones are counted inverted
        carry_in: Bit | int = passed.pop() if enters else int(flip)
        time = net.fit(time, CHAIN_LEVELS)
        stage, ready = time // net.levels, time + CHAIN_LEVELS
        p0 = Bit(net.single(stage, tuple(passed), _init(_PARITY[len(passed)], len(first) & 1)), stage, time + 1)
        last = passed.pop()
        flips = (1 << len(first)) - 1 | sum([(b.inverted ^ flip) << i for i, b in enumerate(more, start=len(passed))])
        p1, g1 = net.pair(stage, (*passed, *more), _pairs_init(len(passed), len(more), flips))
        positions: list[tuple[Bit | int, Bit | int]] = [(p0, last), (Bit(p1, stage, time + 1), Bit(g1, stage, time + 1))]
        sums, carry = net.chain(time, carry_in, positions, CHAIN_LEVELS)
        return [(ready, ~b if flip else b) for b in (*sums, carry)[: counter.outputs]]

    def chain(self, first: int) -> Word:
        """The columns of the chain, from `first` on."""
        net, plan = self.netlist, self.plan
        width = len(plan.columns)
        time = net.fit(max((t for column in self.columns[first:width] for t, _ in column), default=0), plan.levels)
        columns = [[b for _, b in column] for column in self.columns]
        carry_in: Bit | int = 0
        constant = plan.constant
        if plan.columns[first].carry_in == "one":
            carry_in, constant = 1, constant - (1 << first)
        elif plan.columns[first].carry_in == "bit":
            carry_in = _raw(columns[first], self.word is not None)
        positions = list(self.positions(time, first, columns, constant))
        if len(positions) == 1 and carry_in == 0:
            return [positions[0][0]]
        return [*net.chain(time, carry_in, positions, plan.levels)[0]]

    def positions(self, time: int, first: int, columns: list[list[Bit]], constant: int) -> Iterator[tuple[Bit | int, Bit | int]]:
        """S and DI of each position."""
        net, plan = self.netlist, self.plan
        read: list[Bit] = []  # bits whose pairs come to this column, or the wire that tells
        read_one = wires = 0
        top = len(plan.columns) - 1
        for j in range(first, top + 1):
            column, own, one = plan.columns[j], columns[j], constant >> j & 1
            if column.extends:
                continue
            tables: tuple[_Table, ...]
            if column.opens:
                weights = [1] * len(own)
                bits, columns_of = list(own), 1
                while j + columns_of < top and plan.columns[j + columns_of].extends:
                    one += (constant >> j + columns_of & 1) << columns_of
                    bits += columns[j + columns_of]
                    weights += [1 << columns_of] * len(columns[j + columns_of])
                    columns_of += 1
                tables = _position(0, 0, len(read) - wires, read_one, wires, tuple(weights), one, columns_of)
                yield _signals(net, tables[:2], [*read, *bits], time)
                read, read_one, wires = [], 0, 0
                continue
            passed: list[Bit] = []
            if column.passes:
                passed, own = own, [] if read else [_raw(own, False)]
            passed_one = one if column.passes else 0
            tables = _position(
                len(passed), passed_one, len(read) - wires, read_one, wires, (1,) * len(own), one - passed_one, int(j < top)
            )
            inputs = [*passed, *read, *own]
            if column.passes == "wire":
                s, di, pairs = (_function(table, inputs) for table in tables)
                made = net.wires([s, pairs], time)
                yield made[0], _single(di)
                read, read_one, wires = [b for b in made[1:] if isinstance(b, Bit)], 0, 1
            else:
                yield _signals(net, tables[:2], inputs, time)
                read, read_one, wires = passed, passed_one, 0


_time = itemgetter(0)


def _function(table: _Table, inputs: Sequence[Bit]) -> Function:
    return Function(tuple(inputs[i] for i in table[0]), table[1])


def _single(f: Function) -> Bit | int:
    """A function of one signal at most, without a LUT."""
    return f.values[0] if not f.inputs else _plain(f.inputs[0])._replace(inverted=f.init() == 1)


def _signals(net: Netlist, tables: tuple[_Table, ...], inputs: Sequence[Bit], time: int) -> tuple[Bit | int, Bit | int]:
    """S and DI of a position. DI that is an inverted signal goes through the LUT's second output where there is room."""
    s, di = (_function(table, inputs) for table in tables)
    if len(di.inputs) == 1 and len({b.name for b in (*s.inputs, *di.inputs)}) > PAIR_INPUTS:
        return net.lut(s, time), _single(di)
    first, second = net.wires([s, di], time)
    return first, second


_PARITY = [bytes(i.bit_count() & 1 for i in range(1 << n)) for n in range(LUT_INPUTS + 1)]


@cache
def _pairs_init(passed: int, more: int, flips: int) -> int:
    """LUT6_2 of the upper position of a counter: S over DI."""
    s, di, _ = _position(0, 0, passed, 0, 0, (1,) * more, 0, 1)
    high, low = (_spread(_init(values, sum((flips >> i & 1) << k for k, i in enumerate(used))), used) for used, values in (s, di))
    return low | high << 32


@cache
def _count_table(count: int, bit: int) -> _Table:
    ones = np.array([i.bit_count() for i in range(1 << count)])
    return _reduced((ones >> bit & 1).astype(bool))


def _raw(column: list[Bit], keep_last: bool) -> Bit:
    """Takes a bit out of the column for an input of the chain itself: one that is not inverted, the latest; not the word's."""
    free = column[:-1] if keep_last else column
    best = max(range(len(free)), key=lambda i: (not free[i].inverted, free[i].time))
    return column.pop(best)


__all__ = ["Bit", "Column", "Function", "Netlist", "Word"]
