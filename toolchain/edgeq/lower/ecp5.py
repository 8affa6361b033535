"""The board design around a network on a Lattice ECP5 with a serial port: BUILD/ecp5 and BUILD/driver, by open tools alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from shutil import rmtree
from typing import Any

from edgeq import axi
from edgeq.board import Board
from edgeq.engines import nextpnr
from edgeq.errors import EdgeqError
from edgeq.fold import Fold
from edgeq.graph import Graph
from edgeq.lower.board import BOARD_TOP, SHELL, board_sources, render, write_shell

FOLDER = "ecp5"
UART_FILE = "edgeq_uart.py"
CONSTRAINTS, BITSTREAM = "edgeq.lpf", "edgeq.bit"
BAUDS = (3_000_000, 2_000_000, 1_500_000, 1_000_000, 500_000, 115_200)
"""Rates that the FTDI chip of the boards makes exactly, or within 0.2 %."""
BAUD_ERROR = 0.015
"""Of a bit's length: over the ten bits of a byte a quarter of a bit, with as much left for the other side."""
LEAST_BIT_CYCLES = 8
ATTEMPTS = 3
"""Place and route, each at a clock that the one before would have met."""
PLL_VCO_MHZ = (400.0, 800.0)
PLL_LEAST_PHASE_MHZ = 3.125
PLL_MOST_DIVIDER = 128
"""Of the PLL (FPGA-DS-02012)."""


@dataclass(frozen=True)
class Pll:
    """The dividers of EHXPLLL with its output fed back: output = oscillator * feedback / reference, VCO = output * `output`."""

    reference: int
    feedback: int
    output: int
    mhz: float


def pll(oscillator_mhz: float, most_mhz: float) -> Pll:
    """The fastest clock of at most so many MHz. Raises EdgeqError where there is none."""
    best: Pll | None = None
    for reference in range(1, int(oscillator_mhz / PLL_LEAST_PHASE_MHZ) + 1):
        feedback = int(most_mhz * reference / oscillator_mhz + 1e-9)
        mhz = oscillator_mhz * feedback / reference
        output = int(PLL_VCO_MHZ[1] / mhz) if feedback else 0
        if 2 <= output <= PLL_MOST_DIVIDER and mhz * output >= PLL_VCO_MHZ[0] and (best is None or mhz > best.mhz):
            best = Pll(reference, feedback, output, mhz)
    if best is None:
        raise EdgeqError(f"the PLL makes no clock of at most {most_mhz:g} MHz from {oscillator_mhz:g} MHz")
    return best


def serial_rate(clock_mhz: float) -> tuple[int, int]:
    """The fastest rate that the clock makes well enough, and its cycles a bit."""
    for baud in BAUDS:
        cycles = round(clock_mhz * 1e6 / baud)
        if cycles >= LEAST_BIT_CYCLES and abs(clock_mhz * 1e6 / cycles / baud - 1) <= BAUD_ERROR:
            return baud, cycles
    raise EdgeqError(
        f"no serial rate can be made of {clock_mhz:g} MHz", fix=f"{LEAST_BIT_CYCLES * BAUDS[-1] / 1e6:g} MHz or more"
    )


def lower(graph: Graph, folds: dict[str, Fold], board: Board, build: Path) -> float:
    """Writes ecp5/ (the shell around the network in build/rtl, the top, its constraints) and driver/; returns the clock in MHz.

    The clock is the fastest of the PLL up to board.clock_mhz. The same input gives the same bytes. May be called again.
    """
    assert board.ecp5, board.name
    made, clock = build / FOLDER, pll(board.ecp5.oscillator_mhz, board.clock_mhz)
    rmtree(made, ignore_errors=True)
    baud, cycles = serial_rate(clock.mhz)
    settings: dict[str, Any] = {
        "board": board.name, "clock_mhz": f"{clock.mhz:g}", "oscillator_mhz": f"{board.ecp5.oscillator_mhz:g}", 
        "pll": vars(clock), "baud": baud, "bit_cycles": cycles, "buffer_bytes": axi.UART_BUFFER, "pins": board.ecp5.pins,
    }  # fmt: skip
    link = {"uart": {"baud": baud, "buffer_bytes": axi.UART_BUFFER, "codes": axi.UART}}
    write_shell(
        graph, folds, replace(board, clock_mhz=clock.mhz), build, made, "ecp5.sv.j2", settings, (SHELL, "eq_uart_bridge"),
        {axi.UART_PACKAGE: axi.uart_package_sv()}, link,
    )  # fmt: skip
    (made / CONSTRAINTS).write_text(render("ecp5.lpf.j2", settings))
    (build / "driver" / UART_FILE).write_bytes(files("edgeq").joinpath("uart.py").read_bytes())
    return clock.mhz


def bitstream(graph: Graph, folds: dict[str, Fold], board: Board, build: Path, seed: int = 1) -> dict[str, Any]:
    """`lower`, then ecp5/edgeq.bit by Yosys, nextpnr and ecppack: the entry `place_and_route` of report.json.

    Where the clock of the board is not met, the next attempt takes the fastest clock of the PLL that the last one met. Raises
    EdgeqError where the design does not fit or no attempt meets its clock.
    """
    assert board.ecp5, board.name
    tried, asked = [], board.clock_mhz
    for _ in range(ATTEMPTS):
        clock = lower(graph, folds, replace(board, clock_mhz=asked), build)
        placed = nextpnr.place_and_route(
            board_sources(build, FOLDER),
            BOARD_TOP,
            build / "rtl",
            build / FOLDER,
            CONSTRAINTS,
            BITSTREAM,
            board.ecp5,
            clock,
            seed,
        )
        tried.append(f"{clock:g} MHz asked, {placed.fmax_mhz:.2f} reached")
        if placed.fmax_mhz >= clock:
            return {
                "kind": "place and route", "board_clock_mhz": board.clock_mhz, "clock_mhz": clock, "fmax_mhz": placed.fmax_mhz,
                "attempts": tried, "used": placed.used, "available": placed.available, "seed": seed, "versions": placed.versions,
                "bitstream": f"{FOLDER}/{BITSTREAM}", "bytes": (build / FOLDER / BITSTREAM).stat().st_size,
            }  # fmt: skip
        asked = placed.fmax_mhz
    raise EdgeqError(
        f"place and route met no clock: {'; '.join(tried)}", where=board.title, fix="a smaller --max-util or --max-lut-levels"
    )
