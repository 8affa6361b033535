"""The LUTs and carry chains of a netlist as SystemVerilog, by the family of the part.

A chain position computes O = S ^ carry and carry' = S ? carry : DI. "xcup" (UltraScale+) and "xc7" (7 series) instantiate LUT1 to
LUT6, LUT6_2, and CARRY8 or pairs of CARRY4; "ecp5" writes tables and sums, which its synthesis makes LUT4 and CCU2C of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PAIR_INPUTS = 5
"""Inputs that the two functions of a LUT6_2 share."""
PLAIN_RIPPLE = 2
"""Positions of a plain chain up to which it is written as gates: a counter in LUT4 is smaller than one in CCU2C."""


@dataclass(frozen=True)
class Family:
    """block: positions of the carry block that short chains share; 0: every chain stands alone, as long as it is.

    feeds: a signal enters a chain by a position with S = 0 of its own. A slice of the 7 series has one input, AX, for CYINIT and
    the lowest DI. macros: defined where the Verilog is synthesized. deep_lut_ram: a LUT RAM has the words of a bank of eq_gather.
    """

    name: str
    block: int
    feeds: bool = False
    macros: tuple[str, ...] = ("EQ_LUT6",)
    deep_lut_ram: bool = True

    def output(self, pin: str, block: int, at: int) -> str:
        """The name of a position's "o" or "co"."""
        return f"{pin}{block}[{at}]" if self.block else f"{pin}{block}_{at}"

    def declared(self, blocks: Sequence[tuple[int, int]]) -> list[str]:
        """Declarations of the outputs of blocks (number, positions)."""
        pins = ("o", "co")
        if self.block:
            return [f"  logic [{self.block - 1}:0] {lines([f'{pin}{i}' for i, _ in blocks for pin in pins])};"] if blocks else []
        names = [self.output(pin, i, at) for i, positions in blocks for at in range(positions) for pin in pins]
        return [f"  logic {lines(names)};"] if names else []

    def lut(self, names: Sequence[str], init: int, inputs: Sequence[str]) -> list[str]:
        """One output: a table of the inputs, the first one lowest; two: of 32 entries each, the second name's lower."""
        if not self.block:
            index = "{" + ", ".join(reversed(inputs)) + "}"
            if len(names) == 1:
                return [f"  assign {names[0]} = 1'({1 << len(inputs)}'h{init:x} >> {index});"]
            return [
                f"  assign {n} = 1'(32'h{part:x} >> {index});"
                for n, part in zip(names, (init >> 32, init % (1 << 32)), strict=True)
            ]
        if len(names) == 1:
            n = len(inputs)
            return [f"  LUT{n} #({1 << n}'h{init:x}) u_{names[0]} ({', '.join([names[0], *inputs])});"]
        tied = *inputs, *["1'b0"] * (PAIR_INPUTS - len(inputs)), "1'b1"
        return [f"  LUT6_2 #(64'h{init:x}) u_{names[0]} (.O6({names[0]}), .O5({names[1]}), {_PORTS % tied});"]

    def chain(self, index: int, enter: str, linked: bool, di: Sequence[str], s: Sequence[str]) -> list[str]:
        """A block, lowest position first. enter: its carry in; linked: the carry out of another block's last position."""
        if not self.block:
            return self._sum(index, enter, di, s)
        pad = ["1'b0"] * (self.block - len(s))
        di, s = [*di, *pad], [*s, *pad]
        if self.name == "xcup":
            ports = f".CO(co{index}), .O(o{index}), .CI({enter}), .CI_TOP(1'b0), .DI({_word(di)}), .S({_word(s)})"
            return [f"  CARRY8 u_c{index} ({ports});"]
        text = []
        for low in range(0, self.block - len(pad), 4):
            ci, cyinit = (f"co{index}[{low - 1}]", "1'b0") if low else (enter, "1'b0") if linked else ("1'b0", enter)
            part = f"[{low + 3}:{low}]"
            text.append(
                f"  CARRY4 u_c{index}_{low // 4} (.CO(co{index}{part}), .O(o{index}{part}), .CI({ci}), .CYINIT({cyinit}), "
                f".DI({_word(di[low : low + 4])}), .S({_word(s[low : low + 4])}));"
            )
        if len(pad) >= 4:
            text.append(f"  assign {{o{index}[7:4], co{index}[7:4]}} = '0;")
        return text

    def _sum(self, index: int, enter: str, di: Sequence[str], s: Sequence[str]) -> list[str]:
        """S ^ carry, by hand or as the sum DI + (S ^ DI) + carry in, whose carries are these."""
        o, co = ([self.output(pin, index, at) for at in range(len(s))] for pin in ("o", "co"))
        carries = [enter, *co[:-1]]
        if len(s) <= PLAIN_RIPPLE:
            text = []
            for k in range(len(s)):
                text.append(f"  assign {o[k]} = {s[k]} ^ {carries[k]};")
                text.append(f"  assign {co[k]} = {s[k]} ? {carries[k]} : {di[k]};")
            return text
        size = len(s) + 1
        left, right = f"{{1'b0, {_word(di)}}}", f"{{1'b0, {_word(s)} ^ {_word(di)}}}"
        text = [f"  assign {_word([*o, co[-1]])} = {left} + {right} + {size}'({enter});"]
        return text + [f"  assign {co[k]} = {o[k + 1]} ^ {s[k + 1]};" for k in range(len(s) - 1)]


_PORTS = ", ".join(f".I{i}(%s)" for i in range(PAIR_INPUTS + 1))
_ALL = (Family("xcup", 8), Family("xc7", 8, feeds=True, macros=("EQ_LUT6", "EQ_XC7")), Family("ecp5", 0, deep_lut_ram=False))
FAMILIES = {family.name: family for family in _ALL}


def lines(items: Sequence[str]) -> str:
    """A list of names over lines of 16."""
    return ",\n      ".join(", ".join(items[i : i + 16]) for i in range(0, len(items), 16))


def _word(bits: Sequence[str]) -> str:
    """Bits, lowest first, as a concatenation."""
    return "{" + ", ".join(reversed(bits)) + "}"
