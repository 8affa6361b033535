"""The exact schedule of builds against their simulated Verilog: the cycle of every beat, the rate, the FIFOs and what they save.

*beats*: input and output beats compared; *off*: those that came in another cycle than the schedule says; it must be 0.
*without*: cycles a frame by the schedule, were there no FIFO, or `stops`. *words*: needed by all FIFOs; *frame words*: were each
of a frame. *seconds*: to find the depths.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import numpy as np
from common import json_option, show

from edgeq import flow, fold_file
from edgeq.engines.verilator import VerilatorEngine
from edgeq.errors import EdgeqError
from edgeq.fold import input_beat
from edgeq.folding import Target
from edgeq.lower import onnx as lower_onnx
from edgeq.passes import hardware_passes
from edgeq.schedule import Network


@click.command()
@click.argument("builds", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--frames", default=10, show_default=True, help="Frames to simulate.")
@json_option
def main(builds: tuple[Path, ...], frames: int, json_file: Path | None) -> None:
    """Compare the schedule of every BUILD (of `edgeq synth`) with its simulation."""
    rows = []
    for build in builds:
        graph = hardware_passes(lower_onnx.load(build / flow.INTEGER_FILE))
        folds = fold_file.read(build / flow.FOLD_FILE, graph, Target())
        report = json.loads((build / flow.REPORT_FILE).read_text())
        fifos = {(row["reader"], row["port"]): row for row in report["operators"] if row["op"] == "Fifo"}
        depths = {edge: row["depth"] for edge, row in fifos.items()}
        network = Network(graph, folds)
        start = time.perf_counter()
        needed = {edge: words for edge, words in network.least_depths().items() if words}
        seconds = time.perf_counter() - start
        if needed != {edge: row["needed"] for edge, row in fifos.items()}:
            raise click.ClickException(f"{build}: the FIFOs are not those of this version")
        planned = network.simulate(depths, frames)
        output = graph.types()[graph.output]
        engine = VerilatorEngine(build / "rtl", graph.input_type, output, beat=input_beat(graph, folds))
        engine.run(graph.input_type.random(np.random.default_rng(0), frames))
        seen = engine.input_cycles >= 0  # the last outputs may not need the last inputs
        off = np.count_nonzero((engine.input_cycles != planned.inputs)[seen]) + np.count_nonzero(
            engine.output_cycles != planned.outputs
        )
        try:
            without = str(network.cycles({}))
        except EdgeqError:
            without = "stops"
        rows.append(
            {
                "build": build.name,
                "cycles": int(network.cycles(depths)),
                "simulated": engine.cycles_per_frame,
                "latency": planned.latency,
                "simulated latency": engine.latency_cycles,
                "beats": int(seen.sum()) + len(planned.outputs),
                "off": int(off),
                "without": without,
                "words": sum(needed.values()),
                "frame words": sum(row["frame"] for row in fifos.values()),
                "seconds": seconds,
            }
        )
    show("the schedule against the simulation", rows, json_file, frames=frames)
    if any(row["off"] for row in rows):
        raise click.ClickException("a schedule differs from its simulation")


if __name__ == "__main__":
    main()
