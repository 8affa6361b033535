"""The board design around a network: BUILD/vivado for a machine with Vivado, BUILD/driver for the board itself.

The Verilog shell, the register map and the frames in memory are the same on every board (hls/rtl/eq_axi_*.sv, edgeq/axi.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from edgeq import axi
from edgeq.board import Board
from edgeq.cache import key
from edgeq.cells import FAMILIES
from edgeq.engines.yosys import estimate as yosys_estimate
from edgeq.errors import EdgeqError
from edgeq.fold import Fold, input_beat, input_stream
from edgeq.graph import Graph, IntType
from edgeq.hardware import Cost, memory_cost
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
    made = build / "vivado"
    settings, shell = write_shell(graph, folds, board, build, made, "board.v.j2", {})
    network = (build / "rtl" / FILE_LIST).read_text().split()
    memories = sorted(path.name for path in (build / "rtl").iterdir() if path.name not in (*network, FILE_LIST))
    settings |= {
        "board": board.name, "part": board.part, "clock_mhz": f"{board.clock_mhz:g}", "vivado": vars(board.vivado),
        "sources": [*(f"../rtl/{name}" for name in network), *(f"rtl/{name}" for name in shell)],
        "macros": FAMILIES[board.family].macros, "memories": [f"../rtl/{name}" for name in memories],
    }  # fmt: skip
    for name in ("build.tcl", "system.tcl", "edgeq.xdc"):
        (made / name).write_text(render(f"{name}.j2", settings))


def write_shell(
    graph: Graph, folds: dict[str, Fold], board: Board, build: Path, made: Path, template: str, more: Mapping[str, Any],
    modules: Sequence[str] = (SHELL,), packages: Mapping[str, str] | None = None, link: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], list[str]]:  # fmt: skip
    """Writes what goes around the network that is in build/rtl, to made/rtl, and driver/.

    template: the top, of boards/. more: its values beside those of the shell. modules: of the library, that it instantiates.
    packages: SystemVerilog packages beside that of the registers. link: what the driver must know beside the shell. Returns the
    top's values, and the names of the files in an order in which a tool can read them.
    """
    output = graph.types()[graph.output]
    packages = {axi.PACKAGE: axi.package_sv()} | dict(packages or {})
    (made / "rtl").mkdir(parents=True)
    names = [f"{stem}.sv" for stem in sorted(library(set(modules))) if not (build / "rtl" / f"{stem}.sv").exists()]
    for name in names:
        (made / "rtl" / name).write_bytes(files("edgeq.hls").joinpath("rtl", name).read_bytes())
    for stem, text in packages.items():
        (made / "rtl" / f"{stem}.sv").write_text(text)
    names = [*(f"{stem}.sv" for stem in packages), *names]
    about = {"input": axi.stream(graph.input_type, input_beat(graph, folds)), "output": axi.stream(output)}
    interface = _interface(board) | dict(link or {}) | about
    settings = _settings((input_stream(graph, folds), output)) | dict(more)
    top = render(template, settings | {"hash": "0"})
    identity = _identity(interface, top, [*sorted((build / "rtl").iterdir()), *(made / "rtl" / name for name in names)])
    settings |= {"hash": identity}
    names.append(f"{BOARD_TOP}.{template.split('.')[1]}")
    (made / "rtl" / names[-1]).write_text(render(template, settings))
    driver = build / "driver"
    driver.mkdir(exist_ok=True)
    (driver / DRIVER_FILE).write_bytes(files("edgeq").joinpath("driver.py").read_bytes())
    (driver / INTERFACE_FILE).write_text(json.dumps(interface | {"hash": identity}, indent=2) + "\n")
    return settings, names


def shell_cost(graph: Graph, folds: dict[str, Fold], board: Board, build: Path, estimate: str) -> tuple[Cost, str]:
    """Resources of the AXI shell in a build that `lower` wrote, and their source: "yosys", or "model" where that is asked for.

    The DMA and the interconnect are Vivado's and not in it.
    """
    settings = _settings((input_stream(graph, folds), graph.types()[graph.output]))
    if estimate == "model":  # measured over five shapes: 622 to 728 LUT, 692 to 733 FF and those of a wide beat
        words = -(-axi.stream(graph.input_type, input_beat(graph, folds))["frame_bytes"] * 8 // axi.BUS_BITS)
        return Cost(lut=700, ff=700 + max(0, settings["in_bits"] - axi.BUS_BITS)) + memory_cost(axi.BUS_BITS, words), "model"
    names = {"InBits": "in_bits", "InBeats": "in_beats", "OutBits": "out_bits", "OutBeats": "out_beats", "Width": "bus_bits"}
    sources = [path for path in board_sources(build) if path.stem in (axi.PACKAGE, *library({SHELL}))]
    params = {name: settings[key] for name, key in names.items()}
    return yosys_estimate(sources, SHELL, params, family=board.family, cwd=build), "yosys"


def render(template: str, settings: Mapping[str, Any]) -> str:
    """A template of boards/. Raises EdgeqError where a value would need quotes."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True, finalize=_plain
    )
    return environment.from_string(files("edgeq.boards").joinpath(template).read_text()).render(settings)


def board_sources(build: Path, folder: str = "vivado") -> list[Path]:
    """The Verilog of the network and of its shell, in an order in which a tool can read it."""
    shell = build / folder / "rtl"
    packages = [path for stem in (axi.PACKAGE, axi.UART_PACKAGE) if (path := shell / f"{stem}.sv").exists()]
    own = sorted(path for path in shell.iterdir() if path not in packages)
    return [*packages, *(build / "rtl" / name for name in (build / "rtl" / FILE_LIST).read_text().split()), *own]


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
