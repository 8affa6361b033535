"""What the checker is checked with: wrong netlists, made at random, and SAT to tell which of them are wrong after all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from edgeq.engines import yosys
from edgeq.prove import Layer
from edgeq.prove.netlist import ANY, Bit, Carry, Cell, Lut, Netlist, Register, drives, reads

KINDS = ("table", "swap", "input", "register", "carry", "output")


def mutant(netlist: Netlist, rng: np.random.Generator) -> tuple[str, Netlist]:
    """The netlist with one fault, and what it is.

    A bit of a LUT's table; two inputs of a LUT exchanged; an input of a LUT or register moved to another net of its stage; an
    input of a carry chain exchanged with its neighbour, moved or inverted to a constant; an output bit moved.
    """
    stage = _stages(netlist)
    while True:
        kind = KINDS[rng.integers(len(KINDS))]
        if kind == "output":
            name = sorted(netlist.outputs)[0]
            bits = list(netlist.outputs[name])
            a, b = rng.integers(len(bits), size=2)
            if bits[a] == bits[b]:
                continue
            bits[a] = bits[b]
            return f"{name}[{a}] is {name}[{b}]", replace(netlist, outputs={**netlist.outputs, name: tuple(bits)})
        wanted = {"register": Register, "carry": Carry}.get(kind, Lut)
        places = [i for i, cell in enumerate(netlist.cells) if isinstance(cell, wanted)]
        if not places:
            continue
        at = int(rng.choice(places))
        cell = netlist.cells[at]
        changed = _changed(cell, kind, _nearby(netlist, at, stage, rng), rng)
        if changed != cell:
            cells = (*netlist.cells[:at], changed, *netlist.cells[at + 1 :])
            return f"{kind} of {cell.name}", replace(netlist, cells=cells)


def equal(a: Netlist, b: Netlist, layer: Layer) -> bool:
    """True where two netlists with the same nets give the same for all inputs that the layer can have, by SAT.

    Registers count as wires, see Netlist.latency.
    """
    if layer.masks is None:
        return _equal(a, b, {})
    for mask in layer.masks:
        constants = dict(zip(a.inputs["mask_i"], map(int, mask), strict=True))
        constants |= {bit: 0 for bit, real in zip(a.inputs["x_i"], layer.real(mask), strict=True) if not real}
        if not _equal(a, b, constants):
            return False
    return True


def _equal(a: Netlist, b: Netlist, constants: Mapping[Bit, int]) -> bool:
    """The same with some inputs constant. What both share is written once: only what a changed cell reaches is searched."""
    other = dict(zip(map(drives, a.cells), b.cells, strict=True))
    copied: dict[Bit, str] = {}
    lines: list[str] = []

    def name(bit: Bit) -> str:
        return f"1'b{bit if bit < 2 else constants[bit]}" if bit < 2 or bit in constants else f"n{bit}"

    def name_in_b(bit: Bit) -> str:
        return copied.get(bit) or name(bit)

    for cell in a.cells:
        twin = other[drives(cell)]
        lines += _lines(cell, name, name)
        if twin != cell or any(bit in copied for bit in reads(twin)):
            copied |= {bit: f"m{bit}" for bit in drives(twin)}
            lines += _lines(twin, name_in_b, name_in_b)
    pairs = {
        (name(p), name_in_b(q))
        for port, bits in a.outputs.items()
        for p, q in zip(bits, b.outputs[port], strict=True)
        if p != q or q in copied
    }
    free = [bit for bits in a.inputs.values() for bit in bits if bit not in constants]
    ports = "".join(f"input n{bit}, " for bit in free)
    differ = " | ".join(f"({p} ^ {q})" for p, q in sorted(pairs)) or "1'b0"
    text = [f"module miter ({ports}output differ);", *lines, f"assign differ = {differ};", "endmodule", ""]
    return yosys.never("\n".join(text), "miter", "differ")


def _lines(cell: Cell, read: Callable[[Bit], str], drive: Callable[[Bit], str]) -> Iterable[str]:
    match cell:
        case Register():
            yield f"wire {drive(cell.q)} = {read(cell.d)};"
        case Lut():
            n = len(cell.inputs)
            yield f"wire {drive(cell.out)};"
            yield (
                f"\\$lut #(.WIDTH({n}), .LUT({1 << n}'h{cell.table:x})) u_{drive(cell.out)} "
                f"(.A({{{', '.join(read(bit) for bit in reversed(cell.inputs))}}}), .Y({drive(cell.out)}));"
            )
        case Carry():
            carry = read(cell.ci)
            for total, out, s, di in zip(cell.sums, cell.carries, cell.s, cell.di, strict=True):
                yield f"wire {drive(total)} = {read(s)} ^ {carry};"
                yield f"wire {drive(out)} = {read(s)} ? {carry} : {read(di)};"
                carry = drive(out)


def _stages(netlist: Netlist) -> dict[Bit, int]:
    stage = {bit: 0 for bits in netlist.inputs.values() for bit in bits}
    for cell in netlist.cells:
        at = max((stage.get(bit, ANY) for bit in reads(cell)), default=ANY)
        stage |= dict.fromkeys(drives(cell), at + isinstance(cell, Register))
    return stage


def _nearby(netlist: Netlist, at: int, stage: Mapping[Bit, int], rng: np.random.Generator) -> Bit:
    """A net of the stage that a cell reads, driven before it."""
    wanted = max((stage.get(bit, ANY) for bit in reads(netlist.cells[at])), default=ANY)
    before = [bit for bits in netlist.inputs.values() for bit in bits if stage[bit] == wanted]
    before += [bit for cell in netlist.cells[:at] for bit in drives(cell) if stage[bit] == wanted]
    return int(rng.choice(before)) if before else 0


def _changed(cell: Cell, kind: str, net: Bit, rng: np.random.Generator) -> Cell:
    match cell:
        case Lut() if kind == "table":
            return cell._replace(table=cell.table ^ 1 << int(rng.integers(1 << len(cell.inputs))))
        case Lut():
            inputs = list(cell.inputs)
            a, b = rng.integers(len(inputs), size=2)
            if kind == "swap":
                inputs[a], inputs[b] = inputs[b], inputs[a]
            else:
                inputs[a] = net
            return cell._replace(inputs=tuple(inputs))
        case Register():
            return cell._replace(d=net)
        case Carry():
            pin = rng.integers(3)
            if pin == 0:
                return cell._replace(ci=net if cell.ci > 1 else 1 - cell.ci)
            bits = list(cell.s if pin == 1 else cell.di)
            p = int(rng.integers(len(bits)))
            if rng.integers(2):
                bits[p], bits[p - 1] = bits[p - 1], bits[p]
            else:
                bits[p] = net if bits[p] < 2 else int(rng.integers(2))
            return cell._replace(s=tuple(bits)) if pin == 1 else cell._replace(di=tuple(bits))
