"""Boards: part, clock and budget, read from the TOML files in boards/."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from importlib.resources import files

from edgeq.errors import EdgeqError
from edgeq.hardware import Cost


@dataclass(frozen=True)
class Vivado:
    """What the Vivado project of a board needs. board_part: a part of the name of Avnet's, AMD's or TUL's board files.
    processor: "zynqmp" (Zynq UltraScale+) or "zynq7" (Zynq-7000)."""

    board_part: str
    processor: str


@dataclass(frozen=True)
class Ecp5:
    """What Yosys, nextpnr and the driver need of a board with a Lattice ECP5 and a serial port.

    device, package, speed: as nextpnr names them. oscillator_mhz: at the pin `clk`. pins: clk, rx and tx (as the FPGA sees them),
    led0 to led3, and one that has to be high for the board to stay on.
    """

    device: str
    package: str
    speed: int
    oscillator_mhz: float
    pins: dict[str, str]


@dataclass(frozen=True)
class Board:
    """name: file stem. part: the vendor's ordering code. clock_mhz: the clock of the design, which turns cycles into time.
    family: of edgeq.cells.FAMILIES, as Yosys names it too. budget: in the part's own LUTs, of which one of our model is
    `luts_per_lut6`; the model is of LUT6. vivado, ecp5: how it is built; None where it is not built so.
    """

    name: str
    title: str
    aliases: tuple[str, ...]
    part: str
    family: str
    clock_mhz: float
    budget: Cost
    vivado: Vivado | None = None
    ecp5: Ecp5 | None = None
    luts_per_lut6: float = 1.0

    def price(self, cost: Cost) -> Cost:
        """A cost by our model, in resources of this part."""
        return replace(cost, lut=cost.lut * self.luts_per_lut6)


def boards() -> list[Board]:
    """Every board, by name."""
    found = []
    for entry in sorted(files("edgeq.boards").iterdir(), key=lambda e: e.name):
        if entry.name.endswith(".toml"):
            data = tomllib.loads(entry.read_text())
            values = data | {"aliases": tuple(data["aliases"]), "budget": Cost(**data["budget"])}
            if "vivado" in data:
                values["vivado"] = Vivado(**data["vivado"])
            if "ecp5" in data:
                values["ecp5"] = Ecp5(**data["ecp5"])
            found.append(Board(entry.name.removesuffix(".toml"), **values))
    return found


def board(name: str) -> Board:
    """The board of that name or alias. Raises EdgeqError that lists the boards."""
    known = boards()
    for candidate in known:
        if name == candidate.name or name in candidate.aliases:
            return candidate
    names = ", ".join(sorted({n for b in known for n in (b.name, *b.aliases)}))
    raise EdgeqError(f"there is no board {name!r}", where="--board", fix=f"one of: {names}")
