"""Boards: part, clock and budget, read from the TOML files in boards/."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
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
class Board:
    """name: file stem. part: the vendor's ordering code. clock_mhz: the clock of the design, which turns cycles into time.
    vivado: None where the board is not built with Vivado."""

    name: str
    title: str
    aliases: tuple[str, ...]
    part: str
    yosys_family: str
    clock_mhz: float
    budget: Cost
    vivado: Vivado | None = None


def boards() -> list[Board]:
    """Every board, by name."""
    found = []
    for entry in sorted(files("edgeq.boards").iterdir(), key=lambda e: e.name):
        if entry.name.endswith(".toml"):
            data = tomllib.loads(entry.read_text())
            values = data | {"aliases": tuple(data["aliases"]), "budget": Cost(**data["budget"])}
            if "vivado" in data:
                values["vivado"] = Vivado(**data["vivado"])
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
