"""A generated module as Yosys reads it: LUTs, carry chains and registers on single bits; its pipeline; its simulation."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgeq.engines import yosys
from edgeq.errors import EdgeqError

Bit = int
"""0 and 1 are the constants, everything from 2 on is a net."""
ANY = -1
"""The stage of what depends on no input."""

_GATES = {
    "$_BUF_": ("A", 0b10),
    "$_NOT_": ("A", 0b01),
    "$_AND_": ("AB", 0b1000),
    "$_NAND_": ("AB", 0b0111),
    "$_OR_": ("AB", 0b1110),
    "$_NOR_": ("AB", 0b0001),
    "$_XOR_": ("AB", 0b0110),
    "$_XNOR_": ("AB", 0b1001),
    "$_ANDNOT_": ("AB", 0b0010),
    "$_ORNOT_": ("AB", 0b1011),
    "$_MUX_": ("ABS", 0b11001010),
}
"""Yosys' gates: inputs, and the truth table with the first input as the lowest bit of the index."""


class Lut(NamedTuple):
    """out = bit (sum of inputs[i] << i) of table; out is a net."""

    name: str
    out: Bit
    inputs: tuple[Bit, ...]
    table: int


class Carry(NamedTuple):
    """A carry chain of any length: sums[p] = s[p] ^ c[p]; carries[p] = c[p+1] = s[p] ? c[p] : di[p]; c[0] = ci."""

    name: str
    sums: tuple[Bit, ...]
    carries: tuple[Bit, ...]
    s: tuple[Bit, ...]
    di: tuple[Bit, ...]
    ci: Bit


class Register(NamedTuple):
    """q is d of the cycle before."""

    name: str
    q: Bit
    d: Bit


Cell = Lut | Carry | Register


def reads(cell: Cell) -> tuple[Bit, ...]:
    match cell:
        case Lut():
            return cell.inputs
        case Carry():
            return (*cell.s, *cell.di, cell.ci)
        case Register():
            return (cell.d,)


def drives(cell: Cell) -> tuple[Bit, ...]:
    match cell:
        case Lut():
            return (cell.out,)
        case Carry():
            return (*cell.sums, *cell.carries)
        case Register():
            return (cell.q,)


class Remark(NamedTuple):
    """What the file says of a bit: it (or not it) is the highest of constant + sum of 2^j * literal, modulo 2^columns.

    columns: for each j its literals, 2 * bit + 1 where inverted. Not to be trusted.
    """

    inverted: bool
    constant: int
    columns: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Netlist:
    """A module without feedback, one clock.

    inputs, outputs: the bits of each port, lowest first, the clock left out. cells: every cell after those it reads.
    remarks: by bit.
    """

    module: str
    inputs: dict[str, tuple[Bit, ...]]
    outputs: dict[str, tuple[Bit, ...]]
    cells: tuple[Cell, ...]
    remarks: dict[Bit, Remark] = field(default_factory=dict)

    def latency(self) -> int | None:
        """Registers on every path from an input to an output; None where no output depends on an input.

        Raises EdgeqError where a cell or the outputs read different stages: then the module is no delayed function.
        """
        stage = {bit: 0 for bits in self.inputs.values() for bit in bits}
        for cell in self.cells:
            at = _common(f"{self.module}, cell {cell.name}", [stage.get(bit, ANY) for bit in reads(cell) if bit > 1])
            for bit in drives(cell):
                stage[bit] = at + 1 if isinstance(cell, Register) and at != ANY else at
        ends = [stage.get(bit, ANY) for bits in self.outputs.values() for bit in bits if bit > 1]
        found = _common(f"{self.module}, outputs", ends)
        return None if found == ANY else found

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Simulation, a clock cycle a row: bool [T, bits] for each port; registers start at 0."""
        cycles = len(next(iter(inputs.values())))
        value: dict[Bit, np.ndarray] = {0: np.zeros(cycles, np.uint8), 1: np.ones(cycles, np.uint8)}
        for name, bits in self.inputs.items():
            value |= {bit: np.ascontiguousarray(inputs[name][:, i]).astype(np.uint8) for i, bit in enumerate(bits)}
        for cell in self.cells:
            match cell:
                case Lut():
                    index = np.zeros(cycles, np.uint8)
                    for i, bit in enumerate(cell.inputs):
                        index |= value[bit] << i
                    value[cell.out] = truth(len(cell.inputs), cell.table)[index]
                case Carry():
                    carry = value[cell.ci]
                    for total, out, s, di in zip(cell.sums, cell.carries, cell.s, cell.di, strict=True):
                        value[total] = value[s] ^ carry
                        value[out] = carry = np.where(value[s], carry, value[di])
                case Register():
                    value[cell.q] = np.concatenate([value[0][:1], value[cell.d][:-1]])
        return {name: np.stack([value[bit] for bit in bits], axis=1).astype(bool) for name, bits in self.outputs.items()}


def truth(inputs: int, table: int) -> np.ndarray:
    """A truth table as uint8 [2^inputs]."""
    return np.array([table >> i & 1 for i in range(1 << inputs)], np.uint8)


def read(file: Path, module: str) -> Netlist:
    """The body of `module` that is synthesized (EQ_LUT6).

    Raises EdgeqError on what is no LUT, carry chain, register of the clock `clk_i` or gate, on bits driven twice or not at
    all, and on feedback.
    """
    return _Reader(module, yosys.netlist([file], module), file.read_text()).netlist()


@dataclass
class _Reader:
    module: str
    json: dict[str, Any]
    text: str
    cells: list[Cell] = field(default_factory=list)

    def netlist(self) -> Netlist:
        ports = {
            side: {name: self._bits(port["bits"]) for name, port in self.json["ports"].items() if port["direction"] == side}
            for side in ("input", "output", "inout")
        }
        clock = ports["input"].pop("clk_i", None)
        if clock is None or ports["inout"]:
            raise EdgeqError("a generated module has the clock clk_i and no inout", where=self.module)
        for name, cell in self.json["cells"].items():
            kind, pins = cell["type"], {pin: self._bits(bits) for pin, bits in cell["connections"].items()}
            if kind == "$_DFF_P_":
                if pins["C"] != clock:
                    raise EdgeqError("a register has another clock than clk_i", where=f"{self.module}, cell {name}")
                self.cells.append(Register(name, pins["Q"][0], pins["D"][0]))
            elif kind in _GATES:
                order, table = _GATES[kind]
                self.cells.append(Lut(name, pins["Y"][0], tuple(pins[pin][0] for pin in order), table))
            elif kind == "CARRY8":
                self.cells += [part for whole in self._carry(name, cell["parameters"], pins) for part in _apart(whole)]
            elif kind.startswith("LUT") and kind[3:] in {*"123456", "6_2"}:
                self._lut(name, int(kind[3]), cell["parameters"], pins)
            elif kind != "$scopeinfo":
                raise EdgeqError(f"a {kind} is no cell of a generated layer", where=f"{self.module}, cell {name}")
        inputs = ports["input"]
        sources = [bit for bits in inputs.values() for bit in bits]
        self.cells = _joined(list(self._ordered(sources, ports["output"])))
        cells = tuple(self._ordered(sources, ports["output"]))
        return Netlist(self.module, inputs, ports["output"], cells, dict(self._remarks()))

    def _remarks(self) -> Iterator[tuple[Bit, Remark]]:
        """The remarks `// ~NAME = top of CONSTANT + [NAME,~NAME] [] ...` whose names are known."""
        for name, constant, columns in re.findall(r"^ *// (\S+) = top of (\d+) \+ (\[.*\])$", self.text, re.MULTILINE):
            try:
                top = self._named(name)
                words = [column.split(",") if column else [] for column in columns[1:-1].split("] [")]
                yield top >> 1, Remark(bool(top & 1), int(constant), tuple(tuple(map(self._named, word)) for word in words))
            except (KeyError, IndexError, ValueError):
                continue  # without it the proof may end earlier

    def _named(self, name: str) -> int:
        """The literal of NAME, NAME[INDEX] or ~ either."""
        stem, _, index = name.lstrip("~").rstrip("]").partition("[")
        return 2 * int(self.json["netnames"][stem]["bits"][int(index or 0)]) + name.startswith("~")

    def _bits(self, bits: Sequence[int | str]) -> tuple[Bit, ...]:
        if any(bit in ("x", "z") for bit in bits):
            raise EdgeqError("a bit is not defined", where=self.module)
        return tuple(int(bit) for bit in bits)

    def _lut(self, name: str, size: int, parameters: Mapping[str, str], pins: dict[str, tuple[Bit, ...]]) -> None:
        init = int(parameters["INIT"], 2)
        inputs = tuple(self._pin(name, pins, f"I{i}")[0] for i in range(size))
        if "O" in pins:
            self.cells.append(Lut(name, pins["O"][0], inputs, init))
        if "O6" in pins:
            self.cells.append(Lut(name, pins["O6"][0], inputs, init))
        if "O5" in pins:  # the lower half: what O6 is where I5 is 0
            self.cells.append(Lut(f"{name}.O5", pins["O5"][0], inputs[:5], init & 0xFFFFFFFF))

    def _carry(self, name: str, parameters: Mapping[str, str], pins: dict[str, tuple[Bit, ...]]) -> list[Carry]:
        kind = parameters.get("CARRY_TYPE", "SINGLE_CY8")
        sums, carries, s, di = (self._pin(name, pins, pin, 8) for pin in ("O", "CO", "S", "DI"))
        whole = Carry(name, sums, carries, s, di, self._pin(name, pins, "CI")[0])
        if kind == "DUAL_CY4":
            low = whole._replace(**{pin: getattr(whole, pin)[:4] for pin in ("sums", "carries", "s", "di")})
            high = whole._replace(**{pin: getattr(whole, pin)[4:] for pin in ("sums", "carries", "s", "di")})
            return [low, high._replace(name=f"{name}.top", ci=self._pin(name, pins, "CI_TOP")[0])]
        if kind != "SINGLE_CY8" or pins.get("CI_TOP", (0,)) != (0,):
            raise EdgeqError(f"a CARRY8 of the type {kind} with CI_TOP in use", where=f"{self.module}, cell {name}")
        return [whole]

    def _pin(self, name: str, pins: Mapping[str, tuple[Bit, ...]], pin: str, width: int = 1) -> tuple[Bit, ...]:
        if len(pins.get(pin, ())) != width:
            raise EdgeqError(f"the pin {pin} is not connected", where=f"{self.module}, cell {name}")
        return pins[pin]

    def _ordered(self, sources: Sequence[Bit], outputs: Mapping[str, Sequence[Bit]]) -> Iterator[Cell]:
        """The cells in an order in which each reads only what is driven before."""
        driver: dict[Bit, Cell | None] = {0: None, 1: None, **dict.fromkeys(sources)}
        for cell in self.cells:
            for bit in drives(cell):
                if bit in driver:
                    raise EdgeqError("a bit is driven twice", where=f"{self.module}, cell {cell.name}")
                driver[bit] = cell
        wanted = [bit for cell in self.cells for bit in reads(cell)] + [bit for bits in outputs.values() for bit in bits]
        if any(bit not in driver for bit in wanted):
            raise EdgeqError("a bit that is read has no driver", where=self.module)
        waiting = {cell: 0 for cell in self.cells}
        readers: dict[Cell, list[Cell]] = {}
        for cell in self.cells:
            for source in {id(c): c for c in map(driver.__getitem__, reads(cell)) if c}.values():
                readers.setdefault(source, []).append(cell)
                waiting[cell] += 1
        ready = [cell for cell, count in waiting.items() if not count]
        done = 0
        for cell in ready:
            done += 1
            yield cell
            for reader in readers.get(cell, ()):
                waiting[reader] -= 1
                if not waiting[reader]:
                    ready.append(reader)
        if done < len(self.cells):
            stuck = next(cell for cell, count in waiting.items() if count)
            raise EdgeqError("a signal depends on itself", where=f"{self.module}, cell {stuck.name}")


def _joined(cells: list[Cell]) -> list[Cell]:
    """Carry chains that go on in another CARRY8 as one; not where the second reads a sum of the first in another way, too.

    cells: each after those it reads.
    """
    driver = {bit: cell for cell in cells for bit in drives(cell)}
    ends: dict[Bit, Carry] = {}  # chains by their last carry
    found: dict[str, Cell] = {}
    for cell in cells:
        if isinstance(cell, Carry):
            first = ends.get(cell.ci)
            if first and not _reaches(driver, [*cell.s, *cell.di], {*first.sums, *first.carries}):
                del found[first.name], ends[cell.ci]
                pins = ("sums", "carries", "s", "di")
                cell = first._replace(**{pin: getattr(first, pin) + getattr(cell, pin) for pin in pins})
            ends[cell.carries[-1]] = cell
        found[cell.name] = cell
    return list(found.values())


def _reaches(driver: Mapping[Bit, Cell], bits: Iterable[Bit], sources: Collection[Bit]) -> bool:
    """True where bits depend on the sources without a register between."""
    left, seen = list(bits), set(bits)
    while left:
        bit = left.pop()
        if bit in sources:
            return True
        cell = driver.get(bit)
        if cell and not isinstance(cell, Register):
            more = set(reads(cell)) - seen
            seen |= more
            left += more
    return False


def _apart(carry: Carry) -> Iterator[Cell]:
    """The parts of a chain between positions where s is 0: there its sum is the carry from below, and di the next carry."""
    low, enters = 0, carry.ci
    for p in (*(p for p, bit in enumerate(carry.s) if bit == 0), len(carry.s)):
        if low < p:
            name, part = f"{carry.name}[{low}]" if low else carry.name, slice(low, p)
            yield Carry(name, carry.sums[part], carry.carries[part], carry.s[part], carry.di[part], enters)
            enters = carry.carries[p - 1]
        if p < len(carry.s):
            yield Lut(f"{carry.name}.O[{p}]", carry.sums[p], (enters,), 0b10)
            yield Lut(f"{carry.name}.CO[{p}]", carry.carries[p], (carry.di[p],), 0b10)
            low, enters = p + 1, carry.carries[p]


def _common(where: str, stages: list[int]) -> int:
    """The one stage of signals that are read together."""
    found = {stage for stage in stages if stage != ANY}
    if len(found) > 1:
        raise EdgeqError(f"signals of stages {sorted(found)} meet", where=where)
    return found.pop() if found else ANY
