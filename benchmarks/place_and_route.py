"""Networks on the ULX3S (Lattice ECP5) after place and route: the clock that the slowest path allows, and what the part has used.

Everything is made here: `edgeq synth --board ulx3s --bitstream` on each export, then its frames through the simulated board
(driver, serial line, bridge, shell, network), compared exactly. Seconds are those of this machine, with what else it does.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from common import json_option, show

from edgeq import flow
from edgeq.board import board
from edgeq.errors import EdgeqError
from edgeq.folding import Target
from edgeq.ui import Ui


@click.command()
@click.argument("exports", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--fps", type=float, multiple=True, help="Of each export in turn; 0: the fastest that fits. Default: 0 for all.")
@json_option
def main(exports: tuple[Path, ...], fps: tuple[float, ...], json_file: Path | None) -> None:
    """Bitstreams of EXPORTS (folders of `edgeq export`)."""
    rows = []
    for export, rate in zip(exports, fps or (0.0,) * len(exports), strict=True):
        with TemporaryDirectory() as scratch:
            build = Path(scratch) / "build"
            start = time.perf_counter()
            target = Target(fps=rate or None)
            report = flow.synth(
                export, board("ulx3s"), build, target=target, estimate="model", force=False, ui=Ui(True), bitstream=True
            )
            seconds = time.perf_counter() - start
            placed = report["place_and_route"]
            found = flow.sim(build, samples=None, seed=0, engine="board", stalls=None, trace=None, ui=Ui(True))["engines"][
                "board"
            ]
        if found["mismatches"]:
            raise EdgeqError(f"{found['mismatches']} values differ", where=str(export))
        rows.append(
            {
                "network": export.parent.name,
                "clock MHz": placed["clock_mhz"],
                "slowest path MHz": round(placed["fmax_mhz"], 2),
                "attempts": len(placed["attempts"]),
                **{name.upper(): count for name, count in placed["used"].items()},
                "LUT4 by the model": report["total"]["lut"],
                "cycles a frame": report["cycles_per_frame"],
                "frames/s of the core": round(report["frames_per_second"]),
                "bitstream bytes": placed["bytes"],
                "values compared": found["values"],
                "mismatches": found["mismatches"],
                "seconds": round(seconds),
            }
        )
    show(
        "ULX3S 85F, after place and route", rows, json_file, available=placed["available"], seed=placed["seed"],
        versions=placed["versions"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
