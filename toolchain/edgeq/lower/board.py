"""The board design around a network: BUILD/vivado for a machine with Vivado, BUILD/driver for the board itself.

The Verilog shell, the register map and the frames in memory are the same on every board (hls/rtl/eq_axi_*.sv, edgeq/axi.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from edgeq import axi
from edgeq.board import Board
from edgeq.cache import key
from edgeq.errors import EdgeqError
from edgeq.fold import Fold, input_beat, input_stream
from edgeq.graph import Graph, IntType
from edgeq.lower.rtl import FILE_LIST, TOP, library

BOARD_TOP = "eq_board"
SHELL = "eq_axi_shell"
INTERFACE_FILE = "interface.json"
DRIVER_FILE = "edgeq_driver.py"
PLAIN = re.compile(r"[A-Za-z0-9_.:/-]*")
"""What may stand in Tcl and Verilog as it is."""


def lower(graph: Graph, folds: dict[str, Fold], board: Board, build: Path) -> None:
    """Writes vivado/, the shell around the network that `lower.rtl.lower` wrote to build/rtl and what builds the bitstream, and
    driver/, without the golden vectors, for a board that has `vivado`. The same input gives the same bytes.
    """
    assert board.vivado, board.name
    output = graph.types()[graph.output]
    ends = (input_stream(graph, folds), output)
    made = build / "vivado"
    shell = _write_shell(build / "rtl", made / "rtl")
    about = {"input": axi.stream(graph.input_type, input_beat(graph, folds)), "output": axi.stream(output)}
    interface = _interface(board) | about
    settings = _settings(ends)
    top = render("board.v.j2", settings | {"hash": "0"})
    identity = _identity(interface, top, [*sorted((build / "rtl").iterdir()), *(made / "rtl" / name for name in shell)])
    settings |= {"hash": identity}
    (made / "rtl" / f"{BOARD_TOP}.v").write_text(render("board.v.j2", settings))
    network = (build / "rtl" / FILE_LIST).read_text().split()
    memories = sorted(path.name for path in (build / "rtl").iterdir() if path.name not in (*network, FILE_LIST))
    settings |= {
        "board": board.name, "part": board.part, "clock_mhz": f"{board.clock_mhz:g}", "vivado": vars(board.vivado),
        "sources": [*(f"../rtl/{name}" for name in network), *(f"rtl/{name}" for name in (*shell, f"{BOARD_TOP}.v"))],
        "memories": [f"../rtl/{name}" for name in memories],
    }  # fmt: skip
    for name in ("build.tcl", "system.tcl", "edgeq.xdc"):
        (made / name).write_text(render(f"{name}.j2", settings))
    driver = build / "driver"
    driver.mkdir()
    (driver / DRIVER_FILE).write_bytes(files("edgeq").joinpath("driver.py").read_bytes())
    (driver / INTERFACE_FILE).write_text(json.dumps(interface | {"hash": identity}, indent=2) + "\n")


def render(template: str, settings: Mapping[str, Any]) -> str:
    """A template of boards/. Raises EdgeqError where a value would need quotes."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True, finalize=_plain
    )
    return environment.from_string(files("edgeq.boards").joinpath(template).read_text()).render(settings)


def board_sources(build: Path) -> list[Path]:
    """The Verilog of the network and of its shell, in an order in which a tool can read it."""
    shell = build / "vivado" / "rtl"
    own = sorted(path for path in shell.iterdir() if path.stem != axi.PACKAGE)
    network = [build / "rtl" / name for name in (build / "rtl" / FILE_LIST).read_text().split()]
    return [shell / f"{axi.PACKAGE}.sv", *network, *own]


def _write_shell(rtl: Path, out: Path) -> list[str]:
    """The files of the shell that the network does not have already, but for its top; returns their names."""
    out.mkdir(parents=True)
    names = [f"{stem}.sv" for stem in sorted(library({SHELL})) if not (rtl / f"{stem}.sv").exists()]
    for name in names:
        (out / name).write_bytes(files("edgeq.hls").joinpath("rtl", name).read_bytes())
    (out / f"{axi.PACKAGE}.sv").write_text(axi.package_sv())
    return [f"{axi.PACKAGE}.sv", *names]


def _interface(board: Board) -> dict[str, Any]:
    """What the driver must know, but for the frames and the identity."""
    return {
        "board": board.name,
        "clock_mhz": board.clock_mhz,
        "magic": axi.MAGIC,
        "version": axi.VERSION,
        "registers": {register.name: register.offset for register in axi.REGISTERS},
    }


def _identity(interface: dict[str, Any], top: str, sources: list[Path]) -> str:
    """The content of a design as 32 hexadecimal digits: all the Verilog that makes it, and how its frames are read."""
    parts = [part for path in sources for part in (path.name.encode(), path.read_bytes())]
    return key([json.dumps(interface), top, *parts])[: axi.HASH_BITS // 4]


def _settings(ends: tuple[IntType, IntType]) -> dict[str, Any]:
    """The values of board.v.j2, but for the identity. ends: the types of the two streams, a beat as one pixel."""
    (in_bits, in_beats), (out_bits, out_beats) = ((t.channels * t.width, t.pixels) for t in ends)
    return {
        "top": BOARD_TOP, "network": TOP, "bus_bits": axi.BUS_BITS, "address_bits": axi.ADDRESS_BITS,
        "in_bits": in_bits, "in_beats": in_beats, "out_bits": out_bits, "out_beats": out_beats,
    }  # fmt: skip


def _plain(value: Any) -> Any:
    """A value as it may stand in a template."""
    if not PLAIN.fullmatch(str(value)):
        raise EdgeqError(
            f"{str(value)!r} cannot stand in Tcl or Verilog", where="boards", fix="letters, digits and _ . : / - only"
        )
    return value
