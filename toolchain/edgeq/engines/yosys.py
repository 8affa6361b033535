"""Yosys from pip: resource counts of a module by `synth_xilinx` or `synth_lattice`, and equivalence of small modules by SAT.

The counts are Yosys', not Vivado's: it packs no two LUT5 into one LUT6_2, so its LUTs are an upper estimate. Each LUT1 to
LUT6 counts as one LUT, also an inverter; LUT RAM and shift registers count the LUTs they occupy (UG574). On an ECP5 a LUT is a
LUT4: a CCU2C takes two, a LUT RAM of 16 x 4 four and two for its write port.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgeq.cache import cached, key
from edgeq.cells import FAMILIES
from edgeq.errors import EdgeqError
from edgeq.hardware import Cost

LUTS = {f"LUT{n}": 1 for n in range(1, 7)} | {
    "INV": 1, "LUT6_2": 1, "SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1,
    "RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM256X1D": 8,
    "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8, "RAM64X8SW": 8,
    "CCU2C": 2, "TRELLIS_DPR16X4": 6,
}  # fmt: skip
FFS = {name: 1 for stem in ("FDRE", "FDSE", "FDCE", "FDPE", "LDCE", "LDPE") for name in (stem, f"{stem}_1")} | {"TRELLIS_FF": 1}
BRAMS = {"RAMB36E1": 1.0, "RAMB36E2": 1.0, "RAMB18E1": 0.5, "RAMB18E2": 0.5, "DP16KD": 0.5, "PDPW16KD": 0.5}
DSPS = {"DSP48E1": 1, "DSP48E2": 1, "MULT18X18D": 1}
URAMS = {"URAM288": 1}
FREE = (
    "CARRY4",
    "CARRY8",
    "MUXF7",
    "MUXF8",
    "MUXF9",
    "VCC",
    "GND",
    "BUFG",
    "IBUF",
    "OBUF",
    "$assert",
    "$scopeinfo",
    "PFUMX",
    "L6MUX21",
)
"""Cells that take no resource of the report: carry chains and multiplexers sit beside the LUTs of their slice."""
MEMORY_BYTES = 8 << 30
_RUN = """
import resource, sys
from pyosys import libyosys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
design = libyosys.Design()
for command in sys.stdin.read().splitlines():
    design.run_pass(command)
"""


def defines(family: str) -> list[str]:
    """How the library is read as synthesis reads it for the family: popcounts as LUT6 compressors."""
    return [f"-D{macro}" for macro in ("SYNTHESIS", *FAMILIES[family].macros)]


def estimate(
    files: Iterable[Path], top: str, params: Mapping[str, int | str], family: str = "xcup", cwd: Path = Path(), seconds: int = 900
) -> Cost:
    """Resources of the module `top` with these parameters, by Yosys; kept by content.

    cwd: the folder from which the memory images are read. Raises EdgeqError where Yosys fails or takes too long.
    """
    stat = _synthesized("yosys", "tee -q -o stat.json stat -json", files, top, params, family, cwd, seconds) / "stat.json"
    return cost_of(json.loads(stat.read_text())["design"]["num_cells_by_type"], top)


def lut_levels(
    files: Iterable[Path], top: str, params: Mapping[str, int | str], family: str = "xcup", cwd: Path = Path(), seconds: int = 900
) -> int:
    """The most LUT levels between two registers or ports of the module `top`, after `synth_xilinx`; kept by content.

    A LUT counts one, and so does a carry chain, however long, from where a signal enters it to where one leaves. Which output
    of a LUT6_2 depends on which input is read from its table; S tied to 0 ends a chain. MUXF7 to MUXF9 count nothing.
    """
    folder = _synthesized("levels", "write_json netlist.json", files, top, params, family, cwd, seconds)
    result = folder / "levels.txt"
    if not result.is_file():
        cells = json.loads((folder / "netlist.json").read_text())["modules"][top]["cells"]
        result.write_text(str(_Levels(cells.values()).most()))
        (folder / "netlist.json").unlink()
    return int(result.read_text())


class _Levels:
    """Levels of the signals of a mapped netlist. A node is a bit's number, or (chain, position): the carry into a position."""

    def __init__(self, cells: Iterable[dict[str, Any]]) -> None:
        self.before: dict[object, tuple[int, list[object]]] = {}
        for index, cell in enumerate(cells):
            kind, pins = cell["type"], cell["connections"]
            if kind.startswith("CARRY"):
                self._chain(index, pins)
            elif kind in LUTS and (kind.startswith("LUT") or kind == "INV"):
                self._lut(cell)
            elif kind in ("MUXF7", "MUXF8", "MUXF9"):
                self.before[pins["O"][0]] = 0, [*pins["I0"], *pins["I1"], *pins["S"]]

    def _lut(self, cell: dict[str, Any]) -> None:
        pins = cell["connections"]
        inputs = [pins[name][0] for name in (["I"] if "I" in pins else [f"I{i}" for i in range(6) if f"I{i}" in pins])]
        init = cell["parameters"].get("INIT", "01")
        table = [c == "1" for c in reversed(init)] if isinstance(init, str) else [bool(init >> i & 1) for i in range(64)]
        for name, free in (("O", ()), ("O6", ()), ("O5", (5,))):
            if name in pins:
                fixed = {i: bit == "1" for i, bit in enumerate(inputs) if isinstance(bit, str)} | dict.fromkeys(free, False)
                legal = [k for k in range(1 << len(inputs)) if all(bool(k >> i & 1) == v for i, v in fixed.items())]
                used = [b for i, b in enumerate(inputs) if i not in fixed and any(table[k] != table[k ^ 1 << i] for k in legal)]
                self.before[pins[name][0]] = 1, used

    def _chain(self, index: int, pins: dict[str, list[Any]]) -> None:
        enter = [bit for name in ("CI", "CYINIT") for bit in pins.get(name, []) if not isinstance(bit, str)]
        self.before[index, 0] = 0, enter
        for i, (s, di, o, co) in enumerate(zip(pins["S"], pins["DI"], pins["O"], pins["CO"], strict=True)):
            through = [] if s == "0" else [(index, i)]
            self.before[index, i + 1] = 0, [*through, s, di]
            self.before[o] = 1, [s, (index, i)]
            self.before[co] = 1, [(index, i + 1)]
            self.before["carry", co] = 0, [(index, i + 1)]
        for i, bit in enumerate(enter):
            enter[i] = ("carry", bit)  # within a chain if the bit is a carry, see most()

    def most(self) -> int:
        """Of all signals."""
        level: dict[object, int] = {}
        for start in list(self.before):
            stack = [start]
            while stack:
                node = stack[-1]
                if isinstance(node, tuple) and node[0] == "carry" and node not in self.before:
                    self.before[node] = 0, [node[1]]
                step, inputs = self.before.get(node, (0, []))
                waiting = [n for n in inputs if n not in level and not isinstance(n, str)]
                if waiting:
                    stack += waiting
                    continue
                level[node] = step + max((level.get(n, 0) for n in inputs), default=0)
                stack.pop()
        return max(level.values(), default=0)


def _synthesized(
    kind: str,
    last: str,
    files: Iterable[Path],
    top: str,
    params: Mapping[str, int | str],
    family: str,
    cwd: Path,
    seconds: int,
) -> Path:
    """The folder of what the command `last` writes about a synthesized module."""
    files = [Path(f) for f in files]
    images = [cwd / v for v in params.values() if isinstance(v, str) and v and (cwd / v).is_file()]
    settings = " ".join(f"-chparam {name} {_constant(value)}" for name, value in params.items())
    synth = f"synth_xilinx -family {family} -top {top} -flatten -noiopad -noclkbuf"
    mapped = [
        f"{synth} -run begin:map_dsp",
        "setattr -set keep 1 a:shreg_extract=no %ci1 t:$dff %i",  # as Vivado reads it: registers, no shift register LUTs
        f"{synth} -run map_dsp:",
    ]
    script = [
        "read_verilog -sv -defer " + " ".join([*defines(family), *(str(f.resolve()) for f in files)]),
        f"hierarchy -top {top} {settings}",  # the parts of the device come with synth_xilinx
        *([f"synth_lattice -family {family} -top {top}"] if family == "ecp5" else mapped),
        last,
    ]
    content: list[str | bytes] = [*script[1:], *(f.read_bytes() for f in [*files, *images]), version("pyosys")]

    def build(folder: Path) -> None:
        for image in images:
            (folder / image.name).write_bytes(image.read_bytes())
        run(script, folder, top, seconds)

    return cached(kind, key(content), build)


def cost_of(cells: Mapping[str, int], top: str) -> Cost:
    """Resources of a netlist's cells by type. Raises EdgeqError on a cell that has no place in the count."""
    tables = (LUTS, FFS, BRAMS, URAMS, DSPS)
    unknown = [name for name in cells if name not in FREE and not any(name in table for table in tables)]
    if unknown:
        raise EdgeqError(f"Yosys left cells that are not counted: {', '.join(sorted(unknown))}", where=top)
    return Cost(*(sum(table.get(name, 0) * n for name, n in cells.items()) for table in tables))


def equivalent(
    files: Sequence[Path],
    top: str,
    gold: Sequence[str] = (),
    gate: Sequence[str] = ("EQ_LUT6",),
    latency: int = 0,
    seconds: int = 300,
) -> bool:
    """True where the module `top`, read with the macros `gold`, equals itself read with the macros `gate`, by SAT.

    latency: registers on each path from input to output. Every input sequence of latency + 1 cycles is tried, from every
    state of the registers, and the outputs are compared in the last one. Xilinx primitives are Yosys' models.
    """
    files = [Path(f).resolve() for f in files]
    script = []
    for name, macros in (("gold", gold), ("gate", gate)):
        script += [
            "read_verilog -sv " + " ".join([*(f"-D{macro}" for macro in macros), *map(str, files)]),
            f"hierarchy -top {top}",
            "techmap -autoproc -wb -D EQUIV -map +/xilinx/cells_sim.v",
            "proc; flatten; memory -nordff; opt_clean",
            f"rename -top {name}; design -stash {name}",
        ]
    script += [
        "design -copy-from gold -as gold gold; design -copy-from gate -as gate gate",
        "miter -equiv -flatten -make_outputs gold gate miter; hierarchy -top miter",
        f"tee -q -o sat.txt sat -prove trigger 0 -seq {latency + 1} -prove-skip {latency} -set-def-inputs miter",
    ]

    def build(folder: Path) -> None:
        run(script, folder, top, seconds)

    steps = [line for line in script if not line.startswith("read_verilog")]
    parts: list[str | bytes] = [*steps, *gold, "", *gate, *(f.read_bytes() for f in files), version("pyosys")]
    folder = cached("sat", key(parts), build)
    return _answer(folder / "sat.txt", top)


def netlist(files: Sequence[Path], top: str, macros: Sequence[str] = ("EQ_LUT6",), seconds: int = 300) -> dict[str, Any]:
    """The module `top`, flat, as Yosys' write_json gives it: what is instantiated stays, the rest are gates on single bits."""
    script = [
        "read_verilog -sv " + " ".join([*(f"-D{macro}" for macro in macros), *(str(f.resolve()) for f in files)]),
        "read_verilog -lib +/xilinx/cells_sim.v",
        f"hierarchy -check -top {top}",
        "proc; flatten; opt_clean; simplemap; techmap; opt_clean",
        f"select {top}; write_json -selected netlist.json",
    ]
    with TemporaryDirectory() as folder:
        run(script, Path(folder), top, seconds)
        return json.loads(Path(folder, "netlist.json").read_text())["modules"][top]


def never(text: str, top: str, output: str, seconds: int = 300) -> bool:
    """True where the combinational module `top`, SystemVerilog or Yosys' own cells, has 0 at `output` for all inputs, by SAT."""
    script = [
        "read_verilog -sv -icells never.sv",
        f"hierarchy -check -top {top}",
        "proc; opt_clean",
        f"tee -q -o sat.txt sat -prove {output} 0 -set-def-inputs {top}",
    ]
    with TemporaryDirectory() as folder:
        Path(folder, "never.sv").write_text(text)
        run(script, Path(folder), top, seconds)
        return _answer(Path(folder, "sat.txt"), top)


def _answer(file: Path, top: str) -> bool:
    """What Yosys' SAT solver found."""
    text = file.read_text()
    proved, refuted = "SUCCESS" in text, "FAIL" in text
    if proved == refuted:
        raise EdgeqError("Yosys' SAT solver gave no answer", where=top)
    return proved


def _constant(value: int | str) -> str:
    """A parameter as Yosys reads it on a command line: text as the bits of its characters, long integers with their size."""
    if isinstance(value, str):
        return f"{8 * max(1, len(value))}'h{value.encode().hex() or '00'}"
    return str(value) if -(1 << 31) <= value < 1 << 31 else f"{value.bit_length()}'h{value:x}"


def run(script: list[str], folder: Path, where: str, seconds: int, fix: str = "use --estimate model") -> None:
    """Run Yosys commands in `folder`, in a process of its own: it may crash or run out of memory."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _RUN, str(MEMORY_BYTES)], input="\n".join(script), cwd=folder, capture_output=True, text=True,
            timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise EdgeqError(f"Yosys took more than {seconds} s", where=where, fix=fix) from None
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-8:])
        raise EdgeqError(f"Yosys failed ({done.returncode}):\n{tail}", where=where, fix=fix)
